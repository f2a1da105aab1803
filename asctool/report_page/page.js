"use strict";
// The page works without this: it adds the choice of a system, the matrix's cells, the theme, and playing from a list.

const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Theme: as the system has it, light, dark.
const themes = ["system", "light", "dark"];
const themeButton = one("#theme");

function showTheme() {
  one("span", themeButton).textContent = document.documentElement.dataset.theme ?? "system";
}

themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "system";
  const next = themes[(themes.indexOf(now) + 1) % themes.length];
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try { localStorage.setItem("asctool-theme", next); } catch { /* as in early.js */ }
  showTheme();
});
showTheme();

// One sound at a time; the line on its spectrogram goes along.
for (const audio of all("audio")) {
  const head = one(".playhead", audio.parentElement);
  audio.addEventListener("play", () => {
    for (const other of all("audio")) if (other !== audio) other.pause();
  });
  for (const event of ["play", "timeupdate", "seeked"]) {
    audio.addEventListener(event, () => {
      if (!head) return;
      const x = Math.min(1000, 1000 * audio.currentTime / Number(head.dataset.seconds));
      one("path", head).setAttribute("d", `M${x.toFixed(1)} 0V100`);
      head.classList.toggle("on", audio.currentTime > 0);
    });
  }
}

const island = one("#data");
if (island) showSystems(JSON.parse(island.textContent));

function showSystems(data) {
  const n = data.classes.length;
  const cards = new Map(all(".card").map((card) => [card.dataset.clip, card]));
  const percent = (share) => `${(share / 10).toFixed(0)}\u00a0%`;
  const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

  // Cards: those that the chosen system gets wrong, with what it took them for.
  function showCards(system) {
    const said = new Map();
    for (const [key, cell] of Object.entries(system.cells)) {
      const [truth, predicted] = [Math.floor(key / n), key % n];
      for (const [clip, fold, start, sure] of cell) {
        const id = data.clips[clip];
        if (!cards.has(id)) continue;
        if (!said.has(id)) said.set(id, []);
        said.get(id).push({ wrong: truth !== predicted, predicted, fold, start, sure });
      }
    }
    let wrongCards = 0;
    for (const [id, card] of cards) {
      const rows = said.get(id) ?? [];
      const wrong = rows.filter((row) => row.wrong);
      card.classList.toggle("wrong", wrong.length > 0);
      card.hidden = wrong.length === 0 && !card.hasAttribute("data-always");
      wrongCards += wrong.length > 0;
      const told = (wrong.length ? wrong : rows.slice(0, 1)).map((row) => {
        const at = system.level === "segment" ? ` at ${row.start} s` : "";
        return `${data.classes[row.predicted]} (${percent(row.sure)}, fold\u00a0${row.fold}${at})`;
      });
      one(".said", card).textContent = told.length ? `, classified as ${told.join(", ")}` : "";
    }
    one("#no-cards").hidden = wrongCards > 0;
  }

  // Lists of a cell's rows.
  function list(view, system, truth, predicted) {
    const rows = system.cells[truth * n + predicted] ?? [];
    const count = system.counts[truth][predicted];
    const box = one(".listing", view);
    const title = truth === predicted
      ? `${data.classes[truth]}, classified right: ${plural(count, system.level)}`
      : `${data.classes[truth]}, taken for ${data.classes[predicted]}: ${plural(count, system.level)}`;
    box.replaceChildren(element("h4", title));
    if (rows.length < count) {
      const which = truth === predicted ? "least" : "most";
      box.append(element("p", `The ${rows.length} it was ${which} sure of.`, { class: "small" }));
    }
    const entries = element("ul", "", { class: "rows" });
    for (const [clip, fold, start, sure] of rows) {
      const id = data.clips[clip];
      const entry = element("li");
      const at = system.level === "segment" ? `, from ${start} s` : "";
      entry.append(element("span", id, { class: "id" }), element("span", `fold ${fold}${at}, ${percent(sure)} sure`, { class: "small" }));
      const card = cards.get(id);
      const audio = card && one("audio", card);
      if (audio) entry.append(playButton(audio, id));
      if (card && !card.hidden) entry.append(element("a", "look", { href: `#${card.id}`, "aria-label": `look at ${id}` }));
      entries.append(entry);
    }
    box.append(entries);
  }

  function playButton(audio, id) {
    const button = element("button", "", { type: "button", class: "play" });
    const show = () => {
      button.textContent = audio.paused ? "play" : "pause";
      button.setAttribute("aria-label", `${button.textContent} ${id}`);
    };
    button.addEventListener("click", () => (audio.paused ? audio.play() : audio.pause()));
    for (const event of ["play", "pause", "ended"]) audio.addEventListener(event, show);
    show();
    return button;
  }

  // The matrix: one cell at a time can be reached by Tab, the arrow keys go from cell to cell.
  function bringToLife(view, system) {
    const table = one(".matrix", view);
    const heads = all("thead th", table);
    const rowHeads = all("tbody th", table);
    const cells = all("tbody tr", table).map((row) => all("td", row));
    const readout = one(".readout", view);
    const place = new Map();
    cells.forEach((row, i) => row.forEach((cell, j) => place.set(cell, [i, j])));
    let current = [0, 0];

    function describe([i, j]) {
      const count = system.counts[i][j];
      const total = system.counts[i].reduce((sum, value) => sum + value, 0);
      const share = total ? `, ${(100 * count / total).toFixed(0)} % of ${data.classes[i]}` : "";
      const what = i === j ? `${data.classes[i]} classified right` : `${data.classes[i]} taken for ${data.classes[j]}`;
      return `${what}: ${plural(count, system.level)}${share}`;
    }

    function point([i, j]) {
      for (const head of [...heads, ...rowHeads]) head.classList.remove("here");
      heads[j].classList.add("here");
      rowHeads[i].classList.add("here");
      readout.textContent = describe([i, j]);
    }

    function reach([i, j], focus) {
      cells[current[0]][current[1]].tabIndex = -1;
      current = [i, j];
      const cell = cells[i][j];
      cell.tabIndex = 0;
      cell.setAttribute("aria-label", describe(current));
      if (focus) cell.focus();
    }

    function choose([i, j]) {
      one(".picked", table)?.classList.remove("picked");
      cells[i][j].classList.add("picked");
      list(view, system, i, j);
    }

    const moves = {
      ArrowUp: ([i, j]) => [Math.max(0, i - 1), j],
      ArrowDown: ([i, j]) => [Math.min(n - 1, i + 1), j],
      ArrowLeft: ([i, j]) => [i, Math.max(0, j - 1)],
      ArrowRight: ([i, j]) => [i, Math.min(n - 1, j + 1)],
      Home: ([i]) => [i, 0],
      End: ([i]) => [i, n - 1],
    };
    const cellOf = (event) => place.get(event.target.closest?.("td"));
    table.addEventListener("pointerover", (event) => { const at = cellOf(event); if (at) point(at); });
    table.addEventListener("focusin", (event) => { const at = cellOf(event); if (at) point(at); });
    table.addEventListener("click", (event) => {
      const at = cellOf(event);
      if (at) { reach(at, true); choose(at); }
    });
    table.addEventListener("keydown", (event) => {
      if (!cellOf(event) || event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key in moves) reach(moves[event.key](current), true);
      else if (event.key === "Enter" || event.key === " ") choose(current);
      else return;
      event.preventDefault();
    });
    for (const row of cells) for (const cell of row) cell.tabIndex = -1;
    reach(worst(system.counts), false);
  }

  // Tab leads to the most frequent confusion first.
  function worst(counts) {
    let found = [0, 0];
    let most = 0;
    counts.forEach((row, i) => row.forEach((count, j) => {
      if (i !== j && count > most) [most, found] = [count, [i, j]];
    }));
    return found;
  }

  const views = all(".system");
  const alive = new Set();
  const select = one("#system");

  function showSystem(index) {
    views.forEach((view, i) => view.classList.toggle("chosen", i === index));
    one("#closely-classes")?.removeAttribute("id");
    one(".classes", views[index]).closest(".panel").id = "closely-classes";
    if (!alive.has(index)) {
      bringToLife(views[index], data.systems[index]);
      alive.add(index);
    }
    showCards(data.systems[index]);
  }

  one(".choose").hidden = false;
  select.addEventListener("change", () => showSystem(Number(select.value)));
  showSystem(Number(select.value));
}

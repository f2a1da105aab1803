"""report: the page says what score says, holds all it shows, runs nothing of what it shows, and works in a browser."""

import io
import json
import re
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import asctool

from asctool.cli import run
from asctool.errors import DataError, UsageError
from asctool.report_page import axes, pictures, render, sound, spectrogram
from asctool.report_page.values import Attention
from asctool.stages import report as stage
from asctool.storage import locks, manifest, origins
from asctool.storage.dataset import Clip, FoldRow, Tables
from asctool.storage.manifest import Recipe
from asctool.storage.store import Store, write_rows

CHROMIUM = next(
    (path for path in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser")) if path.is_file()), None
)
NASTY = "</script><img src=x onerror=alert(1)>\"'&{{7*7}}"


def posteriors(
    where: Path,
    classes: tuple[str, ...],
    predicted: dict[str, tuple[str, str]],
    system: str = "made",
    folds: int = 2,
    protocol: dict[str, Any] | None = None,
) -> Path:
    """A store of clips, each with its class and the one it is taken for, dealt out to folds."""
    names = list(predicted)
    clips = tuple(Clip(name, f"/nowhere/{i}.wav", (predicted[name][0],), name, 1.0) for i, name in enumerate(names))
    fold_of = {name: i % folds + 1 for i, name in enumerate(names)}
    rows = [FoldRow(f, n, "test" if fold_of[n] == f else "train") for f in range(1, folds + 1) for n in names]
    array = np.full((len(names), len(classes)), 0.1 / (len(classes) - 1))
    for i, name in enumerate(names):
        array[i, classes.index(predicted[name][1])] = 0.9
    columns = {
        "clip_id": np.array(names),
        "start": np.zeros(len(names)),
        "array": array.astype(np.float32),
        "fold": np.array([fold_of[name] for name in names], np.int32),
        "subset": np.array(["test"] * len(names)),
        "system": np.array([system] * len(names)),
    }
    recipe = Recipe("posterior", "made", 1, {"system": system}, {"given": manifest.content_hash(repr(predicted))})
    chosen = {system: {"select": "last"} if protocol is None else protocol}
    with locks.writer_lock(where):
        write_rows(where, recipe, Tables(clips, tuple(rows), classes), columns, level="clip", protocol=chosen)
    return where


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of each of three classes; a cat is taken for a dog, a dog for a cow, the cows are right."""
    classes = ("cat", "dog", "cow")
    predicted = {f"{name} {i}": (name, name) for name in classes for i in range(3)}
    predicted |= {"cat 0": ("cat", "dog"), "dog 2": ("dog", "cow")}
    return posteriors(tmp_path_factory.mktemp("made") / "clips", classes, predicted)


@pytest.fixture(scope="module")
def chain(corpus: Path, trained: Path) -> Path:
    """Fused clips of a small network, with everything they stand on; nearly all of them are wrong."""
    if not (corpus / "report").exists():
        asctool("extract", trained, corpus / "logmel", corpus / "report_posteriors", "--kind", "posterior")
        asctool("fuse", corpus / "report_posteriors", corpus / "report")
    return corpus / "report"


@pytest.fixture(scope="module")
def page(chain: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the chain."""
    output = tmp_path_factory.mktemp("page") / "page.html"
    asctool("report", trained, chain, output, "--title", "A <small> chain", "--jobs", 1)
    return output


class Reader(HTMLParser):
    """Rows of every table, and all elements with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.rows[-1][-1] += data


def data_of(text: str) -> dict[str, Any]:
    island = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert island
    return dict(json.loads(island[1]))


def test_the_page_says_what_score_says(chain: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    asctool("score", chain, "--json")
    scored = json.loads(capsys.readouterr().out)["systems"][0]
    text = page.read_text()
    main = next(row for row in Reader(text).rows if row[0].startswith("att_crnn logmel softmax"))
    assert main[1:4] == ["1", f"{100 * scored['mean']['accuracy']['mean']:.2f}", ""]  # one fold has no interval
    assert data_of(text)["systems"][0]["counts"] == scored["confusion"]
    classes = data_of(text)["classes"]
    matrix = [[int(cell or 0) for cell in row[1:]] for row in Reader(text).rows if len(row) == 7 and row[0] in classes]
    assert matrix == scored["confusion"]


def test_folds_have_mean_deviation_and_interval_by_hand(made: Path, tmp_path: Path) -> None:
    """Fold 1 tests clips 0, 2, 4, 6, 8 of nine, of which the first (a cat) is wrong; fold 2 the others, dog 2 wrong."""
    asctool("report", made, tmp_path / "page.html")
    main = next(row for row in Reader((tmp_path / "page.html").read_text()).rows if row[0].startswith("made"))
    one, two = 4 / 5, 3 / 4
    half = 12.706 * (abs(one - two) / 2**0.5) / 2**0.5  # Student's t with one degree of freedom
    mean = (one + two) / 2
    assert main[2] == f"{100 * mean:.2f} ± {100 * abs(one - two) / 2**0.5:.2f}"
    low, high = map(float, main[3].split(" to "))
    assert (low, high) == pytest.approx((100 * (mean - half), 100 * (mean + half)), abs=0.02)


def test_cells_list_their_clips(made: Path, tmp_path: Path) -> None:
    asctool("report", made, tmp_path / "page.html")
    data = data_of((tmp_path / "page.html").read_text())
    names = {
        key: {data["clips"][row[0]] for row in rows} for key, rows in data["systems"][0]["cells"].items()
    }  # keys: true class x 3 + predicted class
    assert names["1"] == {"cat 0"} and names["5"] == {"dog 2"}
    assert names["8"] == {"cow 0", "cow 1", "cow 2"} and set(names) == {"0", "1", "4", "5", "8"}
    assert data["systems"][0]["cells"]["1"][0][1:] == [1, 0.0, 900]


def test_long_lists_keep_the_surest_mistakes() -> None:
    from asctool.report_page import values

    n = 100
    rows = values.Rows(
        np.array([f"c{i}" for i in range(n)]), np.zeros(n), np.ones(n, int), np.zeros(n, int),
        np.ones(n, int), np.linspace(0.5, 1, n),
    )  # fmt: skip
    system: Any = type("System", (), {"rows": rows, "level": "clip"})()
    system.confusion = type("Confusion", (), {"counts": np.array([[0, n], [0, 0]])})()
    clips: dict[str, int] = {}
    cells = render._system_data(system, clips, 20, {"c0"})["cells"]["1"]
    names = [list(clips)[row[0]] for row in cells]
    assert names[0] == "c99" and 10 <= len(names) - 1 <= 20 and names[-1] == "c0"  # which has a card


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    classes = (NASTY, "b", "c")
    where = posteriors(
        tmp_path / "clips",
        classes,
        {NASTY + "1": (NASTY, "b"), "2": ("b", NASTY), "3": ("c", "c"), "4": ("c", NASTY)},
        system=NASTY,
    )
    asctool("report", where, tmp_path / "page.html", "--title", NASTY)
    text = (tmp_path / "page.html").read_text()
    read = Reader(text)
    assert not [attributes for _, attributes in read.elements if "onerror" in attributes]
    assert [tag for tag, _ in read.elements].count("script") == 3
    assert data_of(text)["classes"][0] == NASTY and data_of(text)["clips"].count(NASTY + "1") == 1
    assert any(row[0].startswith(NASTY) for row in read.rows)


def test_nothing_is_asked_of_any_other_place(page: Path) -> None:
    text = page.read_text()
    elements = Reader(text).elements
    policy = next(a["content"] for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy")
    assert (
        policy and policy.startswith("default-src 'none'; img-src data:; media-src data:;") and "unsafe" not in policy
    )
    for _, attributes in elements:
        for name in ("src", "href", "action", "data", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
        assert not any(name.startswith("on") or name == "style" for name in attributes)


def test_what_was_chosen_on_test_data_is_marked_everywhere(tmp_path: Path) -> None:
    predicted = {f"{i}": ("ab"[i % 2], "ab"[i // 2 % 2]) for i in range(8)}
    parts = {"of": {"x": {"select": "last"}, "y": {"select": "test"}}, "fusion": "fixed rule"}
    tainted = posteriors(tmp_path / "tainted", ("a", "b"), predicted, "tainted", protocol=parts)
    fair = posteriors(tmp_path / "fair", ("a", "b"), predicted, "fair")
    asctool("report", tainted, fair, tmp_path / "page.html")
    read = Reader((tmp_path / "page.html").read_text())
    for row in read.rows:
        if row[0].startswith(("tainted", "fair")):
            assert ("chosen on test data" in row[0]) == row[0].startswith("tainted")
    text = (tmp_path / "page.html").read_text()
    assert "tainted (clips): chosen on test data" in text and "fair (clips)</option>" in text
    assert re.search(r"<h3>tainted, clips <strong class=\"badge\"", text)
    asctool("report", fair, tmp_path / "fair.html")
    assert "chosen on test data" not in (tmp_path / "fair.html").read_text()


def test_sounds_and_spectrograms_are_those_of_the_clips(page: Path, corpus: Path) -> None:
    import base64

    text = page.read_text()
    clips = Store(corpus / "logmel").tables.by_id
    names = re.findall(r'<li class="card[^>]* data-clip="([^"]+)"', text)
    sounds = re.findall(r'src="data:audio/mpeg;base64,([^"]+)"', text)
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(names) == len(sounds) == len(images) > 3
    for name, encoded, image in zip(names, sounds, images):
        heard, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded)))
        original, own_rate = soundfile.read(clips[name].path)
        assert rate == sound.RATE_HZ and len(heard) / rate == pytest.approx(len(original) / own_rate, abs=0.1)
        power = [np.mean(values**2) for values in (heard, original)]
        assert 10 * np.log10(power[0] / power[1]) == pytest.approx(0, abs=1.5)  # of hiss, MP3 leaves the top out
        width, height = struct.unpack(">II", base64.b64decode(image)[16:24])
        assert (width, height) == (100, 64)  # 2.5 s in hops of 25 ms
    assert text.count('<svg class="attention"') == len(names)


def test_attention_on_the_page_is_what_extract_writes(chain: Path, trained: Path, corpus: Path) -> None:
    asctool("extract", trained, corpus / "logmel", corpus / "report_attention", "--kind", "attention")
    store = Store(corpus / "report_attention").columns("clip_id", "array", "start")
    clip = str(store["clip_id"][0])
    for given in (chain, corpus / "report_attention"):
        seen = pictures.pictures(origins.follow([given]), {clip: 1})
        found = seen.attention[clip]
        own = store["clip_id"] == clip
        assert [one.start for one in found] == store["start"][own].tolist()
        np.testing.assert_allclose([one.weights for one in found], store["array"][own], atol=1e-4)
        assert seen.attended_by[clip] == "att_crnn logmel, fold 1" and not seen.problems


def test_what_is_gone_is_said_on_the_page(made: Path, chain: Path, corpus: Path, tmp_path: Path) -> None:
    asctool("report", made, tmp_path / "made.html")
    text = (tmp_path / "made.html").read_text()
    assert text.count("No sound: ") == 2 + 3 and "/nowhere/0.wav" in text  # the mistakes, an example of each class
    described = json.loads((chain / "manifest.json").read_text())
    moved = tmp_path / "elsewhere" / "clips"
    moved.mkdir(parents=True)
    for path in chain.iterdir():
        if path.is_file():
            (moved / path.name).write_bytes(path.read_bytes())
    asctool("report", moved, tmp_path / "moved.html")
    lost = (tmp_path / "moved.html").read_text()
    assert "was made from what is not there" in lost and described["paths"]["posteriors 1"] in lost
    assert "nothing says that they are unchanged" in lost
    asctool("report", moved, tmp_path / "found.html", "--data", corpus / "data")
    assert "nothing says that they are unchanged" not in (tmp_path / "found.html").read_text()


def test_an_input_that_was_made_anew_is_not_followed(tmp_path: Path) -> None:
    predicted = {f"{i}": ("ab"[i % 2], "a") for i in range(4)}
    first = posteriors(tmp_path / "first", ("a", "b"), predicted)
    asctool("fuse", first, tmp_path / "fused", "--quiet")
    assert [o.path.name for o in origins.follow([tmp_path / "fused"]).origins] == ["fused", "first"]
    for path in first.iterdir():
        path.unlink()
    posteriors(first, ("a", "b"), dict.fromkeys(predicted, ("a", "b")))
    followed = origins.follow([tmp_path / "fused"])
    assert [o.path.name for o in followed.origins] == ["fused"] and "made anew" in followed.lost[0]


def test_changed_recordings_are_refused_not_played(corpus: Path, chain: Path, tmp_path: Path) -> None:
    from asctool.report_page import clips
    from asctool.storage.data_directory import DataDirectory

    data = DataDirectory(corpus / "data")
    clip = data.tables.clips[0]
    copy = tmp_path / "other.wav"
    copy.write_bytes(data.audio(clip).read_bytes()[:-2] + b"\1\1")
    swapped = DataDirectory(corpus / "data")
    swapped.__dict__["description"] = {**data.description, "files": {str(copy): data.description["files"][clip.path]}}
    swapped.__dict__["tables"] = replace(data.tables, clips=(replace(clip, path=str(copy)),))
    card = clips._card(clip, False, False, clips.Recordings([swapped]), pictures.Pictures())
    assert not card.sound and "has changed since prep" in card.missing
    assert clips._card(clip, False, False, clips.Recordings([data]), pictures.Pictures()).sound


def test_the_same_page_is_not_written_twice_and_no_other_file_is_lost(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    asctool("report", made, page)
    before = page.stat().st_mtime_ns
    asctool("report", made, page)
    assert "is there already" in capsys.readouterr().err and page.stat().st_mtime_ns == before
    assert run(["report", str(made), str(page), "--title", "Other"]) == 2
    assert "other results or with other options" in capsys.readouterr().err
    asctool("report", made, page, "--title", "Other", "--force")
    page.write_text("a letter")
    assert run(["report", str(made), str(page)]) == 2 and page.read_text() == "a letter"
    assert run(["report", str(made), str(tmp_path / "page.txt")]) == 2
    assert run(["report", str(made), str(tmp_path / "p.html"), "--clip", "nothing"]) == 2
    assert "there is no such clip" in capsys.readouterr().err
    assert run(["report", str(tmp_path), str(tmp_path / "p.html")]) == 5
    assert not (tmp_path / "p.html").exists()


def test_missing_test_clips_are_refused_or_told(tmp_path: Path) -> None:
    predicted = {f"{i}": ("ab"[i % 2], "a") for i in range(6)}
    whole = posteriors(tmp_path / "whole", ("a", "b"), predicted)
    columns = Store(whole).columns("clip_id", "start", "array", "fold", "subset", "system")
    cut = {name: values[:-1] for name, values in columns.items()}
    with locks.writer_lock(tmp_path / "cut"):
        recipe = Recipe("posterior", "made", 1, {}, {})
        write_rows(tmp_path / "cut", recipe, Store(whole).tables, cut, level="clip", protocol={})
    with pytest.raises(DataError, match="fold 2: 1 of its test clips have no row: 5"):
        stage.report([tmp_path / "cut"], tmp_path / "page.html", stage.Settings())
    stage.report([tmp_path / "cut"], tmp_path / "page.html", stage.Settings(allow_missing=True))
    assert "1 of its test clips have no row: 5" in (tmp_path / "page.html").read_text()


def test_tags_are_sent_to_score(tmp_path: Path) -> None:
    posteriors(tmp_path / "tags", ("a", "b"), {"1": ("a", "a")})
    found = manifest.read(tmp_path / "tags")
    manifest.write(tmp_path / "tags", {k: v for k, v in found.items() if k != "sha256"} | {"kind": "tag"})
    with pytest.raises(UsageError, match="asctool score judges them"):
        stage.report([tmp_path / "tags"], tmp_path / "page.html", stage.Settings())


def test_runs_alone_make_a_page_of_their_curves(trained: Path, tmp_path: Path) -> None:
    asctool("report", trained, tmp_path / "runs.html")
    text = (tmp_path / "runs.html").read_text()
    history = (trained / "history.csv").read_text().splitlines()
    loss = float(history[-1].split(",")[1])
    row = next(row for row in Reader(text).rows if row[:2] == ["1", "2"])
    assert row[2] == f"{loss:.4f}" and "Training loss of att_crnn logmel, 1 run, by epoch" in text
    assert 'id="scores"' not in text


def test_the_page_stays_below_its_limit(chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asctool("report", chain, tmp_path / "full.html")
    full = (tmp_path / "full.html").read_text()
    bare = len(full) - sum(map(len, re.findall(r"base64,[^\"]+", full)))
    monkeypatch.setattr(stage, "MAX_BYTES", bare + 60_000)
    asctool("report", chain, tmp_path / "small.html")
    text = (tmp_path / "small.html").read_text()
    shown, all_ = (t.count('<li class="card') for t in (text, full))
    assert 0 < shown < all_ and len(text) <= bare + 60_000 and "have no room here" in text
    monkeypatch.setattr(stage, "MAX_BYTES", 20_000)
    assert run(["report", str(chain), str(tmp_path / "none.html")]) == 2 and not (tmp_path / "none.html").exists()


def test_a_png_holds_the_levels_low_bands_below() -> None:
    levels = np.zeros((3, 4), np.float32)
    levels[0, 1] = 10.0  # the lowest band, loudest
    data = spectrogram.png(levels)
    start = data.index(b"IDAT") + 4
    (length,) = struct.unpack(">I", data[start - 8 : start - 4])
    lines = np.frombuffer(zlib.decompress(data[start : start + length]), np.uint8).reshape(3, 5)
    assert lines[2, 2] == 255 and lines.sum() == 255


def test_segments_lie_where_they_belong() -> None:
    pieces = np.stack([np.full((2, 4), value) for value in (1.0, 2.0)])
    joined = spectrogram.join(pieces, [0.0, 0.6], 0.1)
    assert joined.shape == (2, 10) and joined[0].tolist() == [1, 1, 1, 1, 1, 1, 2, 2, 2, 2]


def test_attention_is_drawn_where_it_is() -> None:
    weights = np.zeros(10)
    weights[7] = 1.0
    one = Attention(1.0, 1.0, weights)
    assert spectrogram.most_attended([one]) == pytest.approx(1.75)
    assert "875.0 8.0" in spectrogram.overlay([one], 2.0)  # of 1000 x 100, near the upper edge


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (1, 30, [10, 20, 30]), (0, 1.6, [0, 0.5, 1, 1.5])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert axes.ticks(low, high) == pytest.approx(expected)


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt install chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield started
        started.close()


class Opened:
    """A page in a window of its own, with all that it said and asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1280, scheme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", self._note)
        self.page.goto(path.as_uri())

    def _note(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.said.append(request.url)


@pytest.fixture
def opened(browser: Any, page: Path) -> Iterator[Opened]:
    window = Opened(browser, page)
    yield window
    assert window.said == []  # no error on the console, no request to anywhere
    window.context.close()


def mistake(opened: Opened) -> Any:
    return opened.page.locator(".system.chosen .matrix td.e").first


def until(page: Any, expression: str) -> None:
    """Wait for what becomes true in the page; its policy forbids playwright's own way, which compiles there."""
    deadline = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)


def test_a_click_on_a_cell_lists_its_clips(opened: Opened) -> None:
    cell = mistake(opened)
    count = int(cell.inner_text())
    cell.hover()
    assert f": {count} clip" in opened.page.locator(".system.chosen .readout").inner_text()
    cell.click()
    assert opened.page.locator(".system.chosen .rows li").count() == count
    assert "taken for" in opened.page.locator(".system.chosen .listing h4").inner_text()


def test_the_matrix_answers_the_keyboard(opened: Opened) -> None:
    page = opened.page
    assert page.locator(".system.chosen .matrix td[tabindex='0']").count() == 1
    page.locator(".system.chosen .matrix td[tabindex='0']").focus()
    for key in ("Home", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    where = page.evaluate(
        "[document.activeElement.parentElement.rowIndex, document.activeElement.cellIndex, "
        "document.activeElement.getAttribute('aria-label')]"
    )
    assert where[:2] == [2, 2] and "classified right" in where[2]  # the second class, below the head
    assert "classified right" in page.locator(".system.chosen .listing h4").inner_text()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") != "TD"  # one stop for the whole matrix


def test_the_first_tab_leads_past_the_head(opened: Opened) -> None:
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.className") == "skip"
    opened.page.keyboard.press("Enter")
    assert opened.page.evaluate("document.activeElement.id") == "content"


def test_a_clip_plays_from_its_card_and_from_a_list(opened: Opened) -> None:
    page = opened.page
    mistake(opened).click()
    page.locator(".system.chosen .rows .play").first.click()
    # All at one moment: the clip is short, and what shows that it plays goes with it.
    says = "document.querySelector('.system.chosen .rows .play').innerText === 'pause'"
    moves = "document.querySelectorAll('.playhead.on').length === 1"
    plays = "[...document.querySelectorAll('audio')].some((a) => !a.paused && a.currentTime > 0.1)"
    until(page, f"{plays} && {says} && {moves}")
    page.evaluate("document.querySelectorAll('audio')[1].play()")
    until(page, "document.querySelectorAll('audio')[1].currentTime > 0.1")
    playing = "[...document.querySelectorAll('audio')].filter((a) => !a.paused).length"
    assert page.evaluate(playing) == 1


def test_both_themes_and_the_button(browser: Any, page: Path) -> None:
    def lightness(window: Opened) -> float:
        colour = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return float(np.mean([int(number) for number in re.findall(r"\d+", colour)[:3]]))

    light, dark = (Opened(browser, page, scheme=scheme) for scheme in ("light", "dark"))
    assert lightness(light) > 200 and lightness(dark) < 60
    dark.page.locator("#theme").click()
    assert lightness(dark) > 200 and "light" in dark.page.locator("#theme").inner_text()
    dark.page.locator("#theme").click()
    assert lightness(dark) < 60
    assert light.said == dark.said == []


CONTRASTS = """() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const luminance = (colour) => {
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const channels = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => value / 255);
    const linear = channels.map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const cell = document.querySelector(".matrix tbody td");
  const found = {};
  for (const hue of "de") for (let shade = 1; shade < 10; shade++) {
    cell.className = `${hue} s${shade}`;
    const style = getComputedStyle(cell);
    const [low, high] = [luminance(style.color), luminance(style.backgroundColor)].sort((a, b) => a - b);
    found[hue + shade] = (high + 0.05) / (low + 0.05);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_counts_can_be_read_on_every_shade(browser: Any, page: Path, scheme: str) -> None:
    found = Opened(browser, page, scheme=scheme).page.evaluate(CONTRASTS)
    assert len(found) == 18 and min(found.values()) >= 4.5, found  # WCAG 2, level AA


@pytest.mark.parametrize("width", [360, 800, 1280])
def test_nothing_runs_out_of_the_window(browser: Any, page: Path, width: int) -> None:
    window = Opened(browser, page, width)
    window.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    mistake(window).click()
    assert window.page.evaluate("document.documentElement.scrollWidth") <= width
    assert window.said == []


def test_another_system_shows_its_own_matrix_and_mistakes(browser: Any, tmp_path: Path) -> None:
    predicted = {f"{i}": ("ab"[i % 2], "ab"[i % 2]) for i in range(6)}
    one = posteriors(tmp_path / "one", ("a", "b"), predicted | {"0": ("a", "b")}, "one")
    two = posteriors(tmp_path / "two", ("a", "b"), predicted | {"3": ("b", "a")}, "two")
    asctool("report", one, two, tmp_path / "page.html")
    window = Opened(browser, tmp_path / "page.html")
    shown = ".card.wrong:not([hidden])"
    assert window.page.locator(shown).get_attribute("data-clip") == "3"
    window.page.locator("#system").select_option("0")
    assert window.page.locator(shown).get_attribute("data-clip") == "0"
    assert "classified as b" in window.page.locator(shown).inner_text()
    assert window.page.locator(".system.chosen h3").inner_text() == "one, clips"
    assert window.said == []


def test_hostile_names_do_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    where = posteriors(
        tmp_path / "clips", (NASTY, "b"), {NASTY: (NASTY, "b"), "2": ("b", "b"), "3": (NASTY, NASTY)}, NASTY
    )
    asctool("report", where, tmp_path / "page.html")
    window = Opened(browser, tmp_path / "page.html")
    mistake(window).click()
    assert window.page.locator(".system.chosen .rows .id").inner_text() == NASTY
    assert window.page.locator("img[src=x]").count() == 0 and window.said == []

"""The clip accuracy of each system beside the paper's, in Markdown: python beside_paper.py scores.json paper.toml [OUT]

The TOML file gives tables in order, each with a title and rows of [what the paper calls it, the paper's accuracy in %,
the name of our system]. A table of which nothing was measured is left out; a row says so. The runs that a recipe left
in OUT/fold*/ tell for how many epochs each was trained, which is seldom for as many as in the paper.
"""

import json
import sys
import tomllib
from pathlib import Path


def main(scores: Path, paper: Path, out: Path | None = None) -> None:
    """Print every table of the paper of which something was measured."""
    more = " epochs |" if out else ""
    systems = json.loads(scores.read_text(encoding="utf-8"))["systems"]
    clips = {system["system"]: system for system in systems if system["level"] == "clip"}
    for table in tomllib.loads(paper.read_text(encoding="utf-8"))["table"]:
        if any(name in clips for _, _, name in table["rows"]):
            print(f"\n{table['title']}\n")
            print(f"| | paper | here | folds |{more}\n| --- | --- | --- | --- |{' --- |' if more else ''}")
            for called, accuracy, name in table["rows"]:
                epochs = f" {_epochs(out, name) if name in clips else ''} |" if out else ""
                print(f"| {called} | {accuracy} | {_measured(clips.get(name))} |{epochs}")


def _measured(system: dict | None) -> str:
    """Mean, deviation and folds of a system in percent."""
    if system is None:
        return "not measured | "
    mean = system["mean"]["accuracy"]
    folds = ", ".join(f"{fold}: {100 * figures['accuracy']:.2f}" for fold, figures in system["folds"].items())
    spread = f" ± {100 * mean['deviation']:.2f}" if mean["n"] > 1 else ""
    return f"{100 * mean['mean']:.2f}{spread} | {folds}"


def _epochs(out: Path, name: str) -> str:
    """Of the runs of a system's folds: one number, where they have the same."""
    runs = out.glob(f"fold*/{'-'.join(name.split()[:-1])}-run/manifest.json")  # the last word is the back end
    return ", ".join(sorted({str(json.loads(run.read_text())["config"]["training"]["epochs"]) for run in runs}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

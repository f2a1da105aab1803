"""The clip accuracy of each system beside the paper's, in Markdown: python beside_paper.py scores.json paper.toml

The TOML file gives tables in order, each with a title and rows of [what the paper calls it, the paper's accuracy in %,
the name of our system]. A table of which nothing was measured is left out; a row says so.
"""

import json
import sys
import tomllib
from pathlib import Path


def main(scores: Path, paper: Path) -> None:
    """Print every table of the paper of which something was measured."""
    systems = json.loads(scores.read_text(encoding="utf-8"))["systems"]
    clips = {system["system"]: system for system in systems if system["level"] == "clip"}
    for table in tomllib.loads(paper.read_text(encoding="utf-8"))["table"]:
        if any(name in clips for _, _, name in table["rows"]):
            print(f"\n{table['title']}\n")
            print("| | paper | here | folds |\n| --- | --- | --- | --- |")
            for called, accuracy, name in table["rows"]:
                print(f"| {called} | {accuracy} | {_measured(clips.get(name))} |")


def _measured(system: dict | None) -> str:
    """Mean, deviation and folds of a system in percent."""
    if system is None:
        return "not measured | "
    mean = system["mean"]["accuracy"]
    folds = ", ".join(f"{fold}: {100 * figures['accuracy']:.2f}" for fold, figures in system["folds"].items())
    spread = f" ± {100 * mean['deviation']:.2f}" if mean["n"] > 1 else ""
    return f"{100 * mean['mean']:.2f}{spread} | {folds}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

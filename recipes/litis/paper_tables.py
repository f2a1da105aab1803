"""Tables 2 and 3 of Phan 2019 with what was measured beside them: python paper_tables.py scores.json

A system's own row is named as score names it; the paper's are those of its SVM, so are these where there is one.
"""

import json
import sys
from pathlib import Path

N_SPLITS = 20
SYSTEMS = (("Att-CRNN", "att_crnn"), ("CNN baseline", "cnn"))
FEATURES = {"fusion": "fused", "logMel": "logmel", "logGam": "gammatone"}
TABLE_2 = {
    "Att-CRNN (logMel)": (93.78, 98.53),
    "Att-CRNN (logGam)": (93.65, 98.46),
    "CNN baseline (logMel)": (92.33, 98.11),
    "CNN baseline (logGam)": (92.13, 97.87),
}  # accuracy in %: segments of 2 s, clips of 30 s
TABLE_3 = {
    "Att-CRNN (fusion)": (98.72, 98.57, 98.40),
    "Att-CRNN (logMel)": (98.53, 98.39, 98.20),
    "Att-CRNN (logGam)": (98.46, 98.28, 98.10),
    "CNN baseline (fusion)": (98.17, 97.92, 97.71),
    "CNN baseline (logMel)": (98.11, 97.82, 97.63),
    "CNN baseline (logGam)": (97.87, 97.59, 97.39),
}  # of clips, in %: accuracy, F1, precision


def main(path: Path) -> None:
    """Print both tables in Markdown, the systems that were not measured too."""
    scores = json.loads(path.read_text(encoding="utf-8"))
    found = {(system["system"], system["level"]): system for system in scores["systems"]}
    for back_end in ("svm", "softmax"):
        if any(name.endswith(back_end) for name, _ in found):
            print(f"\n{_heading(found, scores, back_end)}\n")
            _table_2(found, back_end)
            print()
            _table_3(found, back_end)


def _heading(found: dict, scores: dict, back_end: str) -> str:
    splits = sorted({int(fold) for (name, _), of in found.items() if name.endswith(back_end) for fold in of["folds"]})
    which = f"{len(splits)} of {N_SPLITS} splits ({', '.join(map(str, splits))})"
    notes = "".join(f"; SPLITS {note.upper()}" for note in scores.get("splits", []) if note != "official")
    return f"**{back_end}**, mean ± deviation over {which}{notes}"


def _table_2(found: dict, back_end: str) -> None:
    print("Table 2, accuracy in %:\n")
    print("| system | 2 s, paper | 2 s, here | 30 s, paper | 30 s, here |\n| --- | --- | --- | --- | --- |")
    for row, (segment, clip) in TABLE_2.items():
        here = [_measured(found.get((_name(row, back_end), level)), "accuracy") for level in ("segment", "clip")]
        print(f"| {row} | {segment:.2f} | {here[0]} | {clip:.2f} | {here[1]} |")


def _table_3(found: dict, back_end: str) -> None:
    print("Table 3, clips of 30 s, in %:\n")
    print("| system | acc., paper | acc., here | F1, paper | F1, here | prec., paper | prec., here |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row, papers in TABLE_3.items():
        system = found.get((_name(row, back_end), "clip"))
        ours = [_measured(system, figure) for figure in ("accuracy", "macro_f1", "macro_precision")]
        print(f"| {row} | " + " | ".join(f"{paper:.2f} | {our}" for paper, our in zip(papers, ours)) + " |")


def _name(row: str, back_end: str) -> str:
    """What score calls a row of the paper's: Att-CRNN (logMel) is att_crnn logmel svm."""
    called, _, feature = row.removesuffix(")").partition(" (")
    return f"{dict(SYSTEMS)[called]} {FEATURES[feature]} {back_end}"


def _measured(system: dict | None, figure: str) -> str:
    """Mean and deviation over splits in percent; a result whose epoch was chosen on test data says so."""
    if system is None:
        return "not measured"
    mean = system["mean"][figure]
    spread = f" ± {100 * mean['deviation']:.2f}" if mean["n"] > 1 else ""
    return f"{100 * mean['mean']:.2f}{spread}{' (chosen on test data!)' if system['selected_on_test'] else ''}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))

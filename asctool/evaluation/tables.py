"""Tables of text as Markdown and LaTeX; and any rows as csv."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

_LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


class Table(NamedTuple):
    """A title, the names of the columns, rows of as many cells; all text."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def markdown(tables: Iterable[Table]) -> str:
    """One table after the other, each below its title; a bar in a cell is escaped."""
    lines = []
    for title, columns, rows in tables:
        lines += [f"{title}:", "", _bars(columns), "|" + " --- |" * len(columns), *map(_bars, rows), ""]
    return "\n".join(lines)


def latex(tables: Iterable[Table]) -> str:
    """``table`` environments that need no package; the first column is left, the others are right."""
    return "\n".join(_latex_table(table) for table in tables)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str = ",") -> str:
    """Rows with LF line ends, numbers with all their digits, quoted where a field needs it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", delimiter=delimiter)
    # Python 3.11 leaves a bare carriage return unquoted where lines end in \n, and reads it as a line end.
    quoting = csv.writer(text, lineterminator="\n", delimiter=delimiter, quoting=csv.QUOTE_ALL)
    for row in (header, *rows):
        (quoting if any("\r" in field for field in row if isinstance(field, str)) else writer).writerow(row)
    return text.getvalue()


def _bars(cells: Sequence[str]) -> str:
    return "| " + " | ".join(re.sub(r"[\r\n]+", " ", cell).replace("|", "\\|") for cell in cells) + " |"


def _latex_table(table: Table) -> str:
    lines = [
        r"\begin{table}",
        rf"\caption{{{_escaped(table.title)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\hline",
        _latex_row(table.columns),
        r"\hline",
        *map(_latex_row, table.rows),
        r"\hline",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    row = " & ".join(_escaped(cell) for cell in cells) + r" \\"
    return r"\relax " + row if row.startswith("[") else row  # after \\ a bracket would be a length


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)

"""Results, on standard output: tables and trees for people, json and csv for programs."""

import sys
from typing import Any


def write_json(value: Any) -> None:
    """A value on standard output, for programs."""
    import json

    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_record(record: dict[str, Any]) -> None:
    """A value in one line of standard output, at once: what comes one by one, for programs."""
    import json

    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def write_csv(rows: list[list[str]]) -> None:
    """Rows of a csv on standard output, at once."""
    import csv

    csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    sys.stdout.flush()


def write_lines(lines: list[str]) -> None:
    """Lines on standard output, at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def write_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on standard output, for people."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(escape(column), justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*map(escape, row))
    width = None if sys.stdout.isatty() else 160
    Console(file=sys.stdout, width=width).print(table)


def write_tree(title: str, value: Any) -> None:
    """A nested value on standard output, as a tree."""
    from rich.console import Console
    from rich.markup import escape
    from rich.tree import Tree

    def grow(tree: Tree, part: Any) -> None:
        items = part.items() if isinstance(part, dict) else enumerate(part)
        for key, entry in items:
            if isinstance(entry, dict | list) and entry and not _is_flat(entry):
                grow(tree.add(f"[bold]{escape(str(key))}"), entry)
            else:
                tree.add(f"[bold]{escape(str(key))}[/]: {escape(_flat(entry))}")

    tree = Tree(f"[bold]{escape(title)}")
    grow(tree, value)
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(tree)


def _is_flat(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(entry, dict | list) for entry in value)


def _flat(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

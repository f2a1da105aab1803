"""Options that several commands share, completion of names, and what every command does with its settings."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asctool import registry

if TYPE_CHECKING:
    from asctool.storage import parts


def listed(group: str) -> Callable[[str], list[tuple[str, str]]]:
    """Completion of the names of a group, each with the line that ``asctool list`` has on it."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        from asctool.stages import list_ as stage

        entries = stage.list_(group)[group].items()
        return [(name, _one_line(line)) for name, line in entries if name.startswith(incomplete)]

    return complete


def _one_line(text: str) -> str:
    """What fits beside a completion: zsh takes no line break in it."""
    import textwrap

    return textwrap.shorten(text, 60, placeholder=" ...")


def names(package: str) -> str:
    """The plug-ins of a folder as help tells them."""
    return ", ".join(registry.names(package))


def among(*values: str) -> Callable[[str], list[str]]:
    """Completion of a few words."""
    return lambda incomplete: [value for value in values if value.startswith(incomplete)]


Input = Annotated[Path, typer.Argument(show_default=False)]
Output = Annotated[Path, typer.Argument(show_default=False, help="written whole, or not at all")]
Config = Annotated[
    str | None,
    typer.Option(help="a preset by name, or a TOML file", show_default=False, autocompletion=listed("presets")),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override one setting", show_default=False)
]
Jobs = Annotated[int | None, typer.Option(min=1, help="processes [default: one a core]", show_default=False)]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="of a Dask scheduler, whose workers take the place of --jobs: tcp://host:8786",
        show_default=False,
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        metavar="K/N", help="make one part of N, as an array job does: 3/16; the last finishes", show_default=False
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:n")]
Seed = Annotated[int | None, typer.Option(min=0, help="of all randomness", show_default=False)]
Fold = Annotated[int, typer.Option(min=1, help="which fold, counted from 1", show_default=False)]
System = Annotated[str | None, typer.Option(help="what the result is called in tables", show_default=False)]
Tags = Annotated[
    list[Path] | None,
    typer.Option(help="what extract --kind tag wrote of the same clips; several for parts of them", show_default=False),
]
Stream = Annotated[str, typer.Option(help="features stay on disk: yes, no, or auto, where they are many")]
Force = Annotated[bool, typer.Option("--force", help="make the output anew, whatever is there")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="only say what would be done, and what disk it takes")]
NoVerify = Annotated[bool, typer.Option("--no-verify", help="take the hashes of what is read for granted")]
Quiet = Annotated[bool, typer.Option("--quiet", help="warnings only")]
Json = Annotated[bool, typer.Option("--json", help="for programs")]


def values(section: str, config: str | None, overrides: list[str] | None, **given: Any) -> dict[str, Any]:
    """Settings of a stage: those of the configuration, over them overrides and options that were given.

    UsageError where an override and an option give one setting different values.
    """
    from asctool.errors import UsageError
    from asctool.storage import settings

    options = {name: value for name, value in given.items() if value is not None}
    set_ = settings.parse_overrides(overrides or [])
    for name in options:
        if name in set_ and not _same(options[name], set_[name]):
            option = "--" + name.replace("_", "-") + ("" if options[name] is True else f" {options[name]}")
            raise UsageError(f"{option} and --set {name}={set_[name]} contradict: leave one of them out")
    return {**settings.read_section(config, section), **set_, **options}


def _same(option: Any, override: Any) -> bool:
    """Whether an override, which knows no texts that are numbers, says what an option says."""
    return bool(option == (type(option)(str(override)) if isinstance(option, str | Path) else override))


def spread(scheduler: str | None, part: str | None = None) -> "tuple[str | None, parts.Part | None]":
    """Where a stage is done and which part of it, as a stage takes them."""
    from asctool.storage import parts

    if scheduler:
        from asctool.parallel import cluster

        cluster.check_address(scheduler)
    return scheduler, parts.Part.parse(part) if part else None


def exactly(number: int, paths: list[Path], otherwise: str) -> list[Path]:
    """So many paths; UsageError with what to do where there are others."""
    from asctool.errors import UsageError

    if len(paths) != number:
        raise UsageError(f"{otherwise}: here are {len(paths)} paths ({', '.join(map(str, paths))})")
    return paths


def refuse(given: list[str], why: str) -> None:
    """UsageError for options that were given and mean nothing here."""
    from asctool.errors import UsageError

    if given:
        raise UsageError(f"{', '.join(given)} {why}")


def at_least_two(paths: list[Path]) -> list[Path]:
    from asctool.errors import UsageError

    if len(paths) < 2:
        raise UsageError("one input and the output are needed at least")
    return paths


def report_done(done: bool | None, output: Path, dry_run: bool = False) -> None:
    """What became of an output: written, there already, or (None) of several parts, which the stage has told."""
    import logging

    if done is None:
        return
    said = "written" if done else "is there already, made with these options from these inputs"
    if dry_run:
        sys.stdout.write(f"{output}: {said}; nothing would be done\n")
    else:
        logging.getLogger("asctool").info("%s: %s", output, said)

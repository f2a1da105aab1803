"""Commands that join posteriors, judge them, and show what was found; other people's systems come in and go out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from asctool import console
from asctool.cli.options import (
    DryRun,
    Force,
    Input,
    Jobs,
    Json,
    NoVerify,
    Output,
    Quiet,
    Set,
    System,
    among,
    at_least_two,
    listed,
    report_done,
    values,
)
from asctool.console import results


def fuse(
    posteriors_and_output: Annotated[list[Path], typer.Argument(metavar="POSTERIORS... OUTPUT", show_default=False)],
    rule: Annotated[
        str | None,
        typer.Option(
            help="product, mean, max, vote; weighted, stack (learned on valid rows) [default: product, of tags mean]",
            autocompletion=listed("fusion rules"),
            show_default=False,
        ),
    ] = None,
    level: Annotated[str, typer.Option(help="clip or segment", autocompletion=among("clip", "segment"))] = "clip",
    system: System = None,
    fitted: Annotated[
        Path | None,
        typer.Option(help="what fuse wrote: apply the weights that it learned", show_default=False),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="fuse what is there; list and count what a system lacks")
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    no_verify: NoVerify = False,
    quiet: Quiet = False,
) -> None:
    """Join segments to clips, and several systems to one."""
    console.set_up(quiet)
    from asctool.stages import fuse as stage

    *inputs, output = at_least_two(posteriors_and_output)
    done = stage.fuse(inputs, output, rule, level, system, force, allow_missing, dry_run, not no_verify, fitted)
    report_done(done, output, dry_run)


def score(
    posteriors: Annotated[list[Path], typer.Argument(metavar="POSTERIORS...", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="a directory for scores.json, .md, .tex, .csv and figures", show_default=False),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="columns of clips.csv, as city,device: a table of each", show_default=False),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="names of two systems: is the difference of their clips luck?"),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="count the rows whose class is among the first K")] = 3,
    subset: Annotated[
        str,
        typer.Option(help="test, or valid: the rows to choose settings by", autocompletion=among("test", "valid")),
    ] = "test",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="judge what is there; list and count clips that are not")
    ] = False,
    json_: Json = False,
    force: Force = False,
    dry_run: DryRun = False,
    no_verify: NoVerify = False,
    quiet: Quiet = False,
) -> None:
    """Judge posteriors of test rows: systems are rows, folds give mean and deviation."""
    console.set_up(quiet)
    from asctool.stages import score as stage

    scores = stage.score(posteriors, _columns(by), compare, top, allow_missing, not no_verify, subset)
    if out:
        report_done(stage.write(scores, out, force, dry_run, posteriors), out, dry_run)
        if dry_run:
            return
    if json_:
        results.write_json(stage.as_dict(scores))
        return
    for title, names, rows in stage.tables(scores):
        results.write_table(title, names, rows)


def import_posteriors(
    table: Annotated[
        Path, typer.Argument(metavar="CSV", help="clip_id (or filename) and a column a class", show_default=False)
    ],
    data: Annotated[Path, typer.Argument(help="the data directory whose clips they are", show_default=False)],
    output: Output,
    system: Annotated[
        str | None, typer.Option(help="what the result is called in tables [default: the csv's name]")
    ] = None,
    fold: Annotated[
        int | None, typer.Option(min=1, help="of all rows [default: a column fold, or the one that tests a clip]")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="posterior, or tag: scores of several labels a clip")] = None,
    select: Annotated[
        str | None, typer.Option(help="what chose the system: unknown, last, valid or test [default: unknown]")
    ] = None,
    normalise: Annotated[bool, typer.Option("--normalise", help="divide every row by its sum")] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="list and count the clips that have no row")
    ] = False,
    set_: Set = None,
    force: Force = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Read another system's posteriors from a csv (clip x class), to be fused and scored with others."""
    console.set_up(quiet)
    from asctool.stages import import_posteriors as stage

    given = {"kind": kind, "select": select, "normalise": normalise or None, "allow_missing": allow_missing or None}
    own = stage.configure(values("import_posteriors", None, set_, **given))
    report_done(
        stage.import_posteriors(table, data, output, own, fold, system, force, dry_run=dry_run), output, dry_run
    )


def submit(
    posteriors: Input,
    output: Annotated[Path, typer.Argument(metavar="CSV", help=".csv, or .tsv with tabs", show_default=False)],
    columns: Annotated[
        str, typer.Option(help="posteriors (what import-posteriors reads), labels (filename, scene_label), both")
    ] = "posteriors",
    rule: Annotated[
        str | None,
        typer.Option(
            help="joins what folds say of one clip: product, mean, max, vote [default: product, of tags mean]",
            show_default=False,
        ),
    ] = None,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="leave out clips that have no row")] = False,
    force: Force = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Write the posteriors of test clips, or their classes, as a csv: an unlabelled set's submission."""
    console.set_up(quiet)
    from asctool.stages import submit as stage

    report_done(stage.submit(posteriors, output, columns, rule, allow_missing, force, dry_run=dry_run), output, dry_run)


def report(
    results_and_output: Annotated[list[Path], typer.Argument(metavar="RUN_OR_RESULT... OUT.html", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(help="a data directory with the recordings [default: the one that results lead to]"),
    ] = None,
    title: Annotated[str | None, typer.Option(help="of the page [default: Results]", show_default=False)] = None,
    clip: Annotated[
        list[str] | None, typer.Option(help="a clip to show in any case; again for another", show_default=False)
    ] = None,
    listen: Annotated[
        int | None, typer.Option(min=0, help="misclassified clips to listen to [default: 60]", show_default=False)
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="columns of clips.csv, as city,device: a table of each", show_default=False),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="names of two systems: is the difference of their clips luck?"),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="show results that lack test clips, marked so")
    ] = False,
    jobs: Jobs = None,
    force: Force = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Write one page to open offline: scores, learning, confusions, calibration, mistaken clips to listen to."""
    console.set_up(quiet)
    from asctool.stages import report as stage

    *inputs, output = at_least_two(results_and_output)
    given: dict[str, Any] = {"title": title, "clips": clip or None, "listen": listen, "compare": compare}
    given |= {"by": _columns(by) or None, "allow_missing": allow_missing or None}
    own = stage.configure({name: value for name, value in given.items() if value is not None})
    report_done(stage.report(inputs, output, own, data, jobs, force, console.Bar(quiet), dry_run), output, dry_run)


def _columns(by: str | None) -> list[str]:
    """The names that --by joins by commas."""
    return [name.strip() for name in by.split(",")] if by else []

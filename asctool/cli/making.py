"""Commands from recordings to features, and to varied or mixed copies of them."""

from pathlib import Path
from typing import Annotated

import typer

from asctool import console
from asctool.cli.options import (
    Config,
    Device,
    DryRun,
    Force,
    Input,
    Jobs,
    Output,
    Part,
    Quiet,
    Scheduler,
    Seed,
    Set,
    listed,
    names,
    report_done,
    spread,
    values,
)


def prep(
    corpus: Annotated[
        str,
        typer.Argument(help=names("corpora"), show_default=False, autocompletion=listed("corpora")),
    ],
    source: Annotated[Path, typer.Argument(help="where the corpus lies")],
    output: Output,
    download: Annotated[
        bool,
        typer.Option("--download", help="fetch the published archives into SOURCE first; goes on where it stopped"),
    ] = False,
    valid: Annotated[str | None, typer.Option(help="'next' fold, or a share such as 0.2", show_default=False)] = None,
    root: Annotated[Path | None, typer.Option(help="of the paths in a table", show_default=False)] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="leave out files that cannot be read; rejected.csv lists them")
    ] = False,
    config: Config = None,
    set_: Set = None,
    seed: Seed = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    force: Force = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Read a corpus as it lies on disk, check every file, make or take its folds.

    Folds and leakage are matters of all files, so that prep has no --part; --jobs or --scheduler decode side by side.
    """
    console.set_up(quiet)
    from asctool.stages import prep as stage

    given = {"valid": valid, "root": root, "seed": seed, "skip_bad": skip_bad or None}
    own, options = stage.configure(corpus, values("prep", config, set_, **given))
    where, _ = spread(scheduler)
    if download:
        stage.download(corpus, source, output, options, console.Bar(quiet), dry_run)
    done = stage.prep(corpus, source, output, own, options, jobs, force, console.Bar(quiet), dry_run, where)
    report_done(done, output, dry_run)


def denoise(
    data: Input,
    output: Output,
    config: Config = None,
    set_: Set = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    part: Part = None,
    force: Force = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Subtract stationary noise from every clip (minimum statistics), into a waveform store."""
    console.set_up(quiet)
    from asctool.stages import denoise as stage

    own, options = stage.configure(values("denoise", config, set_))
    done = stage.denoise(data, output, own, options, jobs, force, console.Bar(quiet), dry_run, *spread(scheduler, part))
    report_done(done, output, dry_run)


def featurize(
    data: Input,
    output: Output,
    type_: Annotated[
        str, typer.Option("--type", help=names("features"), show_default=False, autocompletion=listed("features"))
    ],
    denoised: Annotated[
        Path | None, typer.Option(help="what denoise wrote, as further channels", show_default=False)
    ] = None,
    delta: Annotated[bool, typer.Option("--delta", help="add the slope of each channel")] = False,
    config: Config = None,
    set_: Set = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    part: Part = None,
    device: Device = "cpu",
    force: Force = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Compute features of every clip and cut them into segments."""
    console.set_up(quiet)
    from asctool.stages import featurize as stage

    own, feature = stage.configure(type_, values("featurize", config, set_))
    where = stage.choose_device(device, own, feature)
    shown, spread_over = console.Bar(quiet), spread(scheduler, part)
    done = stage.featurize(
        data, output, own, feature, denoised, delta, jobs, force, shown, where, dry_run, *spread_over
    )
    report_done(done, output, dry_run)


def augment(
    source: Annotated[Path, typer.Argument(metavar="DATA_OR_FEATURES", show_default=False)],
    output: Output,
    method: Annotated[
        str,
        typer.Option(
            help="of a data directory: time_stretch,pitch_shift; of features: between_class, mixup or spec_augment",
            show_default=False,
            autocompletion=listed("transforms"),
        ),
    ],
    fold: Annotated[
        int | None, typer.Option(min=1, help="of features: whose training rows, counted from 1", show_default=False)
    ] = None,
    copies: Annotated[
        int | None, typer.Option(min=1, help="of each clip with each method [default: 1]", show_default=False)
    ] = None,
    config: Config = None,
    set_: Set = None,
    seed: Seed = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    part: Part = None,
    force: Force = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Add varied copies of training clips to a data directory, or make mixed or masked training rows of features.

    train --mix mixes afresh in every epoch. --scheduler and --part are for copies of clips.
    """
    console.set_up(quiet)
    from asctool.stages import augment as stage

    plan = stage.configure(method, values("augment", config, set_, copies=copies, seed=seed))
    shown, spread_over = console.Bar(quiet), spread(scheduler, part)
    done = stage.augment(source, output, plan, fold, jobs, force, shown, dry_run, *spread_over)
    report_done(done, output, dry_run)

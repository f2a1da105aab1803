"""Commands from recordings to posteriors."""

from pathlib import Path
from typing import Annotated

import typer

from asctool import console
from asctool.cli.options import (
    Config,
    Device,
    DryRun,
    Fold,
    Force,
    Input,
    Jobs,
    NoVerify,
    Output,
    Part,
    Quiet,
    Scheduler,
    Seed,
    Set,
    Stream,
    System,
    Tags,
    among,
    exactly,
    listed,
    names,
    refuse,
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


def train(
    features: Input,
    output: Output,
    model: Annotated[str, typer.Option(help=names("models"), show_default=False, autocompletion=listed("networks"))],
    fold: Fold,
    mix: Annotated[
        str | None,
        typer.Option(
            help="none, between_class or mixup, afresh in every epoch",
            show_default=False,
            autocompletion=among("none", "between_class", "mixup"),
        ),
    ] = None,
    mix_alpha: Annotated[float | None, typer.Option(help="of mixup's Beta distribution", show_default=False)] = None,
    epochs: Annotated[int | None, typer.Option(help="[default: the paper's]", show_default=False)] = None,
    batch_size: Annotated[int | None, typer.Option(help="[default: the paper's]", show_default=False)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="[default: the paper's]", show_default=False)] = None,
    select: Annotated[
        str | None,
        typer.Option(
            help="which epoch is kept: last, valid or test [default: last]",
            show_default=False,
            autocompletion=among("last", "valid", "test"),
        ),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="epochs to wait for a better validation accuracy", show_default=False)
    ] = None,
    rows_per_epoch: Annotated[int | None, typer.Option(help="[default: all training rows]", show_default=False)] = None,
    monitor: Annotated[
        str | None,
        typer.Option(help="'test': record its accuracy in every epoch; it chooses nothing", show_default=False),
    ] = None,
    init_from: Annotated[
        Path | None, typer.Option(help="a run whose weights to begin with", show_default=False)
    ] = None,
    tags: Tags = None,
    soft_targets: Annotated[
        Path | None,
        typer.Option(help="tags that take the place of the labels of the clips they are of", show_default=False),
    ] = None,
    stream: Stream = "auto",
    config: Config = None,
    set_: Set = None,
    seed: Seed = None,
    device: Device = "auto",
    force: Force = False,
    dry_run: DryRun = False,
    no_verify: NoVerify = False,
    quiet: Quiet = False,
) -> None:
    """Train a network on the training rows of a fold, or go on where training was stopped."""
    console.set_up(quiet)
    from asctool.errors import UsageError
    from asctool.stages import train as stage

    if monitor not in (None, "test"):
        raise UsageError(f"--monitor {monitor}: only 'test' can be monitored")
    given = {
        "mix": mix,
        "mix_alpha": mix_alpha,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "select": select,
        "patience": patience,
        "rows_per_epoch": rows_per_epoch,
        "seed": seed,
    }
    plan = stage.configure(model, values("train", config, set_, **given))
    shown = console.Bar(quiet)
    beside = (tags or (), soft_targets, stream)
    done = stage.train(
        *(features, output, plan, fold, device, bool(monitor), init_from, force, shown, *beside),
        dry_run=dry_run,
        verify=not no_verify,
    )
    report_done(done, output, dry_run)


def extract(
    inputs_and_output: Annotated[
        list[Path],
        typer.Argument(
            metavar="[RUN] INPUT OUTPUT",
            help="a run and its features; with --model recordings alone: data or waveforms",
            show_default=False,
        ),
    ],
    kind: Annotated[
        str,
        typer.Option(
            help="embedding, posterior, attention or tag",
            show_default=False,
            autocompletion=among("embedding", "posterior", "attention", "tag"),
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="hf:NAME",
            help="in the place of a run: a network of Hugging Face, a folder or a name, for embedding or tag",
            show_default=False,
        ),
    ] = None,
    activation: Annotated[
        str,
        typer.Option(
            help="of --model's tags: sigmoid where a clip may have several labels, softmax, or auto: as it says itself",
            autocompletion=among("auto", "sigmoid", "softmax"),
        ),
    ] = "auto",
    tags: Tags = None,
    subset: Annotated[
        str, typer.Option(help="of --kind tag: all clips, or those of a subset of the run's fold: train, valid, test")
    ] = "all",
    stream: Stream = "auto",
    system: System = None,
    device: Device = "auto",
    scheduler: Scheduler = None,
    part: Part = None,
    force: Force = False,
    dry_run: DryRun = False,
    no_verify: NoVerify = False,
    quiet: Quiet = False,
) -> None:
    """Compute embeddings, posteriors or attention of all rows with a trained network, or tags of all clips."""
    console.set_up(quiet)
    from asctool.stages import extract as stage
    from asctool.stages import extract_hub

    spread_over, shown = spread(scheduler, part), console.Bar(quiet)
    if model is not None:
        recordings, output = exactly(2, inputs_and_output, "with --model give recordings and the output, no run")
        of_runs = {"--tags": tags, "--subset": subset != "all", "--stream": stream != "auto"}
        refuse([name for name, given in of_runs.items() if given], "is for a run, not for --model")
        options = (kind, activation, system, device, force, dry_run, not no_verify)
        report_done(extract_hub.extract(model, recordings, output, *options, *spread_over, shown), output, dry_run)
        return
    refuse(["--activation"] if activation != "auto" else [], "is for --model")
    run, features, output = exactly(3, inputs_and_output, "give a run, features and the output (or --model hf:NAME)")
    beside = (tags or (), stream, subset)
    done = stage.extract(
        *(run, features, output, kind, system, device, force, *beside, dry_run, not no_verify, *spread_over, shown)
    )
    report_done(done, output, dry_run)


def svm(
    embeddings: Input,
    output: Output,
    kernel: Annotated[
        str | None,
        typer.Option(
            help=f"{names('classifiers')} [default: linear]", show_default=False, autocompletion=listed("kernels")
        ),
    ] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="choose kernel and C on validation rows, or on folds inside training rows")
    ] = False,
    fold: Annotated[int | None, typer.Option(min=1, help="only for embeddings of no fold", show_default=False)] = None,
    fitted: Annotated[
        Path | None,
        typer.Option(help="what svm wrote: apply that SVM, to an unlabelled set for example", show_default=False),
    ] = None,
    system: System = None,
    config: Config = None,
    set_: Set = None,
    seed: Seed = None,
    force: Force = False,
    dry_run: DryRun = False,
    no_verify: NoVerify = False,
    quiet: Quiet = False,
) -> None:
    """Fit a calibrated SVM on embeddings of the training rows; write posteriors of the others."""
    console.set_up(quiet)
    from asctool.errors import UsageError
    from asctool.stages import svm as stage

    if fitted:
        if kernel or tune or fold or config or set_ or seed is not None:
            raise UsageError("--fitted applies an SVM as it is: no --kernel, --tune, --fold, --config, --set, --seed")
        done = stage.apply(embeddings, output, fitted, system, force, dry_run, not no_verify)
        report_done(done, output, dry_run)
        return
    own, options = stage.configure(kernel or "linear", values("svm", config, set_, seed=seed))
    tried = stage.candidates(own, kernel, options) if tune else ()
    done = stage.svm(
        embeddings,
        output,
        kernel or "linear",
        own,
        options,
        fold,
        system,
        force,
        dry_run=dry_run,
        tune=tried,
        verify=not no_verify,
    )
    report_done(done, output, dry_run)

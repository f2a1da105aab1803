"""Commands from features to posteriors: networks, and what is fitted on their embeddings."""

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

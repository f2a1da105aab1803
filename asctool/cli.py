"""The command line: one short command a stage: parse, call the stage, report."""

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from asctool import console

# Whatever copy of click typer brings with it: the root of its complaints about options.
_CLICK_ERROR: Any = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Composable stages for acoustic scene and environmental sound classification. Inputs first, the output last.",
)

Input = Annotated[Path, typer.Argument(show_default=False)]
Output = Annotated[Path, typer.Argument(show_default=False, help="written whole, or not at all")]
Config = Annotated[str | None, typer.Option(help="a preset by name, or a TOML file", show_default=False)]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override one setting", show_default=False)
]
Jobs = Annotated[int | None, typer.Option(min=1, help="processes [default: one a core]", show_default=False)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:n")]
Seed = Annotated[int | None, typer.Option(min=0, help="of all randomness", show_default=False)]
Fold = Annotated[int, typer.Option(min=1, help="which fold, counted from 1", show_default=False)]
System = Annotated[str | None, typer.Option(help="what the result is called in tables", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="make the output anew, whatever is there")]
Quiet = Annotated[bool, typer.Option("--quiet", help="warnings only")]
Json = Annotated[bool, typer.Option("--json", help="for programs")]


@app.command()
def prep(
    corpus: Annotated[str, typer.Argument(help="esc10, esc50, folder, table, synthetic")],
    source: Annotated[Path, typer.Argument(help="where the corpus lies")],
    output: Output,
    valid: Annotated[str | None, typer.Option(help="'next' fold, or a share such as 0.2", show_default=False)] = None,
    root: Annotated[Path | None, typer.Option(help="of the paths in a table", show_default=False)] = None,
    config: Config = None,
    set_: Set = None,
    seed: Seed = None,
    jobs: Jobs = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Read a corpus as it lies on disk, check every file, make or take its folds."""
    console.set_up(quiet)
    from asctool.stages import prep as stage

    own, options = stage.configure(corpus, _values("prep", config, set_, valid=valid, root=root, seed=seed))
    done = stage.prep(corpus, source, output, own, options, jobs, force, console.Bar(quiet))
    _report(done, output)


@app.command()
def denoise(
    data: Input,
    output: Output,
    config: Config = None,
    set_: Set = None,
    jobs: Jobs = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Subtract stationary noise from every clip (minimum statistics), into a waveform store."""
    console.set_up(quiet)
    from asctool.stages import denoise as stage

    own, options = stage.configure(_values("denoise", config, set_))
    done = stage.denoise(data, output, own, options, jobs, force, console.Bar(quiet))
    _report(done, output)


@app.command()
def featurize(
    data: Input,
    output: Output,
    type_: Annotated[str, typer.Option("--type", help="logmel, gammatone or waveform", show_default=False)],
    denoised: Annotated[
        Path | None, typer.Option(help="what denoise wrote, as further channels", show_default=False)
    ] = None,
    delta: Annotated[bool, typer.Option("--delta", help="add the slope of each channel")] = False,
    config: Config = None,
    set_: Set = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Compute features of every clip and cut them into segments."""
    console.set_up(quiet)
    from asctool.stages import featurize as stage

    own, feature = stage.configure(type_, _values("featurize", config, set_))
    where = stage.choose_device(device, own, feature)
    done = stage.featurize(data, output, own, feature, denoised, delta, jobs, force, console.Bar(quiet), where)
    _report(done, output)


@app.command()
def augment(
    source: Annotated[Path, typer.Argument(metavar="DATA_OR_FEATURES", show_default=False)],
    output: Output,
    method: Annotated[
        str,
        typer.Option(
            help="of a data directory: time_stretch,pitch_shift; of features: between_class, mixup or spec_augment",
            show_default=False,
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
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Add varied copies of training clips to a data directory, or make mixed or masked training rows of features.

    train --mix mixes afresh in every epoch.
    """
    console.set_up(quiet)
    from asctool.stages import augment as stage

    plan = stage.configure(method, _values("augment", config, set_, copies=copies, seed=seed))
    _report(stage.augment(source, output, plan, fold, jobs, force, console.Bar(quiet)), output)


@app.command()
def train(
    features: Input,
    output: Output,
    model: Annotated[str, typer.Option(help="att_crnn or cnn", show_default=False)],
    fold: Fold,
    mix: Annotated[
        str | None, typer.Option(help="none, between_class or mixup, afresh in every epoch", show_default=False)
    ] = None,
    mix_alpha: Annotated[float | None, typer.Option(help="of mixup's Beta distribution", show_default=False)] = None,
    epochs: Annotated[int | None, typer.Option(help="[default: the paper's]", show_default=False)] = None,
    batch_size: Annotated[int | None, typer.Option(help="[default: the paper's]", show_default=False)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="[default: the paper's]", show_default=False)] = None,
    select: Annotated[
        str | None, typer.Option(help="which epoch is kept: last, valid or test [default: last]", show_default=False)
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
    config: Config = None,
    set_: Set = None,
    seed: Seed = None,
    device: Device = "auto",
    force: Force = False,
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
    plan = stage.configure(model, _values("train", config, set_, **given))
    done = stage.train(features, output, plan, fold, device, bool(monitor), init_from, force, console.Bar(quiet))
    _report(done, output)


@app.command()
def extract(
    run: Input,
    features: Input,
    output: Output,
    kind: Annotated[str, typer.Option(help="embedding, posterior or attention", show_default=False)],
    system: System = None,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Compute embeddings, posteriors or attention of all rows with a trained network."""
    console.set_up(quiet)
    from asctool.stages import extract as stage

    _report(stage.extract(run, features, output, kind, system, device, force), output)


@app.command()
def svm(
    embeddings: Input,
    output: Output,
    kernel: Annotated[str, typer.Option(help="linear, rbf or sigmoid")] = "linear",
    fold: Annotated[int | None, typer.Option(min=1, help="only for embeddings of no fold", show_default=False)] = None,
    system: System = None,
    config: Config = None,
    set_: Set = None,
    seed: Seed = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Fit a calibrated SVM on embeddings of the training rows; write posteriors of the others."""
    console.set_up(quiet)
    from asctool.stages import svm as stage

    own, options = stage.configure(kernel, _values("svm", config, set_, seed=seed))
    _report(stage.svm(embeddings, output, kernel, own, options, fold, system, force), output)


@app.command()
def fuse(
    posteriors_and_output: Annotated[list[Path], typer.Argument(metavar="POSTERIORS... OUTPUT", show_default=False)],
    rule: Annotated[
        str, typer.Option(help="product, mean, max, vote; weighted, stack (learned on validation rows)")
    ] = "product",
    level: Annotated[str, typer.Option(help="clip or segment")] = "clip",
    system: System = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Join segments to clips, and several systems to one."""
    console.set_up(quiet)
    from asctool.stages import fuse as stage

    *inputs, output = _at_least_two(posteriors_and_output)
    _report(stage.fuse(inputs, output, rule, level, system, force), output)


@app.command()
def score(
    posteriors: Annotated[list[Path], typer.Argument(metavar="POSTERIORS...", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="a directory for scores.json, scores.md and figures", show_default=False)
    ] = None,
    json_: Json = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Judge posteriors of test rows: systems are rows, folds give mean and deviation."""
    console.set_up(quiet)
    from asctool.stages import score as stage

    scores = stage.score(posteriors)
    if out:
        _report(stage.write(scores, out, force), out)
    if json_:
        console.write_json(stage.as_dict(scores))
        return
    for title, columns, rows in stage.tables(scores):
        console.write_table(title, columns, rows)


@app.command()
def info(
    artifact: Annotated[Path, typer.Argument(help="an artifact of asctool, or an audio file", show_default=False)],
    plot: Annotated[
        Path | None, typer.Option(help="draw a clip: a .png, .pdf or .svg file", show_default=False)
    ] = None,
    clip: Annotated[str | None, typer.Option(help="which one to draw [default: the first]", show_default=False)] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Explain an artifact: what it is, what made it, what it holds; draw a clip of it."""
    console.set_up(quiet)
    from asctool.stages import info as stage

    found = stage.info(artifact)
    if plot or clip:
        stage.draw(artifact, plot, clip)
    if json_:
        console.write_json(found)
    else:
        console.write_tree(str(artifact), stage.shortened(found))


@app.command()
def verify(artifacts: Annotated[list[Path], typer.Argument(show_default=False)], quiet: Quiet = False) -> None:
    """Check artifacts deeply: every hash, every row, every clip."""
    console.set_up(quiet)
    from asctool.stages import verify as stage

    for artifact in artifacts:
        sys.stdout.write(f"{artifact}: {stage.verify(artifact)}\n")


def main() -> NoReturn:
    """The program ``asctool``."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command line; its exit code."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    name = next((argument for argument in arguments if not argument.startswith("-")), "")
    outcome: list[Any] = []
    code = console.guarded(lambda: outcome.append(_parse(arguments)), name, debug)
    return code or next((value for value in outcome if isinstance(value, int)), 0)


def _parse(arguments: list[str]) -> Any:
    try:
        code = app(arguments, prog_name="asctool", standalone_mode=False)
    except _CLICK_ERROR as error:
        error.show()
        return error.exit_code
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    if code == 130:  # what typer makes of Ctrl-C
        raise KeyboardInterrupt
    return code


def _values(section: str, config: str | None, overrides: list[str] | None, **given: Any) -> dict[str, Any]:
    """Settings of a stage: those of the configuration, then overrides, then options that were given."""
    from asctool.storage import settings

    options = {name: value for name, value in given.items() if value is not None}
    return {**settings.read_section(config, section), **settings.parse_overrides(overrides or []), **options}


def _at_least_two(paths: list[Path]) -> list[Path]:
    from asctool.errors import UsageError

    if len(paths) < 2:
        raise UsageError("one input and the output are needed at least")
    return paths


def _report(done: bool, output: Path) -> None:
    import logging

    said = "written" if done else "is there already, made with these options from these inputs"
    logging.getLogger("asctool").info("%s: %s", output, said)


if __name__ == "__main__":
    main()

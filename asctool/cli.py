"""The command line: one short command a stage: parse, call the stage, report."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from asctool import console, registry
from asctool.errors import WouldWrite

# Whatever copy of click typer brings with it: the root of its complaints about options.
_CLICK_ERROR: Any = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Composable stages for acoustic scene and environmental sound classification. Inputs first, the output last.",
)


def _listed(group: str) -> Callable[[str], list[tuple[str, str]]]:
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


def _names(package: str) -> str:
    """The plug-ins of a folder as help tells them."""
    return ", ".join(registry.names(package))


def _among(*values: str) -> Callable[[str], list[str]]:
    """Completion of a few words."""
    return lambda incomplete: [value for value in values if value.startswith(incomplete)]


Input = Annotated[Path, typer.Argument(show_default=False)]
Output = Annotated[Path, typer.Argument(show_default=False, help="written whole, or not at all")]
Config = Annotated[
    str | None,
    typer.Option(help="a preset by name, or a TOML file", show_default=False, autocompletion=_listed("presets")),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override one setting", show_default=False)
]
Jobs = Annotated[int | None, typer.Option(min=1, help="processes [default: one a core]", show_default=False)]
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


@app.command()
def prep(
    corpus: Annotated[
        str,
        typer.Argument(help=_names("corpora"), show_default=False, autocompletion=_listed("corpora")),
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
    force: Force = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Read a corpus as it lies on disk, check every file, make or take its folds."""
    console.set_up(quiet)
    from asctool.stages import prep as stage

    given = {"valid": valid, "root": root, "seed": seed, "skip_bad": skip_bad or None}
    own, options = stage.configure(corpus, _values("prep", config, set_, **given))
    if download:
        stage.download(corpus, source, output, options, console.Bar(quiet), dry_run)
    done = stage.prep(corpus, source, output, own, options, jobs, force, console.Bar(quiet), dry_run)
    _report(done, output, dry_run)


@app.command()
def denoise(
    data: Input,
    output: Output,
    config: Config = None,
    set_: Set = None,
    jobs: Jobs = None,
    force: Force = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Subtract stationary noise from every clip (minimum statistics), into a waveform store."""
    console.set_up(quiet)
    from asctool.stages import denoise as stage

    own, options = stage.configure(_values("denoise", config, set_))
    done = stage.denoise(data, output, own, options, jobs, force, console.Bar(quiet), dry_run)
    _report(done, output, dry_run)


@app.command()
def featurize(
    data: Input,
    output: Output,
    type_: Annotated[
        str, typer.Option("--type", help=_names("features"), show_default=False, autocompletion=_listed("features"))
    ],
    denoised: Annotated[
        Path | None, typer.Option(help="what denoise wrote, as further channels", show_default=False)
    ] = None,
    delta: Annotated[bool, typer.Option("--delta", help="add the slope of each channel")] = False,
    config: Config = None,
    set_: Set = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    force: Force = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Compute features of every clip and cut them into segments."""
    console.set_up(quiet)
    from asctool.stages import featurize as stage

    own, feature = stage.configure(type_, _values("featurize", config, set_))
    where = stage.choose_device(device, own, feature)
    done = stage.featurize(data, output, own, feature, denoised, delta, jobs, force, console.Bar(quiet), where, dry_run)
    _report(done, output, dry_run)


@app.command()
def augment(
    source: Annotated[Path, typer.Argument(metavar="DATA_OR_FEATURES", show_default=False)],
    output: Output,
    method: Annotated[
        str,
        typer.Option(
            help="of a data directory: time_stretch,pitch_shift; of features: between_class, mixup or spec_augment",
            show_default=False,
            autocompletion=_listed("transforms"),
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
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Add varied copies of training clips to a data directory, or make mixed or masked training rows of features.

    train --mix mixes afresh in every epoch.
    """
    console.set_up(quiet)
    from asctool.stages import augment as stage

    plan = stage.configure(method, _values("augment", config, set_, copies=copies, seed=seed))
    _report(stage.augment(source, output, plan, fold, jobs, force, console.Bar(quiet), dry_run), output, dry_run)


@app.command()
def train(
    features: Input,
    output: Output,
    model: Annotated[str, typer.Option(help=_names("models"), show_default=False, autocompletion=_listed("networks"))],
    fold: Fold,
    mix: Annotated[
        str | None,
        typer.Option(
            help="none, between_class or mixup, afresh in every epoch",
            show_default=False,
            autocompletion=_among("none", "between_class", "mixup"),
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
            autocompletion=_among("last", "valid", "test"),
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
    plan = stage.configure(model, _values("train", config, set_, **given))
    shown = console.Bar(quiet)
    beside = (tags or (), soft_targets, stream)
    done = stage.train(
        *(features, output, plan, fold, device, bool(monitor), init_from, force, shown, *beside),
        dry_run=dry_run,
        verify=not no_verify,
    )
    _report(done, output, dry_run)


@app.command()
def extract(
    run: Input,
    features: Input,
    output: Output,
    kind: Annotated[
        str,
        typer.Option(
            help="embedding, posterior, attention or tag",
            show_default=False,
            autocompletion=_among("embedding", "posterior", "attention", "tag"),
        ),
    ],
    tags: Tags = None,
    subset: Annotated[
        str, typer.Option(help="of --kind tag: all clips, or those of a subset of the run's fold: train, valid, test")
    ] = "all",
    stream: Stream = "auto",
    system: System = None,
    device: Device = "auto",
    force: Force = False,
    dry_run: DryRun = False,
    no_verify: NoVerify = False,
    quiet: Quiet = False,
) -> None:
    """Compute embeddings, posteriors or attention of all rows with a trained network, or tags of all clips."""
    console.set_up(quiet)
    from asctool.stages import extract as stage

    beside = (tags or (), stream, subset)
    done = stage.extract(
        run, features, output, kind, system, device, force, *beside, dry_run=dry_run, verify=not no_verify
    )
    _report(done, output, dry_run)


@app.command()
def svm(
    embeddings: Input,
    output: Output,
    kernel: Annotated[
        str | None,
        typer.Option(
            help=f"{_names('classifiers')} [default: linear]", show_default=False, autocompletion=_listed("kernels")
        ),
    ] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="choose kernel and C on validation rows, or on folds inside training rows")
    ] = False,
    fold: Annotated[int | None, typer.Option(min=1, help="only for embeddings of no fold", show_default=False)] = None,
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
    from asctool.stages import svm as stage

    own, options = stage.configure(kernel or "linear", _values("svm", config, set_, seed=seed))
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
    _report(done, output, dry_run)


@app.command()
def fuse(
    posteriors_and_output: Annotated[list[Path], typer.Argument(metavar="POSTERIORS... OUTPUT", show_default=False)],
    rule: Annotated[
        str,
        typer.Option(
            help="product, mean, max, vote; weighted, stack (learned on validation rows)",
            autocompletion=_listed("fusion rules"),
        ),
    ] = "product",
    level: Annotated[str, typer.Option(help="clip or segment", autocompletion=_among("clip", "segment"))] = "clip",
    system: System = None,
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

    *inputs, output = _at_least_two(posteriors_and_output)
    done = stage.fuse(inputs, output, rule, level, system, force, allow_missing, dry_run, not no_verify)
    _report(done, output, dry_run)


@app.command()
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
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="judge what is there; list and count test clips that are not")
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

    columns = [name.strip() for name in by.split(",")] if by else []
    scores = stage.score(posteriors, columns, compare, top, allow_missing, not no_verify)
    if out:
        _report(stage.write(scores, out, force, dry_run), out, dry_run)
        if dry_run:
            return
    if json_:
        console.write_json(stage.as_dict(scores))
        return
    for title, names, rows in stage.tables(scores):
        console.write_table(title, names, rows)


@app.command("import-posteriors")
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
    own = stage.configure(_values("import_posteriors", None, set_, **given))
    _report(stage.import_posteriors(table, data, output, own, fold, system, force, dry_run=dry_run), output, dry_run)


@app.command()
def submit(
    posteriors: Input,
    output: Annotated[Path, typer.Argument(metavar="CSV", help=".csv, or .tsv with tabs", show_default=False)],
    columns: Annotated[
        str, typer.Option(help="posteriors (what import-posteriors reads), labels (filename, scene_label), both")
    ] = "posteriors",
    rule: Annotated[str, typer.Option(help="joins folds that say something of one clip: product, mean, max, vote")] = (
        "product"
    ),
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="leave out clips that have no row")] = False,
    force: Force = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Write the posteriors of test clips, or their classes, as a csv: an unlabelled set's submission."""
    console.set_up(quiet)
    from asctool.stages import submit as stage

    _report(stage.submit(posteriors, output, columns, rule, allow_missing, force, dry_run=dry_run), output, dry_run)


@app.command()
def predict(
    audio: Annotated[
        list[str],
        typer.Argument(help="files, folders, or - for standard input", metavar="AUDIO...", show_default=False),
    ],
    model: Annotated[
        list[Path],
        typer.Option(help="a run, what svm or fuse wrote, or a bundle; several are joined", show_default=False),
    ],
    timeline: Annotated[bool, typer.Option("--timeline", help="every segment too, with its seconds")] = False,
    unknown_below: Annotated[
        float, typer.Option(help="call a recording unknown whose likeliest class is less likely than this")
    ] = 0.0,
    rule: Annotated[
        str | None,
        typer.Option(help="product, mean, max or vote, of folds and models [default: as fused, or product]"),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="for programs: an object a line")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="for tables")] = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Tell what recordings sound like: any format, any rate, any length."""
    console.set_up(quiet)
    from asctool.errors import DataError, UsageError
    from asctool.stages import predict as stage

    if json_ and csv:
        raise UsageError("--json and --csv: give one of them")
    stage.check_options(rule, unknown_below)
    predictor = stage.open_models(model, device, rule)
    if csv:
        console.write_csv([stage.columns(predictor.classes)])
    bad = total = 0
    for answer in stage.predict(audio, predictor, unknown_below, timeline):
        total += 1
        if answer.problem:
            bad += 1
            console.warn(f"{answer.recording}: {answer.problem}")
        if json_:
            console.write_record(stage.as_dict(answer))
        elif csv:
            console.write_csv(stage.rows(answer))
        else:
            console.write_lines(stage.lines(answer))
    if bad:
        raise DataError(f"{bad} of {total} recordings could not be used; they are told above")


@app.command()
def bundle(
    models_and_output: Annotated[list[Path], typer.Argument(metavar="RUN_OR_RESULT... OUTPUT", show_default=False)],
    onnx: Annotated[
        bool, typer.Option("--onnx", help="write the networks as ONNX instead, checked against onnxruntime")
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Put runs or results, with all that they stand on, into one file that predict takes anywhere."""
    console.set_up(quiet)
    from asctool.stages import bundle as stage

    *models, output = _at_least_two(models_and_output)
    if onnx:
        for path in stage.onnx(models, output, force, dry_run):
            _report(True, path, dry_run)
    else:
        _report(stage.bundle(models, output, force, dry_run), output, dry_run)


@app.command()
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

    *inputs, output = _at_least_two(results_and_output)
    given = {"title": title, "clips": clip or None, "listen": listen, "allow_missing": allow_missing or None}
    own = stage.configure({name: value for name, value in given.items() if value is not None})
    _report(stage.report(inputs, output, own, data, jobs, force, console.Bar(quiet), dry_run), output, dry_run)


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
        console.write_tree(str(artifact), stage.readable(found))


@app.command()
def verify(artifacts: Annotated[list[Path], typer.Argument(show_default=False)], quiet: Quiet = False) -> None:
    """Check artifacts deeply: every hash, every row, every clip."""
    console.set_up(quiet)
    from asctool.stages import verify as stage

    for artifact in artifacts:
        sys.stdout.write(f"{artifact}: {stage.verify(artifact)}\n")


@app.command("list")
def list_(
    name: Annotated[
        str | None,
        typer.Argument(help="a group (features, networks, ...), or one of them: its settings", show_default=False),
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the features, networks, corpora, transforms, SVM kernels, presets and fusion rules there are."""
    console.set_up(quiet)
    from asctool.stages import list_ as stage

    found = stage.list_(name) or stage.explain(str(name))
    if json_:
        console.write_json(found)
    else:
        console.write_tree(name or "asctool", stage.readable(found))


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
    except WouldWrite as would:
        sys.stdout.write(f"{would}\n")
        return 0
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


def _report(done: bool, output: Path, dry_run: bool = False) -> None:
    import logging

    said = "written" if done else "is there already, made with these options from these inputs"
    if dry_run:
        sys.stdout.write(f"{output}: {said}; nothing would be done\n")
    else:
        logging.getLogger("asctool").info("%s: %s", output, said)


if __name__ == "__main__":
    main()

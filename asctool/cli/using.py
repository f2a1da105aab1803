"""Commands that classify new recordings, and those that explain and check what lies on the disk."""

from pathlib import Path
from typing import Annotated

import typer

from asctool import console
from asctool.cli.options import Device, DryRun, Force, Json, Quiet, among, at_least_two, report_done
from asctool.console import results
from asctool.errors import AsctoolError


def predict(
    audio: Annotated[
        list[str],
        typer.Argument(help="files, folders, or - for standard input", metavar="AUDIO...", show_default=False),
    ],
    model: Annotated[
        list[Path],
        typer.Option(help="a run, what svm or fuse wrote, or a bundle; several are joined", show_default=False),
    ],
    timeline: Annotated[
        bool, typer.Option("--timeline", help="every segment too, with its seconds, as it comes")
    ] = False,
    unknown_below: Annotated[
        float | None,
        typer.Option(
            help="call unknown what is less likely than this; of tags, labels that are told [default: 0; of tags 0.5]",
            show_default=False,
        ),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            help="product, mean, max or vote, of folds and models [default: as fused, or product; of tags mean]",
            autocompletion=among("product", "mean", "max", "vote"),
        ),
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
        results.write_csv([stage.columns(predictor)])
    bad = total = 0
    for answer in stage.predict(audio, predictor, unknown_below, timeline):
        total += answer.segment == 0
        if answer.problem:
            bad += 1
            console.warn(f"{answer.recording}: {answer.problem}")
        if json_:
            results.write_record(stage.as_dict(answer))
        elif not csv:
            results.write_lines(stage.lines(answer))
        elif answer.span and (answer.segment > 0) == timeline:
            results.write_csv([stage.row(answer)])
    if bad:
        raise DataError(f"{bad} of {total} recordings could not be used; they are told above")


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

    *models, output = at_least_two(models_and_output)
    if onnx:
        for path in stage.onnx(models, output, force, dry_run):
            report_done(True, path, dry_run)
    else:
        report_done(stage.bundle(models, output, force, dry_run), output, dry_run)


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
        results.write_json(found)
    else:
        results.write_tree(str(artifact), stage.readable(found))


def verify(artifacts: Annotated[list[Path], typer.Argument(show_default=False)], quiet: Quiet = False) -> None:
    """Check artifacts deeply: every hash, every row, every clip."""
    console.set_up(quiet)
    from asctool.stages import verify as stage

    problems = []
    for artifact in artifacts:
        try:
            results.write_lines([f"{artifact}: {stage.verify(artifact)}"])
        except AsctoolError as error:
            if len(artifacts) == 1:
                raise
            problems.append(error)
            console.warn(str(error))
    if problems:
        worst = max(problems, key=lambda error: error.exit_code)
        raise type(worst)(f"{len(problems)} of {len(artifacts)} artifacts are not whole; they are told above")


def list_(
    name: Annotated[
        str | None,
        typer.Argument(
            help="a group (features, networks, ...), or one of them, or a stage: its settings", show_default=False
        ),
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the stages with settings, features, networks, corpora, transforms, SVM kernels, presets and fusion rules."""
    console.set_up(quiet)
    from asctool.stages import list_ as stage

    found = stage.list_(name) or stage.explain(str(name))
    if json_:
        results.write_json(found)
    else:
        results.write_tree(name or "asctool", stage.readable(found))

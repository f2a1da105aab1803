"""The command line: one short command a stage: parse, call the stage, report."""

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

import asctool
from asctool import console
from asctool.cli import judging, learning, making, using
from asctool.console import ending
from asctool.errors import WouldWrite

# Whatever copy of click typer brings with it: the root of its complaints about options.
_CLICK_ERROR: Any = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")

# Typer takes the name of a shell behind --install-completion only where it does not look for the one that calls it.
NO_DETECTION = "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"
COMMANDS: dict[str, Callable[..., None]] = {  # in the order of help
    "prep": making.prep,
    "denoise": making.denoise,
    "featurize": making.featurize,
    "augment": making.augment,
    "train": learning.train,
    "extract": learning.extract,
    "svm": learning.svm,
    "fuse": judging.fuse,
    "score": judging.score,
    "import-posteriors": judging.import_posteriors,
    "submit": judging.submit,
    "predict": using.predict,
    "bundle": using.bundle,
    "report": judging.report,
    "info": using.info,
    "verify": using.verify,
    "list": using.list_,
}

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},  # of every command
    help="Composable stages for acoustic scene and environmental sound classification. Inputs first, the output last.",
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"asctool {asctool.__version__}\n")
        raise typer.Exit


@app.callback()
def _before(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the program itself."""


for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def main() -> NoReturn:
    """The program ``asctool``."""
    code = run(sys.argv[1:])
    if console.of_several():
        from asctool.training import distributed

        distributed.leave(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command line; its exit code."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    name = next((argument for argument in arguments if not argument.startswith("-")), "")
    outcome: list[Any] = []
    code = ending.guarded(lambda: outcome.append(_parse(arguments)), name, debug)
    return code or next((value for value in outcome if isinstance(value, int)), 0)


def _parse(arguments: list[str]) -> Any:
    if arguments[:1] in (["--install-completion"], ["--show-completion"]) and len(arguments) > 1:
        os.environ[NO_DETECTION] = "1"
    try:
        code = app(arguments, prog_name="asctool", standalone_mode=False)
    except _CLICK_ERROR as error:
        if console.speaks():
            error.show()
        return error.exit_code
    except WouldWrite as would:
        if console.speaks():
            sys.stdout.write(f"{would}\n")
        return 0
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    if code == 130:  # what typer makes of Ctrl-C
        raise KeyboardInterrupt
    return code

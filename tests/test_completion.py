"""Completion for bash, zsh and fish: the scripts, and what they are told of options and of values."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asctool import registry

SHELLS = {
    "bash": ".bash_completions/asctool.sh",
    "zsh": ".zfunc/_asctool",
    "fish": ".config/fish/completions/asctool.fish",
}
HEAVY = ("torch", "numpy", "librosa", "scipy", "sklearn", "h5py")
ASCTOOL = "import sys\nfrom asctool import cli\ncode = cli.run(sys.argv[1:])\n"


def asctool(*arguments: str, **environment: str) -> str:
    """What the program prints; it must load nothing heavy."""
    script = ASCTOOL + f"assert not {{*sys.modules}} & {{*{HEAVY!r}}}\nsys.exit(code)"
    given = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def completions(line: str) -> list[str]:
    """What bash offers behind a line."""
    words = line.split(" ")
    told = asctool(COMP_WORDS=line, COMP_CWORD=str(len(words) - 1), _ASCTOOL_COMPLETE="complete_bash")
    return told.split()


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_come_out_and_can_be_installed(shell: str, tmp_path: Path) -> None:
    """Of the shell that is named, whichever one calls the program."""
    script = asctool("--show-completion", shell)
    assert f"_ASCTOOL_COMPLETE=complete_{shell}" in script
    asctool("--install-completion", shell, HOME=str(tmp_path))
    assert (tmp_path / SHELLS[shell]).read_text().strip() == script.strip()


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    """The script itself in bash, where ``asctool`` is a program on the path."""
    program = tmp_path / "asctool"
    program.write_text(f"#!{sys.executable}\n{ASCTOOL}sys.exit(code)\n")
    program.chmod(0o755)
    (tmp_path / "script").write_text(asctool("--show-completion", "bash"))
    typed = "COMP_WORDS=(asctool train features run --model att); COMP_CWORD=5; _asctool_completion asctool"
    done = subprocess.run(
        ["bash", "-c", f'source "$1" && {typed} && printf "%s\\n" "${{COMPREPLY[@]}}"', "bash", tmp_path / "script"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["att_crnn"], done.stderr


def test_commands_options_and_values() -> None:
    assert {"prep", "list", "verify"} <= set(completions("asctool "))
    assert {"--select", "--seed", "--set"} <= set(completions("asctool train a b --se"))
    assert completions("asctool train a b --model ") == registry.names("models")
    assert completions("asctool featurize a b --type g") == ["gammatone"]
    assert completions("asctool prep esc") == ["esc10", "esc50"]
    assert completions("asctool fuse a b --rule st") == ["stack"]
    assert completions("asctool extract r f o --kind emb") == ["embedding"]
    assert "phan2019" in completions("asctool train a b --config p")
    assert completions("asctool train a b --config conf/x") == []  # so that bash goes on with file names


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_descriptions_stand_on_one_line(shell: str) -> None:
    told = asctool(
        _TYPER_COMPLETE_ARGS="asctool svm a b --kernel ",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
        _ASCTOOL_COMPLETE=f"complete_{shell}",
    )
    lines = told.strip().splitlines()
    assert len(lines) == len(registry.names("classifiers")) == 3
    assert all(name in line for name, line in zip(("linear", "rbf", "sigmoid"), lines))

"""Recipes whose stages run in the process of the tests, where torch is loaded and kernels are compiled once."""

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import IO

from test_recipes import RECIPES

from asctool.cli import run

TRY = ("--schedule", "try", "--partial", "true", "--jobs", "1")


def recipe_here(script: str, out: Path, *options: object) -> tuple[int, str]:
    """Run a recipe as it is tried out; its status and what it said. What it calls goes into ``calls`` beside ``out``.

    The stand-in for asctool hands its words on through one pipe and waits at another for the status.
    """
    asked, answer, stub = (out.parent / name for name in ("asked", "answer", "asctool"))
    for pipe in (asked, answer):
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
    stub.write_text(f"""#!/usr/bin/env bash
{{ printf '%s\\0' "$@"; printf '\\n'; }} > {asked}
read -r status < {answer}
exit "$status"
""")
    stub.chmod(0o755)
    environment = os.environ | {"ASCTOOL": str(stub), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [str(word) for word in ("bash", RECIPES / script, "--out", out, *TRY, *options)]
    said = out.parent / "said"
    # Both pipes stay open for both directions here, so that nobody meets the end of one between two calls.
    with (
        said.open("w") as errors,
        asked.open("rb+", buffering=0) as questions,
        answer.open("rb+", buffering=0) as answers,
    ):
        process = subprocess.Popen(command, env=environment, stderr=errors)
        while process.poll() is None:
            if select.select([questions], [], [], 0.05)[0]:
                words = _line(questions).split("\0")[:-1]
                with (out.parent / "calls").open("a") as calls:
                    calls.write(" ".join(words) + "\n")
                answers.write(f"{run([*words, '--quiet'])}\n".encode())
    return process.returncode, said.read_text()


def _line(pipe: IO[bytes]) -> str:
    data = b""
    while not data.endswith(b"\n"):
        data += pipe.read(65_536)
    return data.decode()

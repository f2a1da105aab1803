"""The commands of a page, as bash understands them, run in this process; one epoch in the place of many."""

import re
import subprocess
from pathlib import Path

import pytest

from asctool.cli import run

ROOT = Path(__file__).parents[1]
# Prints the words of each command instead of running it: a byte of zero behind each, a line break behind the last.
RECORDER = 'asctool() { printf "%s\\0" "$@"; printf "\\n"; }\n'


def in_page(page: str, heading: str = "") -> list[list[str]]:
    """The asctool commands of a page's blocks (of those below one heading), loops and quotes being bash's business."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if heading:
        text = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    blocks = [block for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) if "asctool " in block]
    script = re.sub(r"--epochs \d+", "--epochs 1", "\n".join(blocks))
    told = subprocess.run(["bash", "-euc", RECORDER + script], capture_output=True, text=True, check=True).stdout
    return [line.split("\0")[:-1] for line in told.splitlines()]


def run_all(found: list[list[str]], capsys: pytest.CaptureFixture[str]) -> str:
    """Run every command; what they printed."""
    capsys.readouterr()
    printed = ""
    for arguments in found:
        code = run(arguments)
        out, err = capsys.readouterr()
        assert code == 0, f"{arguments}: {err}"
        printed += out
    return printed

"""``recipes/mini/run.sh`` killed, with all that it has started or alone, and run again: its scores must not tell."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from soak.chain import check_settled

SCRIPT = Path(__file__).parents[2] / "recipes" / "mini" / "run.sh"
OPTIONS = ("--clips", "5", "--seconds", "0.7", "--epochs", "2", "--jobs", "2")  # 21 s of sound
KILLS = 6  # a round, at most
ALONE = 5  # of so many kills, one is of the script alone
LONGEST = 1800.0  # seconds that a run may take, on a machine that has other things to do


def killed(folder: Path, generator: random.Random, times: int, say: Callable[[str], None]) -> tuple[int, Counter]:
    """Rounds that ended with the scores of an uninterrupted run, and what became of them on the way.

    A round begins with nothing; its runs are killed at random instants, until one is done before its instant comes, or
    after some kills: those of a recipe that is nearly done hit little.
    """
    out, counts, rounds = folder / "out", Counter[str](), 0
    seconds = _whole_run(out)
    expected = (out / "scores" / "scores.json").read_bytes()
    while (before := counts["all"] + counts["alone"]) < times:
        shutil.rmtree(out)
        for turn in range(min(KILLS, times - before)):
            began, run = time.monotonic(), start(out)
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert run.wait(generator.uniform(0, seconds)) == 0, _said(out)
                if turn == 0:  # the machine has become quicker
                    seconds = time.monotonic() - began
                break
            if generator.randrange(ALONE) == 0:
                counts["alone"] += 1
                outcome = _run_beside_what_is_left(run, out)
                counts[outcome] += 1
                if outcome == "went on":
                    break
            else:
                counts["all"] += 1
                end(run)
        _whole_run(out)
        assert (out / "scores" / "scores.json").read_bytes() == expected, "other scores"
        for path in out.rglob("manifest.json"):
            check_settled(path.parent)
        rounds += counts["all"] + counts["alone"] > before
        say(f"{rounds} rounds, kills: {dict(counts)}")
    return rounds, counts


def start(out: Path) -> subprocess.Popen:
    """Start the recipe in a session of its own, which the groups of its trainings belong to as well."""
    environment = os.environ | {"ASCTOOL": str(Path(sys.executable).with_name("asctool")), "OMP_NUM_THREADS": "1"}
    with _log(out).open("ab") as log:
        return subprocess.Popen(
            ["bash", SCRIPT, "--out", out, *OPTIONS],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def end(run: subprocess.Popen) -> None:
    """Kill everything in a run's session; what was started meanwhile too."""
    while left := session(run.pid):
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        time.sleep(0.005)
    run.wait()


def session(leader: int) -> list[int]:
    """Processes of a session that still live."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, of = status.read_text().rpartition(")")[2].split()[:4]
            if int(of) == leader and state not in "ZX":
                found.append(int(status.parent.name))
    return found


def _run_beside_what_is_left(run: subprocess.Popen, out: Path) -> str:
    """Kill the script but not its stages, and run it again at once: it is done with its work, or refuses and says why.

    A refusal names who is writing. Returned when what the first script had started has come to its end.
    """
    run.kill()
    run.wait()
    left = bool(session(run.pid))
    before = len(_said(out))
    again = start(out)
    code = again.wait(LONGEST)
    deadline = time.monotonic() + LONGEST
    while session(run.pid) or session(again.pid):
        assert time.monotonic() < deadline, "what a killed script had started does not end"
        time.sleep(0.05)
    told = _said(out)[before:]
    assert code == 0 or (left and code == 4 and "is writing it; wait for it or stop it" in told), f"{code}: {told}"
    return "refused" if code else "went on"


def _whole_run(out: Path) -> float:
    """Run the recipe to its end; the seconds it takes."""
    began = time.monotonic()
    assert start(out).wait(LONGEST) == 0, f"a recipe that nobody disturbed fails: {_said(out)}"
    return time.monotonic() - began


def _log(out: Path) -> Path:
    return out.with_name("log")


def _said(out: Path) -> str:
    return _log(out).read_text(errors="replace")

"""The long version: ``python -m tests.soak [SOAK ...] [--times N] [--stage S] [--seed N]``; all soaks without a name.

kills     every stage, new and replacing, killed at every named point it passes
instants  every stage, new and replacing, killed at 30 random instants
recipe    the whole chain killed 50 times at random instants and begun again
script    recipes/mini/run.sh, with all that it started or alone, killed 50 times at random instants and run again
training  training killed 1 to 4 times at random instants, 30 times over: the same weights to the bit
disk      a file system of 20 sizes that are too small (needs root, for mount)
cost      what verifying adds to an epoch of training, and what a whole, synced, renamed file costs beside a plain one
fuzz      20 000 damaged and crafted recordings, stores, manifests, weights, checkpoints, bundles, tables, settings
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from soak import chain as chains
from soak import costs, scripts
from soak import fuzz as fuzzing
from soak.chain import STAGES, Chain

WHENS = ("before", "half", "written", "after")
chosen = list(STAGES)
PLACES = [f"{when}-{what}" for what in ("shard", "file", "wav", "checkpoint", "manifest") for when in WHENS]


def kills(chain: Chain, folder: Path, generator: random.Random, times: int) -> str:
    """Every named point, the first, second, ... time it is passed."""
    done = 0
    for stage in chosen:
        for replacing in (False, True):
            for place in [*PLACES, "before-settle", "after-settle"]:
                number = 1
                while chains.stop_at(chain, stage, f"{place}:{number}", replacing, folder):
                    number += 1
                    done += 1
            say(f"{stage.name}, {'replacing' if replacing else 'new'}: {done} kills so far")
    return f"{done} of {done} kills at named points"


def instants(chain: Chain, folder: Path, generator: random.Random, times: int) -> str:
    """Random instants within the time that the stage takes."""
    killed = done = 0
    for stage in chosen:
        for replacing in (False, True):
            chains.make_anew(None, folder / stage.output)
            seconds = chain.make(stage, folder / stage.output).seconds
            for _ in range(times or 30):
                out = folder / stage.output
                chains.make_anew(chain.finished(stage, other=True) if replacing else None, out)
                killed += kill_after(chain, chain.start(stage, out, force=replacing), generator.uniform(0, seconds))
                chains.check_what_is_left(chain, stage, out, replacing)
                done += 1
        say(f"{stage.name}: {done} runs so far, {killed} killed before their end")
    return f"{done} of {done} runs, {killed} killed before their end"


def kill_after(chain: Chain, pid: int, seconds: float) -> bool:
    """Kill a stage after some seconds; whether that was before its end."""
    time.sleep(seconds)
    if Path(f"/proc/{pid}").exists():
        os.kill(pid, signal.SIGKILL)
    return chain.server.wait(pid).code == -9


def recipe(chain: Chain, folder: Path, generator: random.Random, times: int) -> str:
    """All stages one after the other; after a kill from the first on, as a recipe does that is run again."""
    killed = rounds = 0
    while killed < (times or 50):
        base = folder / f"recipe-{rounds}"
        base.mkdir()
        (base / "audio").symlink_to(chain.base / "audio")
        own = Chain(base, chain.server)
        todo = list(STAGES)
        while todo:
            pid = own.start(todo[0], base / todo[0].output)
            if kill_after(own, pid, generator.expovariate(1.5)) and killed < (times or 50):
                killed += 1
                todo = list(STAGES)
            elif (base / todo[0].output / "manifest.json").exists():
                todo.pop(0)
        for stage in STAGES:
            assert chains.identity(base / stage.output) == chains.identity(chain.finished(stage)), stage.name
            chains.check_settled(base / stage.output)
        shutil.rmtree(base)
        rounds += 1
        say(f"{killed} kills in {rounds} rounds")
    return f"{rounds} of {rounds} recipes equal an uninterrupted one after {killed} kills"


def script(chain: Chain, folder: Path, generator: random.Random, times: int) -> str:
    """A recipe as its users run it; four kills of five are of all its processes."""
    rounds, counts = scripts.killed(folder, generator, times or 50, say)
    return (
        f"{rounds} of {rounds} rounds end with the scores of an uninterrupted one, after {counts['all']} kills of all "
        f"processes and {counts['alone']} of bash alone, beside whose stages a second run went on {counts['went on']} "
        f"times and refused {counts['refused']} times"
    )


def training(chain: Chain, folder: Path, generator: random.Random, times: int) -> str:
    """Killed 1 to 4 times while it trains."""
    stage = next(stage for stage in STAGES if stage.name == "train")
    out, killed = folder / stage.output, 0
    for _ in range(times or 30):
        chains.make_anew(None, out)
        for _ in range(generator.randint(1, 4)):
            killed += kill_after(chain, chain.start(stage, out), generator.uniform(0.1, 0.5))
        assert chain.make(stage, out).code == 0
        assert chains.identity(out) == chains.identity(chain.finished(stage))
    return f"{times or 30} of {times or 30} trainings equal an uninterrupted one, to the bit, after {killed} kills"


def disk(chain: Chain, folder: Path, generator: random.Random, times: int) -> str:
    """Real file systems that are too small: the stages that write most, replacing an old output."""
    if os.getuid() != 0:
        return "not run: mounting a file system needs root"
    mounted, full, turn = folder / "small", 0, 0
    mounted.mkdir()
    while full < (times or 20):
        stage = next(s for s in STAGES if s.name == ("denoise", "featurize", "train", "svm")[turn % 4])
        turn += 1
        old = chain.finished(stage, other=True)
        used = sum(-(-path.stat().st_size // 4096) for path in old.rglob("*") if path.is_file())
        pages = used + 8 + generator.randint(0, used)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={pages * 4096}", "none", mounted], check=True)
        try:
            out = mounted / stage.output
            shutil.copytree(old, out)
            outcome = chain.make(stage, out, force=True)
            if outcome.code:
                assert outcome.code == 4 and "needed" in outcome.err and "Traceback" not in outcome.err, outcome
                assert chains.identity(out) == chains.identity(old)
                full += 1
            subprocess.run(["mount", "-o", "remount,size=64m", mounted], check=True)
            assert chain.make(stage, out, force=True).code == 0
            assert chains.identity(out) == chains.identity(chain.finished(stage))
        finally:
            subprocess.run(["umount", mounted], check=True)
    return f"{full} full disks: {full} times exit 4, the old output whole, the rerun equal"


def cost(chain: Chain, folder: Path, generator: random.Random, times: int) -> str:
    """The share of an epoch that verifying takes; the atomic writer in terms of a plain write."""
    verifying, epoch = costs.verifying(folder, times or 9)
    plain, whole = costs.writing(folder, times or 9)
    return (
        f"verifying {1000 * verifying:.0f} ms, an epoch {epoch:.1f} s: {verifying / epoch:.2%}; "
        f"16 MB written whole {1000 * whole:.0f} ms, plainly {1000 * plain:.0f} ms: {whole / plain:.2f} times"
    )


def fuzz(chain: Chain, folder: Path, generator: random.Random, times: int) -> str:
    """Inputs that must be accepted or refused: no hang, no crash, nothing but an AsctoolError."""
    counts, found = fuzzing.fuzz(times or 20_000, generator.randrange(1 << 30), say)
    assert not found, "\n".join(map(str, found))
    total = sum(counts.values(), Counter())
    return f"{total.total()} inputs of {len(counts)} kinds: {total['refused']} refused, {total['accepted']} accepted"


def say(line: str) -> None:
    """Progress, for whoever waits."""
    sys.stderr.write(f"  {line}\n")


SOAKS: dict[str, Callable[[Chain, Path, random.Random, int], str]] = {
    function.__name__: function for function in (kills, instants, recipe, script, training, disk, cost, fuzz)
}


def main() -> None:
    """Run those named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", metavar="soak", help=f"{', '.join(SOAKS)} [default: all]")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    parser.add_argument("--stage", choices=[stage.name for stage in STAGES], nargs="*", help="of kills and instants")
    parser.add_argument("--times", type=int, default=0, help="how often, where a soak is a number of times")
    given = parser.parse_args()
    unknown = set(given.which) - set(SOAKS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))} (known: {', '.join(SOAKS)})")
    soaks = given.which or list(SOAKS)
    chain: Any = chains.build() if set(soaks) - {"script", "cost", "fuzz"} else None
    chosen[:] = [stage for stage in STAGES if stage.name in (given.stage or [stage.name])]
    for name in soaks:
        with tempfile.TemporaryDirectory(prefix="asctool-soak-") as folder:
            began = time.monotonic()
            told = SOAKS[name](chain, Path(folder), random.Random(given.seed), given.times)
            print(f"{name}: {told} ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()

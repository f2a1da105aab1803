"""The process that inspects audio files for :mod:`asctool.storage.inspection`: requests in, answers out, a line each.

Whatever a file does to its decoder happens here. Memory is limited for good, processor time anew for every file.
"""

import dataclasses
import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from asctool.errors import DataError
from asctool.storage import audio


def serve(memory_bytes: int) -> None:
    """Answer requests until there are no more; the process that asks is gone then."""
    import soundfile  # noqa: F401  (what the decoders themselves take is no file's fault)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the process that asks answers it
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, _address_space() + memory_bytes)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # decoders that write to the terminal
    _say(answers, {"ready": os.getpid()})
    for line in sys.stdin:
        _say(answers, _answer(json.loads(line)))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + request["cpu_seconds"]) + 1)
    try:
        facts = audio.inspect(Path(request["path"]), request["max_seconds"])
    except DataError as error:
        return {"reason": str(error)}
    except MemoryError:
        return {"memory": True}
    except Exception:  # a bug: told where it is seen
        return {"bug": traceback.format_exc()}
    return {"facts": dataclasses.asdict(facts)}


def _limit(what: int, value: int) -> None:
    """Lower a soft limit, or raise it as far as the hard one."""
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    serve(int(sys.argv[1]))

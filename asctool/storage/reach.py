"""What a process on another machine must have in common with the one that asks it to work: the code and the files."""

import contextlib
import functools
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import asctool
from asctool.storage import atomic


@functools.cache
def code() -> str:
    """Hash of all the code of asctool: a version number does not tell one checkout from another."""
    root = Path(asctool.__file__).parent
    files = sorted(root.rglob("*.py"))
    return atomic.sha256("".join(f"{path.relative_to(root)} {atomic.sha256_file(path)}\n" for path in files).encode())


def hashes(files: Sequence[Path]) -> dict[str, str]:
    """Files by their absolute path, with the hash of what they hold; each on the disk, where others can see it."""
    for path in files:
        with contextlib.suppress(OSError):  # some file systems know no such thing
            atomic.sync(path)
    return {str(path.absolute()): atomic.sha256_file(path) for path in files}


def lacking(its_code: str, files: Mapping[str, str]) -> str:
    """What this process lacks of the code and the files of another one, in a few words; empty where it has all."""
    here = f"the machine {socket.gethostname()}"
    if its_code != code():
        return f"{here} has another asctool, in {Path(asctool.__file__).parent}; install the same one everywhere"
    for path, sha256 in files.items():
        try:
            same = atomic.sha256_file(Path(path)) == sha256
        except OSError as error:
            return (
                f"{here} cannot read {path} ({error.strerror}); inputs and output must lie where all machines see them"
            )
        if not same:
            return f"{here} has another {path}; inputs and output must lie where all machines see them"
    return ""

"""bundle: a run or a result, with all that it stands on, in one file; its networks for other runtimes."""

import logging
from collections.abc import Sequence
from pathlib import Path

from asctool.errors import UsageError
from asctool.storage import atomic, rehearsal
from asctool.storage import bundle as storage

log = logging.getLogger("asctool")


def bundle(models: Sequence[Path], output: Path, force: bool = False, dry_run: bool = False) -> bool:
    """Write one file that predict takes anywhere; False when it is there already, of the same bytes.

    The whole is tried on silence before it is written.
    """
    from asctool.training import portable
    from asctool.training.predictor import Predictor

    gathered = portable.gather(models)
    Predictor(gathered, "cpu")
    _say_licences(gathered)
    return _write(output, storage.encode(gathered), models, force, dry_run)


def onnx(models: Sequence[Path], output: Path, force: bool = False, dry_run: bool = False) -> list[Path]:
    """Write each network as ONNX, checked against onnxruntime: one file, or several with numbers in their names."""
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"{output}: networks are written as ONNX, and the name must end in .onnx")
    from asctool.training import onnx_export, portable

    gathered = portable.gather(models)
    written = []
    for number in range(len(gathered.networks)):
        path = output if len(gathered.networks) == 1 else output.with_name(f"{output.stem}-{number + 1}{output.suffix}")
        _write(path, onnx_export.export(gathered, number), models, force, dry_run)
        written.append(path)
    _say_licences(gathered)
    return written


def _write(output: Path, data: bytes, models: Sequence[Path], force: bool, dry_run: bool) -> bool:
    if any(output.resolve() == model.resolve() for model in models):
        raise UsageError(f"{output}: is input and output at once")
    if output.is_dir():
        raise UsageError(f"{output}: is a directory; give the name of a file")
    if output.exists() and not force:
        if output.is_file() and atomic.sha256_file(output) == atomic.sha256(data):
            return False
        raise UsageError(f"{output}: is there already, with another content; give another name or --force")
    if dry_run:
        rehearsal.rehearse_file(output, "bundle", len(data))
    atomic.write_bytes(output, data)
    return True


def _say_licences(gathered: storage.Bundle) -> None:
    for dataset in gathered.datasets:
        name, licence = dataset.get("name") or "recordings", dataset.get("licence")
        if licence:
            log.info("trained on %s, whose licence is %s", name, licence)
        else:
            log.warning("the licence of the training data (%s) is not known", name)

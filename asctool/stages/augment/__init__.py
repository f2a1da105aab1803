"""augment: varied copies of the clips of a data directory, or mixed or masked training rows of a feature store."""

from pathlib import Path

from asctool import parallel
from asctool.errors import UsageError
from asctool.stages.augment.copies import write_copies
from asctool.stages.augment.feature_rows import write_feature_rows
from asctool.stages.augment.plan import Copies, Plan, configure, takes
from asctool.storage import manifest
from asctool.storage.parts import Part
from asctool.storage.store import check_output

__all__ = ["augment", "configure", "takes"]


def augment(
    source: Path,
    output: Path,
    plan: Plan,
    fold: int | None = None,
    jobs: int | None = None,
    force: bool = False,
    progress: parallel.Progress | None = None,
    dry_run: bool = False,
    scheduler: str | None = None,
    part: Part | None = None,
) -> bool | None:
    """Write the augmented data directory or feature store; False when it is there already.

    None while parts of an array job that are not this one are yet to be written.
    """
    check_output(output, source)
    names, for_clips = ",".join(plan.methods), isinstance(plan.own, Copies)
    is_data = manifest.read(source)["kind"] == "data"
    if for_clips and not is_data:
        raise UsageError(f"--method {names} varies the clips of a data directory; {source} is a store")
    if is_data and not for_clips:
        raise UsageError(f"--method {names} makes rows of a feature store; {source} is a data directory: featurize it")
    if is_data:
        if fold is not None:
            raise UsageError("--fold is for feature stores; a copy trains in every fold in which its clip does")
        how = parallel.How(jobs, scheduler, part, progress=progress or parallel.Silent())
        return write_copies(source.resolve(), output.resolve(), plan, how, force, dry_run)
    if fold is None:
        raise UsageError(f"--fold must be given: {names} uses the training rows of one fold")
    if scheduler or part:
        given = f"--part {part}" if part else f"--scheduler {scheduler}"
        raise UsageError(f"{given}: is for varied copies of clips; rows are made in one go, in seconds: leave it out")
    return write_feature_rows(source, output, plan, fold, force, dry_run)

"""Kill -9 at named points of every writing stage: what is left is the old or the new output, and the rerun is exact."""

from pathlib import Path

import pytest
from soak.chain import STAGES, Chain, Stage, build, check_settled, identity, stop_at

from asctool.storage import atomic, manifest

POINTS = {  # some for each stage; `python -m tests.soak kills` takes all there are
    "prep": ("half-file:2", "written-manifest:1", "before-settle:2"),
    "denoise": ("written-shard:3", "after-manifest:1"),
    "featurize": (
        *("before-shard:1", "half-shard:2", "after-shard:2", "after-shard:3"),
        *("written-file:2", "half-manifest:1", "after-manifest:1", "before-settle:2"),
    ),
    "augment": ("half-shard:1", "after-file:1"),
    "train": ("half-checkpoint:3", "after-checkpoint:2", "written-file:2", "before-settle:3"),
    "extract": ("after-shard:1", "before-settle:1"),
    "svm": ("after-file:4", "before-settle:3"),
    "fuse": ("written-shard:1", "after-manifest:1"),
    "score": ("after-file:2", "before-settle:2"),
}
CASES = [(stage, point) for stage in STAGES for point in POINTS[stage.name]]


@pytest.fixture(scope="session")
def chain() -> Chain:
    return build()


@pytest.mark.parametrize("replacing", [False, True], ids=["new", "replacing"])
@pytest.mark.parametrize(("stage", "point"), CASES, ids=[f"{stage.name}-{point}" for stage, point in CASES])
def test_killed_and_run_again(stage: Stage, point: str, replacing: bool, chain: Chain, tmp_path: Path) -> None:
    assert stop_at(chain, stage, point, replacing, tmp_path), "the stage never came to this point"


def test_training_killed_again_and_again_ends_with_the_same_weights(chain: Chain, tmp_path: Path) -> None:
    stage = next(stage for stage in STAGES if stage.name == "train")
    out = tmp_path / "run"
    for point in ("after-checkpoint:1", "half-checkpoint:2", "written-checkpoint:1", "after-checkpoint:1"):
        assert chain.make(stage, out, fault=point).code == -9
    outcome = chain.make(stage, out)
    assert outcome.code == 0 and "going on after epoch 3" in outcome.err
    assert identity(out) == identity(chain.finished(stage))
    check_settled(out)


@pytest.mark.parametrize("part", ["network", "optimizer", "epoch", "nothing"])
def test_every_saved_state_is_needed(part: str, chain: Chain, tmp_path: Path) -> None:
    """A part of the checkpoint is put back to what it was an epoch before: the weights must come out others."""
    import torch

    from asctool.training import checkpoint

    stage = next(stage for stage in STAGES if stage.name == "train")
    out = tmp_path / "run"
    assert chain.make(stage, out, fault="after-checkpoint:2").code == -9
    older, newer = sorted(out.glob("checkpoint-*"))
    states = [checkpoint.decode(path.read_bytes(), torch.device("cpu")) for path in (older, newer)]
    if part != "nothing":
        states[1]["trainer"][part] = states[0]["trainer"][part]
    data = checkpoint.encode(states[1])
    newer.unlink()
    newer.with_stem(f"{newer.stem.rpartition('-')[0]}-{atomic.sha256(data)[:16]}").write_bytes(data)
    outcome = chain.make(stage, out)
    assert outcome.code == 0 and "is damaged" not in outcome.err, outcome
    same = manifest.read(out)["content"] == manifest.read(chain.finished(stage))["content"]
    assert same == (part == "nothing")

"""Kill -9 at named points of every writing stage: what is left is the old or the new output, and the rerun is exact."""

import csv
from pathlib import Path
from typing import Any

import pytest
from soak.chain import CORPUS, FEATURES, STAGES, Chain, Stage, build, check_settled, identity, stop_at

from asctool.storage import atomic, manifest

POINTS = {  # some for each stage; `python -m tests.soak kills` takes all there are
    "prep": ("half-file:2", "written-manifest:1", "before-settle:2"),
    "denoise": ("written-shard:3", "after-manifest:1"),
    "featurize": (
        *("before-shard:1", "half-shard:2", "after-shard:2", "after-shard:3"),
        *("written-file:2", "half-manifest:1", "after-manifest:1", "before-settle:2"),
    ),
    "vary": ("half-wav:5", "after-wav:12", "before-settle:2"),
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
    if part == "epoch":  # and the history with it, or the checkpoint is refused
        states[1]["progress"]["history"] = states[0]["progress"]["history"]
    _replace(newer, states[1])
    outcome = chain.make(stage, out)
    assert outcome.code == 0 and "is damaged" not in outcome.err, outcome
    same = manifest.read(out)["content"] == manifest.read(chain.finished(stage))["content"]
    assert same == (part == "nothing")


def _replace(path: Path, state: dict[str, Any]) -> None:
    """Another state in the place of a checkpoint, hash and all."""
    from asctool.training import checkpoint

    data = checkpoint.encode(state)
    path.unlink()
    path.with_stem(f"{path.stem.rpartition('-')[0]}-{atomic.sha256(data)[:16]}").write_bytes(data)


CHOOSING = Stage(  # the best epoch comes early, and patience ends the training some epochs later
    "train",
    "run",
    (
        *("train", "{base}/chosen-logmel", "{out}", "--model", "cnn", "--fold", "1", "--set", "filters=[2, 4, 4]"),
        *("--epochs", "12", "--select", "valid", "--patience", "4", "--learning-rate", "0.03", "--seed", "0"),
    ),
    (),
)


@pytest.fixture(scope="session")
def choosing(chain: Chain) -> tuple[Chain, dict[str, Any]]:
    """A training that validation rows end and choose from, and what it comes to uninterrupted."""
    corpus = [word for setting in (*CORPUS[2:], "n_clips_per_class=4") for word in ("--set", setting)]
    data = ["prep", "synthetic", f"{chain.base}/chosen-audio", f"{chain.base}/chosen", *corpus, "--valid", "0.5"]
    features = ["featurize", f"{chain.base}/chosen", f"{chain.base}/chosen-logmel", *FEATURES, "--jobs", "1"]
    for command in ([*data, "--set", "n_recordings_per_class=4", "--jobs", "1"], features):
        outcome = chain.server.run(command)
        assert outcome.code == 0, outcome
    out = chain.base / "chosen-run"
    outcome = chain.make(CHOOSING, out)
    assert outcome.code == 0, outcome
    return chain, _result(out)


def _result(out: Path) -> dict[str, Any]:
    """The weights, which epoch they are of, and every figure of every epoch but the time it took."""
    found = manifest.read(out)
    rows = list(csv.DictReader((out / "history.csv").open()))
    history = [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
    return {"content": found["content"], "protocol": found["protocol"], "history": history}


@pytest.mark.parametrize("again", [1, 3])
def test_a_training_that_chooses_its_epoch_goes_on_exactly(
    again: int, choosing: tuple[Chain, dict[str, Any]], tmp_path: Path
) -> None:
    """Killed after the epoch that will have been the best: its weights are in no checkpoint's network any more."""
    chain, expected = choosing
    chosen = expected["protocol"]["epoch"]
    assert chosen + 4 == expected["protocol"]["epochs"] < 12
    for _ in range(again):
        assert chain.make(CHOOSING, tmp_path / "run", fault=f"after-checkpoint:{chosen // again + 1}").code == -9
    assert chain.make(CHOOSING, tmp_path / "run").code == 0
    assert _result(tmp_path / "run") == expected


DROPPED: dict[str, Any] = {"best": -1.0, "best_epoch": 0, "best_weights": None, "history": []}


@pytest.mark.parametrize("part", [*DROPPED, "network", "optimizer", "nothing"])
def test_every_state_of_a_choice_is_needed(part: str, choosing: tuple[Chain, dict[str, Any]], tmp_path: Path) -> None:
    """What a checkpoint holds of the choice is dropped, or its network put back: another result, or a refusal."""
    import torch

    from asctool.training import checkpoint

    chain, expected = choosing
    out = tmp_path / "run"
    point = f"after-checkpoint:{expected['protocol']['epoch'] + 1}"
    assert chain.make(CHOOSING, out, fault=point).code == -9
    *_, older, newer = sorted(out.glob("checkpoint-*"))
    before, state = (checkpoint.decode(path.read_bytes(), torch.device("cpu")) for path in (older, newer))
    if part in DROPPED:
        state["progress"][part] = DROPPED[part]
    elif part != "nothing":
        state["trainer"][part] = before["trainer"][part]
    _replace(newer, state)
    outcome = chain.make(CHOOSING, out)
    assert outcome.code == (5 if part == "history" else 0), outcome
    assert (outcome.code == 0 and _result(out) == expected) == (part == "nothing")

"""fuse on stores: what it refuses, and what --allow-missing makes of clips and folds that a system lacks."""

from pathlib import Path

import numpy as np
import pytest
from made_posteriors import clips_of, drawn, make_store, make_tables, meanwhile, store_of_folds

from asctool.errors import DataError, UsageError
from asctool.stages import fuse, score
from asctool.storage import manifest, posteriors
from asctool.storage.bundle import Step
from asctool.training.joining import Joining, Part

TABLES = make_tables()


def product(*arrays: np.ndarray) -> np.ndarray:
    joined = np.prod([np.maximum(array, 1e-12, dtype=float) for array in arrays], axis=0)
    return joined / joined.sum(-1, keepdims=True)


def stores(tmp_path: Path) -> tuple[Path, np.ndarray, Path, np.ndarray]:
    """One system with all four clips of fold 1, one without the second of them and with them in another order."""
    ids, whole, part = clips_of(TABLES, 1), drawn(4), drawn(3, seed=1)
    one = make_store(tmp_path / "one", TABLES, ids, whole, "one")
    two = make_store(tmp_path / "two", TABLES, [ids[3], ids[0], ids[2]], part, "two")
    return one, whole, two, part


def test_a_clip_that_a_system_lacks_is_refused(tmp_path: Path) -> None:
    one, _, two, _ = stores(tmp_path)
    with pytest.raises(DataError, match="fold 1, test rows: two lacks 1 rows, of clips clip03; --allow-missing"):
        fuse.fuse([one, two], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("order", [1, -1])
def test_it_is_fused_from_the_others_listed_and_counted(
    order: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, whole, two, part = stores(tmp_path)
    fuse.fuse([one, two][::order], tmp_path / "out", allow_missing=True)
    (block,) = posteriors.load([tmp_path / "out"]).blocks
    assert block.clip_ids.tolist() == clips_of(TABLES, 1)
    expected = [product(whole[0], part[1]), whole[1], product(whole[2], part[2]), product(whole[3], part[0])]
    np.testing.assert_allclose(block.posteriors, expected, atol=1e-6)
    assert "two lacks 1 rows, of clips clip03" in caplog.text
    assert manifest.read(tmp_path / "out")["missing"] == {"two": 1}
    title = score.tables(score.score([tmp_path / "out"]))[0].title
    assert "fusion fixed rule (rows that a system lacks: 1)" in title


def test_a_fold_that_a_system_lacks_is_left_out_when_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    all_folds, arrays = store_of_folds(tmp_path / "all", TABLES, "all")
    rows = drawn(4, seed=7)
    one_fold = make_store(tmp_path / "some", TABLES, clips_of(TABLES, 2), rows, "some", fold=2)
    with pytest.raises(DataError, match="fold 1, test rows: of 2 systems only all have them"):
        fuse.fuse([all_folds, one_fold], tmp_path / "out")
    fuse.fuse([all_folds, one_fold], tmp_path / "out", allow_missing=True)
    (block,) = posteriors.load([tmp_path / "out"]).blocks
    assert block.fold == 2
    np.testing.assert_allclose(block.posteriors, product(arrays[2], rows), atol=1e-6)
    assert caplog.text.count("left out") == 2
    assert manifest.read(tmp_path / "out")["missing"] == {"some": 8}


def test_learned_rules_need_every_row(tmp_path: Path) -> None:
    one, _, two, _ = stores(tmp_path)
    for rule in ("weighted", "stack"):
        with pytest.raises(DataError, match=f"--rule {rule} weighs all systems"):
            fuse.fuse([one, two], tmp_path / "out", rule, allow_missing=True)


@pytest.mark.parametrize("rule", ["weighted", "stack"])
def test_learned_rules_need_several_systems(rule: str, tmp_path: Path) -> None:
    one, _, _, _ = stores(tmp_path)
    with pytest.raises(UsageError, match=f"--rule {rule} weighs systems, and these are one: one"):
        fuse.fuse([one], tmp_path / "out", rule)


def test_results_of_two_corpora_are_not_one_given_twice(tmp_path: Path) -> None:
    ids = clips_of(TABLES, 1)
    first, other = (make_store(tmp_path / f"{n}", TABLES, ids[n : n + 2], drawn(2)) for n in (0, 2))
    for results, words in (
        ([first, other], "is of other clips than in"),
        ([first, first], "stands in .*; give it once"),
    ):
        with pytest.raises(DataError, match=words):
            score.score(results, allow_missing=True)


def test_weights_are_learned_on_validation_rows_and_kept(tmp_path: Path) -> None:
    """Two systems, one right and one noise: the weight goes to the one that is right; test rows change nothing."""
    ids = clips_of(TABLES, 1) + clips_of(TABLES, 2)
    subsets = ["test"] * 4 + ["valid"] * 4
    truth = TABLES.targets(ids)
    good = 0.7 * truth + 0.1
    paths = [
        make_store(tmp_path / name, TABLES, ids, array, name, subset=subsets)
        for name, array in (("good", good), ("noise", drawn(8)))
    ]
    fuse.fuse(paths, tmp_path / "out", "weighted")
    from asctool.storage import arrays
    from asctool.storage.store import Store

    learned = arrays.decode(Store(tmp_path / "out").read_file("fusion.h5"))
    assert learned["fold 1 weights"][0] > 0.8 and learned["fold 1 weights"].sum() == pytest.approx(1)
    assert "weights learned on validation rows" in score.tables(score.score([tmp_path / "out"]))[0].title


FIRST, SECOND = np.array([0.25, 0.7, 0.05]), np.array([0.3, 0.03, 0.67])
BOTH = product(FIRST, SECOND)  # each system is sure of another class, and neither is sure against the first


@pytest.mark.parametrize("n_segments", [1, 60])
def test_a_product_of_many_segments_and_two_systems_is_one_of_them_all(n_segments: int, tmp_path: Path) -> None:
    """Sixty segments leave either system at one and zeros, where the class that both have some of would be lost."""
    ids = [clip_id for clip_id in clips_of(TABLES, 1) for _ in range(n_segments)]
    starts = [float(number) for _ in clips_of(TABLES, 1) for number in range(n_segments)]
    paths = [
        make_store(tmp_path / name, TABLES, ids, np.tile(rows, (len(ids), 1)), name, level="segment", start=starts)
        for name, rows in (("a", FIRST), ("b", SECOND))
    ]
    fuse.fuse(paths, tmp_path / "out")
    (found,) = posteriors.load([tmp_path / "out"]).blocks
    expected = BOTH**n_segments / (BOTH**n_segments).sum()
    np.testing.assert_allclose(found.posteriors, np.tile(expected, (len(found.clip_ids), 1)), atol=1e-6)


@pytest.mark.parametrize("n_segments", [1, 60])
def test_a_long_recording_is_answered_by_all_segments_of_all_folds(n_segments: int) -> None:
    """What predict joins last, and fuse never: folds."""
    steps = [Step("svm", "ours", 0, fold) for fold in (1, 2)]
    steps.append(Step("fuse", "ours", of=(0, 1), rule="product", level="clip"))
    leaves = {
        number: Part("ours", number + 1, np.arange(n_segments, dtype=float), 1.0, np.tile(rows, (n_segments, 1)))
        for number, rows in enumerate((FIRST, SECOND))
    }
    found = Joining(steps, [2], {}, is_tagger=False).whole(leaves)
    np.testing.assert_allclose(found, BOTH**n_segments / (BOTH**n_segments).sum(), atol=1e-9)


def test_what_another_wrote_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, out = store_of_folds(tmp_path / "store", TABLES, level="segment")[0], tmp_path / "out"
    meanwhile(monkeypatch, lambda: fuse.fuse([store], out, "mean"))
    with pytest.raises(UsageError, match=r"was made with other options \(rule: mean -> product\)"):
        fuse.fuse([store], out)
    assert manifest.read(out)["config"]["rule"] == "mean"
    meanwhile(monkeypatch, lambda: fuse.fuse([store], tmp_path / "same"))
    assert not fuse.fuse([store], tmp_path / "same")
    meanwhile(monkeypatch, lambda: fuse.fuse([store], out, "vote", force=True))
    assert fuse.fuse([store], out, force=True)
    assert manifest.read(out)["config"]["rule"] == "product"


@pytest.mark.parametrize("level", fuse.LEVELS)
def test_a_system_in_segments_and_in_clips_is_no_two_systems(level: str, tmp_path: Path) -> None:
    paths = [store_of_folds(tmp_path / of, TABLES, level=of)[0] for of in fuse.LEVELS]
    with pytest.raises(DataError, match="ours is given twice, as segments and as clips"):
        fuse.fuse(paths, tmp_path / "out", level=level, allow_missing=True)


def test_other_classes_are_refused(tmp_path: Path) -> None:
    other = make_tables(classes=("bus", "park", "train"))
    paths = [store_of_folds(tmp_path / str(i), tables, str(i))[0] for i, tables in enumerate((TABLES, other))]
    with pytest.raises(DataError, match="its classes are not those of"):
        fuse.fuse(paths, tmp_path / "out")


def test_segments_that_differ_are_refused(tmp_path: Path) -> None:
    ids = [clip for clip in clips_of(TABLES, 1) for _ in range(2)]
    paths = [
        make_store(tmp_path / name, TABLES, ids, drawn(8), name, level="segment", start=[0.0, second] * 4)
        for name, second in (("one", 2.0), ("two", 1.5))
    ]
    with pytest.raises(DataError, match="one lacks 4 rows"):
        fuse.fuse(paths, tmp_path / "segments", level="segment")
    fuse.fuse(paths, tmp_path / "clips")  # whose clips are the same

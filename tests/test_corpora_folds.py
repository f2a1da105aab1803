"""Folds: grouped, stratified, the same every time; and no fold that leaks or cannot be learnt from gets by."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from asctool.corpora import _folds
from asctool.corpora._corpus import Corpus
from asctool.errors import DataError, UsageError
from asctool.storage.dataset import Clip, FoldRow, join_labels, split_labels


def clip(clip_id: str, label: str, group: str) -> Clip:
    labels = tuple(label.split("+")) if label else ()
    return Clip(clip_id, f"/audio/{clip_id}.wav", labels, group, 1.0)


def corpus(clips: Sequence[Clip], folds: Sequence[FoldRow] = (), official: bool = False) -> Corpus:
    classes = tuple(sorted({label for c in clips for label in c.labels}))
    return Corpus("test", "", tuple(clips), tuple(folds), classes, official, "", ())


def even(n_classes: int, n_groups: int, n_clips: int) -> list[Clip]:
    """Clips of ``n_clips`` each in ``n_groups`` of each class."""
    return [
        clip(f"{c}-{g}-{n}", f"class{c}", f"{c}-{g}")
        for c in range(n_classes)
        for g in range(n_groups)
        for n in range(n_clips)
    ]


def rows(*triples: tuple[int, str, str]) -> tuple[FoldRow, ...]:
    return tuple(FoldRow(*triple) for triple in triples)


def counts(folds: Sequence[FoldRow], clips: Sequence[Clip], subset: str) -> dict[int, Counter[str]]:
    labels = {c.clip_id: c.labels for c in clips}
    out: dict[int, Counter[str]] = defaultdict(Counter)
    for row in folds:
        if row.subset == subset:
            out[row.fold].update(labels[row.clip_id])
    return out


def test_equal_groups_share_out_exactly() -> None:
    clips = even(4, 10, 3)
    for label_counts in counts(_folds.make_folds(clips, 5, 0), clips, "test").values():
        assert label_counts == {f"class{c}": 6 for c in range(4)}


def test_as_even_as_scikit_learn_on_uneven_groups() -> None:
    generator = np.random.default_rng(0)
    clips = [
        clip(f"{g}-{n}", f"class{g % 6}", str(g)) for g in range(150) for n in range(int(generator.integers(1, 12)))
    ]
    made = counts(_folds.make_folds(clips, 5, 0), clips, "test")
    labels, groups = [c.labels[0] for c in clips], [c.group for c in clips]
    theirs = [
        Counter(labels[i] for i in test)
        for _, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups)
    ]

    def deviation(folds: Sequence[Counter[str]]) -> float:
        return float(np.std([[fold[f"class{c}"] for c in range(6)] for fold in folds], axis=0).mean())

    assert deviation(list(made.values())) <= deviation(theirs)


def test_folds_depend_on_the_seed_and_not_on_the_order() -> None:
    clips = even(3, 10, 2)
    made = _folds.make_folds(clips, 5, 0)
    assert set(made) == set(_folds.make_folds(clips[::-1], 5, 0))
    assert set(made) != set(_folds.make_folds(clips, 5, 1))


labelled_clips = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "a+b", "b+c"]), st.integers(0, 12)), min_size=10, max_size=60
).map(lambda pairs: [clip(str(n), label, str(group)) for n, (label, group) in enumerate(pairs)])


@settings(max_examples=60, deadline=None)
@given(labelled_clips, st.integers(2, 4), st.integers(0, 99))
def test_every_clip_tests_once_and_no_group_is_torn(clips: list[Clip], n_folds: int, seed: int) -> None:
    possible, why = _folds.possible_folds(clips, n_folds)
    if possible < n_folds:
        with pytest.raises(DataError, match="cannot be made"):
            _folds.make_folds(clips, n_folds, seed)
        assert why
        return
    folds = _folds.make_folds(clips, n_folds, seed)
    assert Counter(row.clip_id for row in folds if row.subset == "test") == {c.clip_id: 1 for c in clips}
    assert Counter(row.clip_id for row in folds) == {c.clip_id: n_folds for c in clips}
    assert _folds.leaks(folds, clips, {}) == []


@settings(max_examples=60, deadline=None)
@given(labelled_clips, st.sampled_from(["0.2", "0.5"]), st.integers(0, 99))
def test_validation_rows_come_from_training_and_tear_no_group(clips: list[Clip], how: str, seed: int) -> None:
    if _folds.possible_folds(clips, 2)[0] < 2:
        return
    folds = _folds.make_folds(clips, 2, seed)
    try:
        divided = _folds.add_validation(folds, clips, how, seed)
    except DataError as error:
        assert "too few" in str(error)
        return
    assert [(r.fold, r.clip_id) for r in divided] == [(r.fold, r.clip_id) for r in folds]
    assert all(new == old or (old.subset, new.subset) == ("train", "valid") for new, old in zip(divided, folds))
    assert _folds.leaks(divided, clips, {}) == []


@pytest.mark.parametrize(("how", "expected"), [("0.1", 4), ("0.25", 10), ("0.5", 20)])
def test_a_share_of_the_training_clips_validates(how: str, expected: int) -> None:
    clips = even(3, 50, 1)
    divided = _folds.add_validation(_folds.make_folds(clips, 5, 0), clips, how, 0)
    for fold in counts(divided, clips, "valid").values():
        assert fold == {f"class{c}": expected for c in range(3)}


def test_the_next_fold_validates() -> None:
    clips = even(2, 10, 1)
    folds = _folds.make_folds(clips, 5, 0)
    divided = _folds.add_validation(folds, clips, "next", 0)

    def ids(rows: Sequence[FoldRow], fold: int, subset: str) -> set[str]:
        return {row.clip_id for row in rows if (row.fold, row.subset) == (fold, subset)}

    for fold in range(1, 6):
        assert ids(divided, fold, "valid") == ids(folds, fold % 5 + 1, "test")
        assert ids(divided, fold, "test") == ids(folds, fold, "test")
        assert len(ids(divided, fold, "train")) == 12


@pytest.mark.parametrize("how", ["0", "0.6", "-0.1", "nan", "nxt"])
def test_a_share_out_of_range(how: str) -> None:
    clips = even(2, 5, 1)
    with pytest.raises(UsageError, match="'next', or a share"):
        _folds.add_validation(_folds.make_folds(clips, 5, 0), clips, how, 0)


def test_validation_where_it_cannot_be() -> None:
    clips = [clip("a", "x", "a"), clip("b", "y", "b"), clip("c", "x", "c")]
    one = rows((1, "a", "train"), (1, "b", "train"), (1, "c", "test"))
    with pytest.raises(UsageError, match=r"use --valid 0\.2"):
        _folds.add_validation(one, clips, "next", 0)
    with pytest.raises(UsageError, match="of their own"):
        _folds.add_validation([*one[:1], FoldRow(1, "b", "valid"), one[2]], clips, "0.2", 0)


def test_unlabelled_clips_get_no_folds() -> None:
    assert _folds.make_folds([clip("a", "", "a")], 5, 0) == ()


def test_too_few_groups() -> None:
    clips = [*even(2, 3, 4), clip("z", "rare", "z")]
    with pytest.raises(DataError, match="5 folds cannot be made: class 'rare' comes from 1 group"):
        _folds.make_folds(clips, 5, 0)
    assert _folds.possible_folds(clips[:-1], 5) == (3, "class 'class0' comes from 3 groups")
    assert _folds.possible_folds(even(1, 9, 1), 5) == (0, "there is one class only (class0)")


def test_as_many_folds_as_there_can_be() -> None:
    clips = even(2, 3, 4)
    assert _folds.make_possible_folds(clips, 3, 0) == (_folds.make_folds(clips, 3, 0), ())
    folds, (warning,) = _folds.make_possible_folds(clips, 5, 0)
    assert folds == _folds.make_folds(clips, 3, 0)
    assert warning == "3 folds instead of 5: class 'class0' comes from 3 groups"
    folds, (warning,) = _folds.make_possible_folds(even(1, 9, 1), 5, 0)
    assert (folds, warning) == ((), "no folds, so nothing here can be trained on: there is one class only (class0)")
    assert _folds.make_possible_folds([clip("a", "", "a")], 5, 0) == ((), ())


LEAKY = [clip("a", "x", "g"), clip("b", "y", "h"), clip("c", "x", "g"), clip("d", "y", "i")]
LEAKY_FOLDS = rows((1, "a", "train"), (1, "b", "train"), (1, "c", "test"), (1, "d", "test"))


def test_leaks_are_found_for_each_reason() -> None:
    clips = [*LEAKY[:3], replace(LEAKY[3], path=LEAKY[1].path)]
    assert [str(leak) for leak in _folds.leaks(LEAKY_FOLDS, clips, {})] == [
        "fold 1: a and c: same group 'g' in train and test",
        "fold 1: b and d: same file in train and test",
    ]
    (leak,) = _folds.leaks(LEAKY_FOLDS[1:], LEAKY, {"a": "1", "b": "2", "c": "3", "d": "2"})
    assert (leak.clip_a, leak.clip_b, leak.reason) == ("b", "d", "same content in train and test")


@pytest.mark.parametrize("subsets", [("train", "valid"), ("valid", "test"), ("test", "train")])
def test_leaks_between_any_two_subsets(subsets: tuple[str, str]) -> None:
    folds = rows((1, "a", subsets[0]), (1, "c", subsets[1]))
    assert len(_folds.leaks(folds, LEAKY, {})) == 1
    assert _folds.leaks(rows((1, "a", "train"), (2, "c", "test")), LEAKY, {}) == []


def test_the_same_content_in_two_classes_is_warned_of() -> None:
    clips = [clip(name, label, name) for name, label in zip("abcdefg", ("x", "y", "x", "y", "y", "z", "x+y"))]
    hashes = dict.fromkeys("abcdefg", "1")
    assert _folds.contradictions(clips, {name: name for name in "abcdefg"}) == ()
    assert _folds.contradictions(clips[:1] + clips[2:3], hashes) == ()  # twice in one class: a matter of folds alone
    assert _folds.contradictions(clips[:2], hashes) == (
        "1 pair of clips with the same audio in different classes: a (x) and b (y); "
        "of each pair one label at most is right",
    )
    (warning,) = _folds.contradictions(clips, hashes)  # a clip with several labels contradicts nothing
    assert "4 pairs of clips" in warning
    assert "a (x) and b (y), a (x) and d (y), a (x) and e (y) and 1 more;" in warning


def test_leaking_folds_are_refused_and_official_ones_warned_of() -> None:
    with pytest.raises(DataError, match="a and c: same group 'g' in train and test"):
        _folds.check_folds(LEAKY_FOLDS, corpus(LEAKY, LEAKY_FOLDS))
    (warning,) = _folds.check_folds(LEAKY_FOLDS, corpus(LEAKY, LEAKY_FOLDS, official=True))
    assert "kept as published, although fold 1: a and c" in warning


def test_a_class_without_training_clips_is_refused_unless_allowed() -> None:
    clips = [clip("a", "x", "a"), clip("b", "y", "b"), clip("c", "z", "c")]
    folds = rows((1, "a", "train"), (1, "b", "train"), (1, "c", "test"))
    with pytest.raises(DataError, match="fold 1 trains on no clip of class z"):
        _folds.check_folds(folds, corpus(clips))
    assert _folds.check_folds(folds, corpus(clips), None, True) == ("fold 1 trains on no clip of class z",)


@pytest.mark.parametrize(
    ("folds", "match"),
    [
        (((1, "a", "train"), (1, "b", "train")), "fold 1 has no test clip"),
        (((1, "a", "test"), (1, "b", "test")), "fold 1 has no train clip"),
        (((1, "a", "train"), (1, "b", "dev")), r"unknown subset 'dev' \(known: train, valid, test\)"),
        (((1, "a", "train"), (1, "a", "test")), "fold 1 names clip 'a' 2 times"),
        (((1, "a", "train"), (1, "q", "test")), "names clip 'q', which does not exist"),
        (((1, "a", "train"), (1, "c", "test")), "no clip of class y"),
    ],
)
def test_folds_that_cannot_be_used(folds: tuple[tuple[int, str, str], ...], match: str) -> None:
    clips = [*LEAKY[:2], replace(LEAKY[2], group="j")]
    with pytest.raises(DataError, match=match):
        _folds.check_folds(rows(*folds), corpus(clips))


def test_one_class_cannot_be_told_apart() -> None:
    clips = [clip("a", "x", "a"), clip("b", "x", "b")]
    with pytest.raises(DataError, match=r"one class only \(x\)"):
        _folds.check_folds(rows((1, "a", "train"), (1, "b", "test")), corpus(clips))


def test_unlabelled_subsets_pass() -> None:
    clips = [clip("a", "", "a"), clip("b", "", "b")]
    assert _folds.check_folds(rows((1, "a", "train"), (1, "b", "test")), corpus(clips)) == ()


def test_a_large_corpus_is_dealt_out_at_once() -> None:
    clips = even(80, 50, 3)
    folds = _folds.make_folds(clips, 5, 0)
    assert all(set(c.values()) == {30} for c in counts(folds, clips, "test").values())


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), max_size=5))
def test_labels_come_back_from_one_field(labels: list[str]) -> None:
    assert split_labels(join_labels(labels)) == tuple(labels)

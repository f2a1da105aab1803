"""Every corpus of the folder keeps the contract of its module, and every table of faults/csv meets its fate."""

import dataclasses
import inspect
import json
import shutil
from pathlib import Path

import pytest

from asctool import registry
from asctool.corpora import _folds, table
from asctool.corpora._corpus import Corpus
from asctool.errors import DataError, UsageError

CORPORA = registry.names("corpora")


def test_the_corpora_of_the_first_release_are_there() -> None:
    assert {"esc50", "esc10", "folder", "table", "synthetic"} <= set(CORPORA)


@pytest.mark.parametrize("name", CORPORA)
def test_contract(name: str, tmp_path: Path) -> None:
    module = registry.load("corpora", name)
    config = module.Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, dataclasses.fields(config)[0].name, None)
    signature = inspect.signature(module.read)
    assert {key: p.annotation for key, p in signature.parameters.items()} == {"source": Path, "config": module.Config}
    assert signature.return_annotation is Corpus


@pytest.mark.parametrize("name", [name for name in CORPORA if name != "synthetic"])
def test_a_source_that_is_not_there_is_bad_data(name: str, tmp_path: Path) -> None:
    module = registry.load("corpora", name)
    with pytest.raises(DataError, match="there is no such"):
        module.read(tmp_path / "nothing", module.Config())


def test_unknown_corpus() -> None:
    with pytest.raises(UsageError, match="did you mean 'esc50'"):
        registry.load("corpora", "esc5O")


NAMED = ("a", "b", "c", "d", "audio/a", "audio/A", "copy_of_a", "caf\u00e9", "cafe\u0301")
GOOD = tuple(f"audio/{scene}-city{i // 2}-{i}" for i, scene in enumerate(["airport", "bus"] * 3))
REASONS = {
    "abs_path": "line 2: '/etc/passwd' is an absolute path",
    "all_missing": r"(?s)is that the right folder\?.*line 2.*line 3",
    "backslash_path": "line 2.*backslashes",
    "class_absent_train": "trains on no clip of class metro",
    "dup_header": "'scene_label' stands 2 times",
    "dup_id_same": "lines 2 and 8.*the same row",
    "dup_unicode": "lines 2 and 3.*NFC and NFD",
    "empty": "empty",
    "extra_col": "line 2: 4 fields",
    "huge_field": "line 2: a field of more than",
    "label_empty": "line 2: a label is empty",
    "latin1": "line 2, byte 10: 0xe9",
    "leak_content": "a and copy_of_a: same content in train and test",
    "mixed_delim": "line 8: separated by tabs",
    "nul": "line 2: a NUL",
    "pipe_path": "line 2.*commands are never run",
    "segments_overlap": "lines 2 and 3.*same file in train and test",
    "semicolon": "semicolons",
    "short_row": "line 2: 1 fields",
    "utf16": "UTF-16",
}  # errors, and what the message must say
READ = (
    *("bom", "cr", "crlf", "good", "tab", "dup_case", "id_numeric"),
    *("label_case", "label_numeric", "label_trailing_space", "label_unicode"),
)


def read_fault(faults: Path, case: str, folder: Path) -> tuple[Corpus, tuple[str, ...]]:
    """A table of the examples beside the files it names, read and its folds checked; two of the files are equal."""
    shutil.copy(faults / "csv" / f"{case}.csv", folder)
    (folder / "audio").mkdir()
    for name in () if case == "all_missing" else (*NAMED, *GOOD):
        (folder / f"{name}.wav").touch()
    corpus = table.read(folder / f"{case}.csv", table.Config())
    content = {clip.clip_id: clip.clip_id.removeprefix("copy_of_") for clip in corpus.clips}
    return corpus, _folds.check_folds(corpus.folds, corpus, content)


@pytest.mark.parametrize("case", [*READ, *REASONS])
def test_table_of_faults(faults: Path, case: str, tmp_path: Path) -> None:
    expected = json.loads((faults / "csv" / "manifest.json").read_text())[f"{case}.csv"]["expect"]
    if case in REASONS:
        assert "error" in expected
        with pytest.raises(DataError, match=REASONS[case]):
            read_fault(faults, case, tmp_path)
        return
    corpus, warnings = read_fault(faults, case, tmp_path)
    assert bool(corpus.warnings + warnings) == (expected in ("warn", "error_or_strip"))
    rows = len((faults / "csv" / f"{case}.csv").read_text(encoding="utf-8-sig").splitlines()) - 1
    assert len(corpus.clips) == rows


def test_every_table_of_faults_is_tested(faults: Path) -> None:
    assert {path.stem for path in (faults / "csv").glob("*.csv")} == {*READ, *REASONS}


@pytest.mark.parametrize(
    ("case", "labels", "clip_ids"),
    [
        ("label_numeric", ["0", "1", "01"], ["a", "b", "c"]),
        ("label_unicode", ["公园", "café"], ["a", "b"]),
        ("label_trailing_space", ["bus", "bus"], ["a", "b"]),
        ("id_numeric", ["bus"] * 3, ["007", "7", "1e5"]),
    ],
)
def test_names_of_faults_are_kept(
    faults: Path, case: str, labels: list[str], clip_ids: list[str], tmp_path: Path
) -> None:
    corpus, _ = read_fault(faults, case, tmp_path)
    assert [clip.labels[0] for clip in corpus.clips] == labels
    assert [clip.clip_id for clip in corpus.clips] == clip_ids
    assert corpus.classes == tuple(sorted(set(labels)))

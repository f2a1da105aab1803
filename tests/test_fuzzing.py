"""Damaged and made-up inputs: accepted, or refused in a line. ``python -m tests.soak fuzz`` takes 20 000 of them."""

import csv
import io
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from soak import fuzz, fuzz_kinds
from soak.mutations import damaged, replaced

from asctool.corpora import table
from asctool.errors import AsctoolError, DataError, UsageError
from asctool.storage import settings
from asctool.storage.tables import read_table

CASES = 20  # of each kind
QUICK = hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


@pytest.fixture
def no_hang() -> Iterator[None]:
    """An alarm, for what would wait for ever."""

    def ring(number: int, frame: object) -> None:
        raise TimeoutError("a case hangs")

    previous = signal.signal(signal.SIGALRM, ring)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("kind", fuzz_kinds.KINDS)
def test_nothing_but_an_answer_or_a_refusal(kind: str, tmp_path: Path, no_hang: None) -> None:
    outcomes = {number: fuzz.try_case(kind, number, 1, tmp_path / "case") for number in range(CASES)}
    assert {number: told for number, told in outcomes.items() if told not in ("accepted", "refused")} == {}
    assert "refused" in outcomes.values()


def test_a_case_is_drawn_from_its_numbers_alone() -> None:
    first, again, other = (fuzz.generator(0, "wav", number).bytes(8) for number in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "ends its process with status -11"),
        ("import time; time.sleep(60)", "hangs: nothing in 1 s"),
        ("raise KeyError('a bug')", "KeyError: 'a bug'"),
        ("from asctool.errors import DataError; raise DataError('two\\nlines')", "in other words than a line"),
        ("from asctool.errors import DataError; raise DataError('bad')", "refused"),
        ("pass", "accepted"),
        ("bytearray(1 << 33)", "MemoryError"),
    ],
)
def test_the_fuzzer_sees_what_it_looks_for(
    body: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kind whose second case does harm: it is told, and the cases after it are tried all the same."""
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(Path(fuzz.__file__).parents[1])!r})\n"
        "from soak import fuzz, fuzz_kinds\n"
        f"def harm(rng, folder):\n    if fuzz.generator(0, 'harm', 1).random() == rng.random():\n        {body}\n"
        "fuzz_kinds.KINDS['harm'] = harm\nfuzz_kinds.prepare = lambda: None\n"
        "fuzz._serve(sys.argv[1], *map(int, sys.argv[2:5]))\n"
    )
    monkeypatch.setattr(fuzz, "__file__", str(program))
    monkeypatch.setattr(fuzz, "HANG_SECONDS", 1.0)
    outcomes = dict(fuzz.cases("harm", range(3), 0))
    assert outcomes[0] == outcomes[2] == "accepted" and words in outcomes[1]


def test_damage_is_damage() -> None:
    rng = np.random.default_rng(0)
    whole = rng.bytes(1000)
    assert sum(damaged(whole, [whole], rng) != whole for _ in range(200)) > 190
    nest = {"a": [1, {"b": 2}], "c": "x"}
    assert sum(replaced(nest, rng) != nest for _ in range(100)) > 80 and nest == {"a": [1, {"b": 2}], "c": "x"}


# Tables and settings that nobody has written before


FIELDS = st.text(st.characters(exclude_categories=()), max_size=8)
CELLS = st.one_of(
    FIELDS, st.sampled_from(["", "a.wav", "train", "1", "0.5", '"', '""', "\r", "NA", "..", "=1+1", "nan"])
)
COLUMNS = st.sampled_from(["path", "label", "clip_id", "group", "fold", "split", "start", "end", "x", ""])


@st.composite
def tables(draw: Any) -> bytes:
    """Something like a table: a header of known and unknown columns, rows of nearly as many fields."""
    header = draw(st.lists(COLUMNS, min_size=1, max_size=5))
    rows = draw(st.lists(st.lists(CELLS, min_size=len(header) - 1, max_size=len(header) + 1), max_size=4))
    separator, end = draw(st.sampled_from(",\t;|")), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = end.join(separator.join(fields) for fields in [header, *rows])
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])), "replace")


@QUICK
@given(st.one_of(tables(), st.binary(max_size=80)))
def test_any_table_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.wav").touch()
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    for read in (lambda: read_table(path), lambda: table.read(path, table.Config())):
        try:
            read()
        except DataError as error:
            assert str(error).startswith(str(path))


@QUICK
@given(st.integers(2, 4), st.data())
def test_a_table_is_kept_exactly(tmp_path: Path, n_columns: int, data: Any) -> None:
    """Whatever text a writer of csv quotes comes back as it was."""
    names = [f"column {number}" for number in range(n_columns)]
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
    rows = data.draw(st.lists(st.lists(text, min_size=len(names), max_size=len(names)), min_size=1, max_size=3))
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([names, *rows])
    path = tmp_path / "table.csv"
    path.write_bytes(buffer.getvalue().encode())
    assert [list(row.fields.values()) for row in read_table(path).rows] == rows


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=5,
)


@QUICK
@given(st.sampled_from(sorted(fuzz_kinds.CONFIGURATORS)), st.data())
def test_any_setting_is_taken_or_refused(stage: str, data: Any) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    known = fuzz_kinds._known(stage, np.random.default_rng(0))
    names = st.one_of(st.sampled_from([*known, "x"]), st.text(max_size=5))
    try:
        fuzz_kinds.CONFIGURATORS[stage](rng, data.draw(st.dictionaries(names, VALUES, max_size=3)))
    except AsctoolError as error:
        assert str(error)


@QUICK
@given(st.one_of(st.text(max_size=60), st.sampled_from(["[train]\nepochs = ", "[train]\n", "train = 3", "[[train]]"])))
def test_any_file_of_settings_is_read_or_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        found = settings.read_section(str(path), "train")
    except UsageError as error:
        assert str(path) in str(error)
    else:
        assert found == tomllib.loads(path.read_text()).get("train", {})


@QUICK
@given(st.lists(st.text(max_size=30), max_size=3))
def test_any_override_is_taken_or_refused(pairs: list[str]) -> None:
    try:
        found = settings.parse_overrides(pairs)
    except UsageError as error:
        assert "--set takes key=value" in str(error)
    else:
        assert all("=" in pair for pair in pairs) and len(found) <= len(pairs)

"""Settings from a file, from --set and from options of their own: which goes before which, and what contradicts."""

from pathlib import Path
from typing import Any

import pytest

from asctool.cli import options, run
from asctool.errors import UsageError


def test_overrides_and_options_go_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[train]\nepochs = 1\nbatch_size = 2\nseed = 3\n")
    found = options.values("train", str(file), ["batch_size=20"], seed=30, mix=None)
    assert found == {"epochs": 1, "batch_size": 20, "seed": 30}


@pytest.mark.parametrize(
    ("override", "option", "message"),
    [
        ("learning_rate=2", {"learning_rate": 1.0}, r"--learning-rate 1.0 and --set learning_rate=2 contradict"),
        ("epochs=3", {"epochs": 2}, "--epochs 2 and --set epochs=3 contradict"),
        ("valid=next", {"valid": "0.2"}, "--valid 0.2 and --set valid=next contradict"),
        ("valid=none", {"valid": "0.2"}, "--set valid=none"),
        ("root=b", {"root": Path("a")}, "--root a and --set root=b"),
        ("skip_bad=false", {"skip_bad": True}, "--skip-bad and --set skip_bad=False"),
    ],
)
def test_an_option_and_an_override_that_differ_are_refused(override: str, option: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        options.values("any", None, [override], **option)


@pytest.mark.parametrize(
    ("override", "option"),
    [
        ("learning_rate=1", {"learning_rate": 1.0}),
        ("valid=0.2", {"valid": "0.2"}),
        ("valid='0.2'", {"valid": "0.2"}),
        ("root=./a", {"root": Path("a")}),
        ("skip_bad=true", {"skip_bad": True}),
    ],
)
def test_the_same_said_twice_passes(override: str, option: dict[str, Any]) -> None:
    assert options.values("any", None, [override], **option) == option


@pytest.mark.parametrize(
    "arguments",
    [
        ("prep", "folder", "in", "out", "--seed", "1", "--set", "seed=2"),
        ("augment", "in", "out", "--method", "pitch_shift", "--copies", "1", "--set", "copies=2"),
        ("train", "in", "out", "--model", "cnn", "--fold", "1", "--epochs", "1", "--set", "epochs=2"),
        ("svm", "in", "out", "--seed", "1", "--set", "seed=2"),
        ("import-posteriors", "in.csv", "data", "out", "--kind", "tag", "--set", "kind=posterior"),
    ],
)
def test_every_command_refuses_contradictions(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(list(arguments)) == 2
    assert "contradict: leave one of them out" in capsys.readouterr().err

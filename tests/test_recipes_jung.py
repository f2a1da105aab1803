"""The recipes of TAU 2019 and FSDKaggle2019: what each row of the paper's tables calls, and small trees all the way."""

import csv
import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import SHARED
from recipes_here import recipe_here
from test_corpora_fsdkaggle2019 import HEADERS, line, stem
from test_recipes import RECIPES, recipe

from asctool.corpora import dcase2019, fsdkaggle2019
from asctool.corpora.fsdkaggle2019 import CLASSES, N_CLIPS, ZENODO
from asctool.storage import manifest
from asctool.storage.store import Store

PAPER = tomllib.loads((RECIPES / "dcase2019" / "conf" / "paper.toml").read_text())["table"]
TAGGED = ("--corpus", "somewhere", "--tagger", "a-run", "--jobs", "4")


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_every_row_of_a_table_is_trained_by_one_command(number: int, tmp_path: Path) -> None:
    from asctool.cli.options import values
    from asctool.stages.train import configure

    status, calls, err = recipe("dcase2019", tmp_path, *TAGGED, "--table", str(number), "--kernel", "rbf")
    assert status == 0, err
    table = next(table for table in PAPER if table["title"].startswith(f"Table {number}"))
    fused = {call.split("--system ")[1].partition(" --")[0] for call in calls if call.startswith("svm")}
    assert fused == {system for _, _, system in table["rows"]}
    trained = [call for call in calls if call.startswith("train")]
    configs = set()
    for call in trained:
        words = call.split()
        given = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        plan = configure("raw_resnet", values("train", words[words.index("--config") + 1], given))
        configs.add(plan.config)
        assert ("--tags" in words) == (plan.config.tags != "none")
        assert plan.training.epochs == 90
    assert len(configs) == len(trained) == len(table["rows"])


def test_the_paper_s_best_figures_are_in_the_tables() -> None:
    best = [max(float(accuracy) for _, accuracy, _ in table["rows"]) for table in PAPER]
    assert best == [75.66, 76.58, 76.24, 76.75]
    assert [len(table["rows"]) for table in PAPER] == [8, 20, 8, 20]


@pytest.mark.parametrize("name", ["dcase2019", "fsdkaggle2019"])
def test_a_failing_stage_stops_the_recipe(name: str, tmp_path: Path) -> None:
    options = (*TAGGED, "--system", "both-4-3") if name == "dcase2019" else ("--corpus", "somewhere", "--folds", "1")
    for stage in ("prep", "featurize", "extract", "train", "score"):
        status, calls, err = recipe(name, tmp_path, *options, failing=stage)
        assert status == 3, err
        assert calls[-1].startswith(stage)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--corpus", "x"), "give --tagger RUN"),
        ((*TAGGED, "--system", "both-4"), "no system both-4 here"),
        ((*TAGGED, "--table", "6"), "2 to 5, not 6"),
        (("--system", "none"), "give --corpus"),
    ],
)
def test_slips_end_the_recipe_with_status_2(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    status, calls, err = recipe("dcase2019", tmp_path, *options)
    assert (status, calls) == (2, []) and words in err


def test_the_baseline_needs_no_tagger(tmp_path: Path) -> None:
    status, calls, _ = recipe("dcase2019", tmp_path, "--corpus", "x", "--system", "none")
    assert status == 0 and not any("--tags" in call or "logmel" in call for call in calls)


def test_several_devices_are_taken_in_turn(tmp_path: Path) -> None:
    options = ("--table", "4", "--device", "cuda:0 cuda:1")
    _, calls, _ = recipe("dcase2019", tmp_path, *TAGGED, *options)
    taken = [call.split("--device ")[1].split()[0] for call in calls if call.startswith("train")]
    assert sorted(taken) == ["cuda:0"] * 4 + ["cuda:1"] * 4


def test_the_second_tagger_learns_from_the_first_one_s_tags(tmp_path: Path) -> None:
    _, calls, _ = recipe("fsdkaggle2019", tmp_path, "--corpus", "x", "--folds", "2", "--jobs", "1")
    trained = [call for call in calls if call.startswith("train")]
    assert ["--soft-targets" in call for call in trained] == [False, True]
    assert trained[1].split("--soft-targets ")[1].split()[0].endswith("fold2/first-tags")


def run_recipe(name: str, out: Path, *options: object) -> None:
    status, said = recipe_here(f"{name}/run.sh", out, *options)
    assert status == 0, said[-2000:]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the recipe leaves of FSDKaggle2019 as Zenodo has it, with audio for a few clips of each kind."""
    base = tmp_path_factory.mktemp("fsd")
    rng = np.random.default_rng(0)
    for subset, layout in ZENODO.items():
        (base / "corpus" / layout.folder).mkdir(parents=True)
        for number in (*range(7, 12), *range(247, 252)):  # the first six are faulty; 240 further on labels are the same
            samples = 0.1 * rng.normal(size=int(44100 * (0.4 + 0.3 * (number % 4))))
            path = base / "corpus" / layout.folder / f"{stem(subset, number)}.wav"
            soundfile.write(path, samples, 44100, subtype="PCM_16")
        lines = [HEADERS[subset], *(line(subset, number, kaggle=False) for number in range(N_CLIPS[subset]))]
        (base / "corpus" / layout.table).parent.mkdir(exist_ok=True)
        (base / "corpus" / layout.table).write_text("\n".join(lines) + "\n")
    vocabulary = "".join(f"{index},{name}\n" for index, name in enumerate(CLASSES))
    (base / "corpus" / "FSDKaggle2019.meta" / "vocabulary.csv").write_text(vocabulary)
    run_recipe("fsdkaggle2019", base / "out", "--corpus", base / "corpus", "--folds", "1")
    return base / "out"


def test_fsdkaggle2019_goes_through_its_whole_recipe(tagger: Path) -> None:
    scores = json.loads((tagger / "scores" / "scores.json").read_text())
    names = {system["system"] for system in scores["systems"]}
    assert names == {"tag_resnet, labels", "tag_resnet, soft tags of noisy clips"}
    assert all(0 < system["folds"]["1"]["lwlrap"] <= 1 for system in scores["systems"])
    store = Store(tagger / "fold1" / "second-tags", "tag")
    assert store.manifest["labels"] == list(fsdkaggle2019.CLASSES)
    assert store.columns("array")["array"].shape == (30, 80)
    first, second = (manifest.read(tagger / "fold1" / f"{name}-run") for name in ("first", "second"))
    assert first["inputs"]["train rows"] != second["inputs"]["train rows"]
    assert first["config"]["training"]["loss"] == "bce"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TAU 2019's own metadata, and audio as it has it (48 kHz, stereo, 24 bits, 10 s) for three clips of each scene."""
    if not (SHARED / "layouts" / "tau2019" / "meta.csv").is_file():
        pytest.skip("the metadata of TAU 2019 do not lie in ../shared/layouts/tau2019")
    root = tmp_path_factory.mktemp("tau") / "TAU-urban-acoustic-scenes-2019-development"
    shutil.copytree(SHARED / "layouts" / "tau2019", root)
    (root / "audio").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, (480_000, 2))
    for table, n_each in (("fold1_train.csv", 2), ("fold1_evaluate.csv", 1)):
        with (root / "evaluation_setup" / table).open() as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        for index, scene in enumerate(dcase2019.CLASSES):
            names = [row["filename"] for row in rows if row["scene_label"] == scene]
            for number, name in enumerate(names[:: len(names) // n_each][:n_each]):
                hum = np.sin(np.arange(480_000) * (index + 1) / 50)[:, None] / 5
                soundfile.write(root / name, np.roll(noise, 999 * number, 0) + hum, 48_000, subtype="PCM_24")
    return root


def test_tau_2019_goes_through_its_whole_recipe(scenes: Path, tagger: Path, tmp_path: Path) -> None:
    options = ("--tagger", tagger / "fold1" / "second-run", "--system", "both-4-1", "--kernel", "rbf")
    run_recipe("dcase2019", tmp_path / "out", "--corpus", scenes, *options)
    out = tmp_path / "out"
    assert manifest.read(out / "waveforms")["rows"] == 30
    shapes = {columns["array"].shape[1:] for columns in Store(out / "waveforms").shards(("array", "length"))}
    assert shapes == {(2,)} and Store(out / "waveforms").columns("length")["length"].tolist() == [480_000] * 30
    tags = Store(out / "tags", "tag")
    assert tags.columns("array")["array"].shape == (30, 80) and tags.tables.classes == dcase2019.CLASSES
    scores = json.loads((out / "scores" / "scores.json").read_text())
    clips = {system["system"]: system for system in scores["systems"] if system["level"] == "clip"}
    assert set(clips) == {"raw_resnet both 4 1 softmax", "raw_resnet both 4 1 rbf"}
    assert all(system["rows"] == 10 for system in clips.values())
    assert manifest.read(out / "both-4-1-run")["config"]["tags"]["labels"] == list(fsdkaggle2019.CLASSES)

"""The recipe of raw_resnet on ESC-10: which network tags which clips, and a small tree all the way through it."""

import csv
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recipes_here import recipe_here
from test_recipes import RECIPES

from asctool.corpora._esc import CLASSES, ESC10_TARGETS
from asctool.storage import manifest
from asctool.storage.store import Store

SCRIPT = "esc10/jung2020.sh"
FOLDS = range(1, 6)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ESC-50 as it is unpacked, of which a clip of each of ESC-10's classes and folds is there, half a second long."""
    root = tmp_path_factory.mktemp("ESC-50-master")
    (root / "audio").mkdir()
    (root / "meta").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 22_050)
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for target in ESC10_TARGETS:
        for fold in FOLDS:
            source = 100_000 + 100 * fold + target
            name = f"{fold}-{source}-A-{target}.wav"
            tone = np.sin(np.arange(22_050) * (target + 1) / 50) / 3
            soundfile.write(root / "audio" / name, np.roll(noise, 999 * fold) + tone, 44_100)
            lines.append(f"{name},{fold},{target},{CLASSES[target]},True,{source},A")
    (root / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def done(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the recipe leaves of fold 2, with and without tags."""
    out = tmp_path_factory.mktemp("jung") / "out"
    status, said = recipe_here(SCRIPT, out, "--corpus", tree, "--folds", "2", "--system", "none codecat")
    assert status == 0, said[-2000:]
    return out


def test_no_clip_is_tagged_by_a_network_that_has_heard_it_or_the_test_fold(done: Path) -> None:
    of_clip: dict[str, str] = {}
    for call in (done.parent / "calls").read_text().splitlines():
        words = call.split()
        if words[0] == "train" and "--tags" in words:
            stores = [Path(words[i + 1]) for i, word in enumerate(words) if word == "--tags"]
    for path in stores:
        tagger = path.parent / "run"
        pair = manifest.read(tagger)["config"]["fold"]
        subset = Store(done / "logmel").tables.subset_of(pair)
        heard = {clip_id for clip_id, name in subset.items() if name == "train"}
        assert len(heard) == 30 and not any(clip_id.startswith("2-") for clip_id in heard)
        tagged = Store(path, "tag").columns("clip_id")["clip_id"].tolist()
        assert len(tagged) == 10 and not heard & set(tagged)
        of_clip |= dict.fromkeys(tagged, str(tagger))
    assert len(of_clip) == 50 and len(set(of_clip.values())) == 4


def test_taggers_learn_from_mixtures_with_labels_of_both(done: Path) -> None:
    for pair in ("12", "23", "24", "25"):
        training = manifest.read(done / "taggers" / pair / "run")["config"]["training"]
        assert (training["loss"], training["mix"]) == ("bce", "between_class")


def test_both_systems_are_judged_and_compared(done: Path) -> None:
    scores = json.loads((done / "scores" / "scores.json").read_text())
    names = {f"raw_resnet {name} {back_end}" for name in ("none", "codecat") for back_end in ("softmax", "rbf")}
    assert {system["system"] for system in scores["systems"]} == names
    assert all(system["rows"] == 10 and set(system["folds"]) == {"2"} for system in scores["systems"])
    assert "raw_resnet codecat softmax" in json.dumps(scores["comparison"])
    (taggers,) = json.loads((done / "tagger-scores" / "scores.json").read_text())["systems"]
    assert set(taggers["folds"]) == {"12", "23", "24", "25"}


def test_a_second_call_trains_nothing_again(done: Path, tree: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.glob("**/model.pt")}
    assert len(before) == 6
    status, said = recipe_here(SCRIPT, done, "--corpus", tree, "--folds", "2", "--system", "none codecat")
    assert status == 0, said[-2000:]
    assert {path: path.stat().st_mtime_ns for path in done.glob("**/model.pt")} == before


def test_all_folds_need_ten_taggers(tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    stub.write_text(f'#!/usr/bin/env bash\necho "$*" >> {tmp_path}/calls\n')
    stub.chmod(0o755)
    options = ["--out", tmp_path / "out", "--stage", "3", "--jobs", "2"]
    subprocess.run(
        ["bash", RECIPES / SCRIPT, *options], env=os.environ | {"ASCTOOL": str(stub)}, check=True, timeout=60
    )
    calls = (tmp_path / "calls").read_text().splitlines()
    taggers = [call.split("--fold ")[1].split()[0] for call in calls if "--model tag_resnet" in call]
    assert sorted(taggers) == [f"{i}{j}" for i in FOLDS for j in FOLDS if i < j]
    for call in calls:
        if call.startswith("train") and "--tags" in call:
            fold = call.split("--fold ")[1].split()[0]
            stores = [word.split("taggers/")[1] for word in call.split() if "taggers/" in word]
            assert len(set(stores)) == 5 and all(fold in store.partition("/")[0] for store in stores)


def test_slips_end_the_recipe_with_status_2(tmp_path: Path) -> None:
    for options, words in (((), "give --corpus"), (("--system", "both-4"), "no system both-4 here")):
        status, said = recipe_here(SCRIPT, tmp_path / "out", *options)
        assert status == 2 and words in said


def test_the_table_of_pairs_names_every_clip_once_a_pair(done: Path) -> None:
    with (done / "parts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({(row["fold"], row["clip_id"]) for row in rows}) == 10 * 50
    for row in rows:
        home = row["clip_id"][0]
        expected = {row["fold"][0]: "test", row["fold"][1]: "valid"}.get(home, "train")
        assert row["subset"] == expected

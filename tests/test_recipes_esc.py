"""The recipes of ESC-10 and ESC-50: what each system calls, and a tree laid out as ESC-50 is when downloaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_recipes import RECIPES, recipe

from asctool.corpora._esc import CLASSES, ESC10_TARGETS

ESC50 = RECIPES / "esc50" / "run.sh"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ESC-50 as it is unpacked: 2000 names, 40 a class and 8 a fold; each clip a tenth of a second of noise."""
    root = tmp_path_factory.mktemp("ESC-50-master")
    (root / "audio").mkdir()
    (root / "meta").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 4410)
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for target, name in enumerate(CLASSES):
        for fold in range(1, 6):
            for n in range(8):
                source = 100000 + 1000 * fold + 10 * target + n
                file = f"{fold}-{source}-A-{target}.wav"
                soundfile.write(root / "audio" / file, noise, 44100)
                lines.append(f"{file},{fold},{target},{name},{target in ESC10_TARGETS},{source},A")
    (root / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize(("name", "n_clips", "n_classes"), [("esc50", 2000, 50), ("esc10", 400, 10)])
def test_the_recipe_reads_esc50_as_downloaded(
    name: str, n_clips: int, n_classes: int, tree: Path, tmp_path: Path
) -> None:
    asctool = tmp_path / "asctool"
    asctool.write_text(f'#!/usr/bin/env bash\nexec {sys.executable} -m asctool "$@"\n')
    asctool.chmod(0o755)
    command = ["bash", RECIPES / name / "run.sh", "--corpus", tree, "--out", tmp_path / "out", "--stop-stage", "1"]
    subprocess.run(command, env=os.environ | {"ASCTOOL": str(asctool)}, check=True, timeout=120, capture_output=True)
    told = json.loads((tmp_path / "out" / "data" / "dataset.json").read_text())
    assert len((tmp_path / "out" / "data" / "clips.csv").read_text().splitlines()) == 1 + n_clips
    assert len((tmp_path / "out" / "data" / "classes.txt").read_text().split()) == n_classes
    assert "official" in json.dumps(told["folds"])


@pytest.mark.parametrize("augment", ["false", "true"])
def test_every_row_of_zhang_s_tables_is_one_command(augment: str, tmp_path: Path) -> None:
    places = ["none", "l2", "l4", "l6", "l8", "l10"]
    status, calls, err = recipe(
        "esc50",
        tmp_path,
        *("--corpus", "somewhere", "--folds", "1-2", "--system", "acrnn piczak_cnn"),
        *("--attention", " ".join(places), "--augment", augment),
    )
    assert status == 0, err
    trained = [call for call in calls if call.startswith("train")]
    assert sorted(call.split("attention=")[1].split()[0] for call in trained if "acrnn" in call) == sorted(2 * places)
    assert sum("--model piczak_cnn" in call for call in trained) == 2
    assert all(("--mix mixup" in call) == (augment == "true") for call in trained)
    assert sum(call.startswith("augment") for call in calls) == (augment == "true")
    fused = [call for call in calls if call.startswith("fuse") and "all-" not in call]
    assert all("--rule mean" in call for call in fused)
    assert len(fused) == 2 * len(places) + 1  # softmax and svm of each, softmax of Piczak's
    pictures = [call for call in calls if call.startswith("info")]
    assert len(pictures) == 3 * (len(places) - 1)  # of all that have attention


def test_the_papers_schedule_is_the_preset(tmp_path: Path) -> None:
    options = ("--corpus", "somewhere", "--folds", "1", "--system", "acrnn", "--schedule", "paper")
    _, calls, _ = recipe("esc10", tmp_path, *options)
    (trained,) = [call for call in calls if call.startswith("train")]
    assert "--config zhang2019" in trained


def test_only_acrnn_s_segments_are_cut_anew(tmp_path: Path) -> None:
    """32 frames are more segments for ACRNN, whose preset has 64, and fewer for PiczakCNN, whose preset has 20."""
    options = ("--corpus", "somewhere", "--folds", "1", "--system", "acrnn piczak_cnn att_crnn", "--features", "logmel")
    _, calls, _ = recipe("esc10", tmp_path, *options)
    cut = {call.split("--config ")[1].split()[0]: "--set" in call for call in calls if call.startswith("featurize")}
    assert cut == {"zhang2019": True, "piczak2015": False, "phan2019": False}


def test_several_devices_are_taken_in_turn(tmp_path: Path) -> None:
    options = ("--corpus", "somewhere", "--folds", "1,3,5", "--system", "acrnn", "--device", "cuda:0 cuda:1")
    _, calls, _ = recipe("esc10", tmp_path, *options)
    taken = {call.split("--fold ")[1][0]: call.split("--device ")[1] for call in calls if call.startswith("train")}
    assert taken == {"1": "cuda:0", "3": "cuda:1", "5": "cuda:0"}


def finished(out: Path, *names: str) -> None:
    """Results that earlier calls have left, as far as a recipe looks at them."""
    for name in names:
        (out / name).mkdir(parents=True)
        (out / name / "manifest.json").write_text("{}")


def test_a_later_call_adds_its_folds_to_those_that_are_there(tmp_path: Path) -> None:
    finished(tmp_path / "out", "fold2/acrnn-gammatone-l10-softmax", "fold10/acrnn-gammatone-l10-softmax")
    (tmp_path / "out" / "fold4" / "acrnn-gammatone-l10-softmax").mkdir(parents=True)  # not finished
    _, calls, _ = recipe("esc10", tmp_path, "--stage", "7", "--folds", "3", "--system", "acrnn")
    fused = {call.split()[-4].rpartition("-")[2]: call.split()[1:-4] for call in calls if call.startswith("fuse")}
    ends = {back_end: [Path(path).parent.name for path in inputs] for back_end, inputs in fused.items()}
    assert ends == {"softmax": ["fold2", "fold3", "fold10"], "svm": ["fold3"]}


def test_systems_of_different_folds_are_not_fused(tmp_path: Path) -> None:
    """Nor does what an earlier call fused stay in the table."""
    finished(tmp_path / "out", "fold2/cnn-logmel-softmax", "clips/all-softmax")
    options = ("--stage", "7", "--folds", "1", "--system", "cnn att_crnn", "--features", "logmel")
    _, calls, _ = recipe("esc10", tmp_path, *options)
    together = [call.split("--system ")[1] for call in calls if "all fused" in call]
    assert together == ["all fused svm"] and not (tmp_path / "out" / "clips" / "all-softmax").exists()


def test_seeds_of_different_folds_are_not_averaged(tmp_path: Path) -> None:
    finished(tmp_path / "out", "fold2/acrnn-gammatone-l10-softmax", "clips/acrnn-gammatone-l10-seeds-softmax")
    _, calls, err = recipe("esc10", tmp_path, "--stage", "7", "--folds", "1", "--system", "acrnn", "--seed", "0 1")
    together = [call.split("--system ")[1] for call in calls if "2 seeds" in call]
    assert together == ["acrnn gammatone l10 2 seeds svm"], err
    assert not (tmp_path / "out" / "clips" / "acrnn-gammatone-l10-seeds-softmax").exists()


@pytest.mark.parametrize(("valid", "subset"), [("", False), ("next", True)])
def test_where_a_fold_validates_the_test_fold_is_not_looked_at(valid: str, subset: bool, tmp_path: Path) -> None:
    finished(tmp_path / "out", "scores")
    (tmp_path / "out" / "scores" / "scores.json").write_text("{}")
    options = ("--corpus", "somewhere", "--folds", "1", "--system", "acrnn", "--stop-stage", "8", "--valid", valid)
    _, calls, _ = recipe("esc10", tmp_path, *options, helpers=True)
    (scored,) = [call for call in calls if call.startswith("score")]
    assert ("--subset valid" in scored) == subset
    assert any(call.startswith("beside_paper.py") for call in calls) != subset


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--system", "resnet"), "--system: no resnet; there are acrnn att_crnn"),
        (("--system", "acrnn acrnn"), "--system: acrnn is there twice"),
        (("--attention", "l3"), "--attention: no l3; there are none l2"),
        (("--features", ""), "--features: there are logmel gammatone"),
        (("--schedule", "papr"), "--schedule: no papr; there are cpu paper"),
        (("--schedule", "cpu paper"), "--schedule takes one of cpu paper"),
        (("--denoised", "yes"), "--denoised: no yes; there are true false"),
        (("--augment", "yes"), "--augment: no yes"),
        (("--epochs", "ten"), "--epochs takes a whole number, not 'ten'"),
        (("--seed", "one"), "--seed takes different whole numbers with spaces between, not 'one'"),
        (("--seed", ""), "--seed takes"),
        (("--seed", "0,1"), "not '0,1'"),
        (("--seed", "1 2 1"), "--seed: 1 is there twice"),
    ],
)
def test_slips_are_told_before_anything_is_done(option: tuple[str, str], words: str, tmp_path: Path) -> None:
    status, calls, err = recipe("esc50", tmp_path, "--corpus", "somewhere", *option)
    assert (status, calls) == (2, [])
    assert words in err


def test_the_table_puts_the_paper_s_figure_beside_ours(tmp_path: Path) -> None:
    folds = {"1": {"accuracy": 0.9}, "2": {"accuracy": 0.95}}
    system = {
        "system": "acrnn gammatone l10 augment softmax",
        "level": "clip",
        "folds": folds,
        "mean": {"accuracy": {"mean": 0.925, "deviation": 0.035, "n": 2}},
    }
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"systems": [system, {"system": "piczak_cnn logmel softmax", "level": "segment"}]}))
    paper = RECIPES / "esc10" / "conf" / "paper.toml"
    command = [sys.executable, RECIPES / "common" / "beside_paper.py", scores, paper]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "| ACRNN | 93.7 | 92.50 ± 3.50 | 1: 90.00, 2: 95.00 |" in table
    assert "| PiczakCNN | 80.5 | not measured |" in table
    for fold in (1, 2):
        run = tmp_path / f"fold{fold}" / "acrnn-gammatone-l10-augment-run"
        run.mkdir(parents=True)
        (run / "manifest.json").write_text(json.dumps({"config": {"training": {"epochs": 40}}}))
    table = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=True).stdout
    assert "| ACRNN | 93.7 | 92.50 ± 3.50 | 1: 90.00, 2: 95.00 | 40 |" in table


def test_several_seeds_are_trained_and_their_means_fused(tmp_path: Path) -> None:
    options = (
        "--corpus",
        "somewhere",
        "--folds",
        "1-2",
        "--system",
        "att_crnn",
        "--seed",
        "0 1 2",
        "--augment",
        "true",
    )
    status, calls, err = recipe("esc10", tmp_path, *options)
    assert status == 0, err
    trained = [call for call in calls if call.startswith("train")]
    runs = {(call.split()[2].partition("/out/")[2], call.split("--seed ")[1].split()[0]) for call in trained}
    names = [f"att_crnn-{feature}-augment" for feature in ("logmel", "gammatone")]
    ends = {"0": "", "1": "-seed1", "2": "-seed2"}
    assert runs == {
        (f"fold{fold}/{name}{end}-run", seed) for fold in (1, 2) for name in names for seed, end in ends.items()
    }
    (drawn,) = [call for call in calls if call.startswith("augment")]
    assert "--seed 0" in drawn
    means = [call for call in calls if call.startswith("fuse") and "3 seeds" in call]
    called = {call.split("--system ")[1].partition(" --")[0] for call in means}
    words = ["logmel augment", "gammatone augment", "fused augment"]
    every = {f"att_crnn {word} 3 seeds {end}" for word in words for end in ("softmax", "svm")}
    assert called == every | {f"all fused 3 seeds {end}" for end in ("softmax", "svm")}
    assert all("--rule mean" in call and call.count("/clips/") == 4 for call in means)


@pytest.mark.parametrize(("segments", "allowed"), [("", False), ("silence_db=-80", True)])
def test_features_that_leave_out_silence_are_fused_from_what_they_have(
    segments: str, allowed: bool, tmp_path: Path
) -> None:
    options = ("--corpus", "somewhere", "--folds", "1", "--system", "att_crnn", "--segments", segments)
    status, calls, err = recipe("esc10", tmp_path, *options)
    assert status == 0, err
    of_segments = [call for call in calls if call.startswith("fuse") and "--level segment" in call]
    assert len(of_segments) == 2 and all(("--allow-missing" in call) == allowed for call in of_segments)

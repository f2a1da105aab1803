"""The whole chain through the command line, as the README shows it; and what each stage says to bad input."""

import json
import re
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import SMALL, asctool

from asctool.cli import run
from asctool.storage.store import Store, update_tables


def code(*arguments: object) -> int:
    return run([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def chain(corpus: Path, trained: Path) -> Path:
    """Everything after training, in the corpus' folder."""
    asctool("extract", trained, corpus / "logmel", corpus / "embeddings", "--kind", "embedding")
    asctool("extract", trained, corpus / "logmel", corpus / "posteriors", "--kind", "posterior")
    asctool("extract", trained, corpus / "logmel", corpus / "attention", "--kind", "attention")
    asctool("svm", corpus / "embeddings", corpus / "svm_posteriors")
    asctool("fuse", corpus / "svm_posteriors", corpus / "clips", "--rule", "product")
    asctool("fuse", corpus / "posteriors", corpus / "svm_posteriors", corpus / "both", "--system", "both")
    return corpus


def test_the_chain_ends_with_scores_of_every_system(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    asctool("score", chain / "svm_posteriors", chain / "clips", chain / "both", "--json", "--out", chain / "scores")
    scores = json.loads(capsys.readouterr().out)
    named = {(system["system"], system["level"]) for system in scores["systems"]}
    assert named == {("att_crnn logmel svm", "segment"), ("att_crnn logmel svm", "clip"), ("both", "clip")}
    clips = next(system for system in scores["systems"] if system["level"] == "clip")
    assert clips["rows"] == 12 and np.sum(clips["confusion"]) == 12
    assert {path.name for path in (chain / "scores").iterdir()} >= {
        "scores.json",
        "scores.md",
        "confusion-both.png",
        "confusion-att-crnn-logmel-svm.png",
    }


def test_the_score_is_what_the_posteriors_say(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counted by hand from the store, with scikit-learn for the F1."""
    from sklearn.metrics import f1_score

    store = Store(chain / "clips")
    columns = store.columns("clip_id", "array", "subset")
    test = columns["subset"] == "test"
    truth = store.tables.targets(columns["clip_id"][test]).argmax(1)
    predicted = columns["array"][test].argmax(1)
    capsys.readouterr()
    asctool("score", chain / "clips", "--json")
    fold = json.loads(capsys.readouterr().out)["systems"][0]["folds"]["1"]
    assert fold["accuracy"] == pytest.approx((truth == predicted).mean())
    expected = f1_score(truth, predicted, labels=range(6), average="macro", zero_division=0)
    assert fold["macro_f1"] == pytest.approx(expected)


def test_clips_are_the_product_of_their_segments(chain: Path) -> None:
    segments = Store(chain / "svm_posteriors").columns("clip_id", "array")
    clips = Store(chain / "clips").columns("clip_id", "array")
    for clip_id, posterior in zip(clips["clip_id"], clips["array"]):
        logs = np.log(segments["array"][segments["clip_id"] == clip_id].astype(float)).sum(0)
        expected = np.exp(logs - logs.max())
        np.testing.assert_allclose(posterior, expected / expected.sum(), atol=1e-5)


def test_extracted_rows_name_their_subset_and_attention_sums_to_one(chain: Path) -> None:
    store = Store(chain / "attention")
    columns = store.columns("clip_id", "array", "subset", "fold")
    of_clip = store.tables.subset_of(1)
    assert [of_clip[clip_id] for clip_id in columns["clip_id"]] == columns["subset"].tolist()
    assert set(columns["fold"].tolist()) == {1}
    np.testing.assert_allclose(columns["array"].sum(1), 1, atol=1e-2)  # bfloat16 where the processor has it


def test_the_same_command_again_does_nothing(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (chain / "svm_posteriors" / "manifest.json").stat().st_mtime_ns
    asctool("svm", chain / "embeddings", chain / "svm_posteriors")
    assert "is there already" in capsys.readouterr().err
    assert (chain / "svm_posteriors" / "manifest.json").stat().st_mtime_ns == before


def test_info_and_verify_take_every_artifact(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ("data", "denoised", "logmel", "run", "embeddings", "svm_posteriors", "clips", "both")
    for name in kinds:
        capsys.readouterr()
        asctool("info", chain / name, "--json")
        assert json.loads(capsys.readouterr().out)["fingerprint"]
        asctool("info", chain / name)
        asctool("verify", chain / name)
        assert "whole: " in capsys.readouterr().out


def test_ten_lines_of_h5py_read_a_store(corpus: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The lines of docs/formats.md as they stand there."""
    text = (Path(__file__).parents[1] / "docs" / "formats.md").read_text()
    lines = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert lines
    (tmp_path / "read.py").write_text(lines[1].replace('"logmel"', repr(str(corpus / "logmel"))))
    capsys.readouterr()
    runpy.run_path(str(tmp_path / "read.py"))
    printed = capsys.readouterr().out.splitlines()
    columns = Store(corpus / "logmel").columns("clip_id", "array")
    assert len(printed) == len(columns["clip_id"])
    assert printed[0].startswith(f"{columns['clip_id'][0]} 0.0 (2, 64, 40) ")


def test_features_of_a_clip_are_those_of_its_feature_file(corpus: Path) -> None:
    """Nothing slips in between: 2.5 s at 25 ms make 100 frames, and segments at 0, 40 and 60."""
    from asctool.features import logmel

    store = Store(corpus / "logmel")
    clip = store.tables.clips[0]
    samples, rate = soundfile.read(clip.path, dtype="float32")
    expected = logmel.extract(samples, rate, logmel.Config())
    rows = store.columns("clip_id", "start", "array")
    own = rows["clip_id"] == clip.clip_id
    np.testing.assert_allclose(rows["start"][own], [0, 1.0, 1.5])
    for first, array in zip((0, 40, 60), rows["array"][own]):
        np.testing.assert_allclose(array[0], expected[:, first : first + 40], atol=1e-5)


def test_neither_jobs_nor_shards_change_a_store(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ("--type", "logmel", "--set", "sample_rate=16000", "--delta", "--quiet")
    asctool("featurize", corpus / "data", tmp_path / "one", *settings, "--jobs", 1)
    asctool("featurize", corpus / "data", tmp_path / "two", *settings, "--jobs", 2)
    one, two = (Store(tmp_path / name) for name in ("one", "two"))
    assert one.manifest["shards"] == two.manifest["shards"]
    monkeypatch.setattr("asctool.stages.featurize.plan_shards", lambda sizes: [(i, i + 1) for i in range(len(sizes))])
    asctool("featurize", corpus / "data", tmp_path / "many", *settings, "--jobs", 1)
    assert Store(tmp_path / "many").content == one.content


def test_mixed_rows_are_training_rows_with_soft_targets(corpus: Path, tmp_path: Path) -> None:
    options = ("--method", "between_class", "--fold", 1, "--set", "rows_per_row=2.0")
    asctool("augment", corpus / "logmel", tmp_path / "mixed", *options)
    mixed = Store(tmp_path / "mixed")
    columns = mixed.columns("clip_id", "partner_clip_id", "target", "ratio", "array")
    train = {clip for clip, subset in mixed.tables.subset_of(1).items() if subset == "train"}
    assert set(columns["clip_id"].tolist()) | set(columns["partner_clip_id"].tolist()) <= train
    np.testing.assert_allclose(columns["target"].sum(1), 1, atol=1e-6)
    of_clip = {clip.clip_id: clip.labels[0] for clip in mixed.tables.clips}
    for clip, partner, ratio, target in zip(*(columns[n] for n in ("clip_id", "partner_clip_id", "ratio", "target"))):
        assert of_clip[clip] != of_clip[partner]
        assert target[mixed.tables.classes.index(of_clip[clip])] == pytest.approx(ratio)
    plain = Store(corpus / "logmel").columns("array")["array"]
    assert abs(columns["array"].mean() - plain.mean()) < 0.3  # mixed raw, the mean would grow by up to 1.41
    asctool("train", tmp_path / "mixed", tmp_path / "run", "--model", "cnn", "--fold", 1, "--epochs", 1, *SMALL[:2])
    asctool("extract", tmp_path / "run", corpus / "logmel", tmp_path / "embeddings", "--kind", "embedding")
    assert code("train", tmp_path / "mixed", tmp_path / "other", "--model", "cnn", "--fold", 2) == 2


def test_labels_that_change_leave_the_shards(corpus: Path, tmp_path: Path) -> None:
    settings = ("n_clips_per_class=4", "n_recordings_per_class=4", "seconds=2.5", "sample_rate=16000", "n_folds=4")
    given = [word for setting in settings for word in ("--set", setting)]
    asctool("prep", "synthetic", corpus / "audio", tmp_path / "data", *given, "--quiet", "--jobs", 1)
    features = ("--type", "logmel", "--set", "sample_rate=16000", "--jobs", 1, "--quiet")
    asctool("featurize", corpus / "data", tmp_path / "store", *features)
    shard = next((tmp_path / "store").glob("shard-*"))
    before = shard.stat().st_mtime_ns
    asctool("featurize", tmp_path / "data", tmp_path / "store", *features)
    assert Store(tmp_path / "store").tables.fold_numbers == [1, 2, 3, 4]
    assert shard.stat().st_mtime_ns == before


LATER = {
    "extract": ("logmel", "extract {run} {changed} {out} --kind embedding"),
    "augment": ("logmel", "augment {changed} {out} --method spec_augment --fold 1"),
    "svm": ("embeddings", "svm {changed} {out}"),
    "svm --fitted": ("embeddings", "svm {changed} {out} --fitted {svm_posteriors}"),
    "fuse": ("svm_posteriors", "fuse {changed} {out}"),
}


@pytest.mark.parametrize("table", ["labels", "folds"])
@pytest.mark.parametrize("stage", LATER)
def test_what_was_made_by_other_labels_or_folds_is_not_taken_for_the_same(
    stage: str, table: str, chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, command = LATER[stage]
    shutil.copytree(chain / name, tmp_path / "changed")
    names = {path.name: path for path in [*chain.iterdir(), tmp_path / "changed", tmp_path / "out"]}
    words = command.format(**names).split()
    asctool(*words)
    tables = Store(tmp_path / "changed").tables
    first, *others = tables.clips
    labels = tuple(label for label in tables.classes if label not in first.labels)[:1]
    corrected = {"labels": replace(tables, clips=(replace(first, labels=labels), *others))}
    corrected["folds"] = replace(
        tables, folds=tuple(row for row in tables.folds if (row.fold, row.clip_id) != (2, first.clip_id))
    )
    assert update_tables(tmp_path / "changed", corrected[table], "featurize")
    capsys.readouterr()
    assert code(*words) == 2
    assert "was made with other options (content of tables: " in capsys.readouterr().err


def test_a_folder_of_recordings_becomes_a_data_directory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("my kitchen", "my street"):
        (tmp_path / "mine" / label).mkdir(parents=True)
        for i in range(5):
            soundfile.write(tmp_path / "mine" / label / f"{i}.flac", rng.normal(size=8000) / 8, 8000)
    asctool("prep", "folder", tmp_path / "mine", tmp_path / "data", "--jobs", 1, "--quiet")
    asctool(
        "featurize",
        tmp_path / "data",
        tmp_path / "waves",
        "--type",
        "waveform",
        "--set",
        "sample_rate=16000",
        "--jobs",
        1,
    )
    store = Store(tmp_path / "waves", "waveform")
    assert store.tables.classes == ("my kitchen", "my street")
    assert store.clip(store.tables.clips[0].clip_id).shape == (16000, 1)


def test_an_unlabelled_set_goes_through_a_trained_network(chain: Path, tmp_path: Path) -> None:
    """A table without labels has no folds: all its rows are there to be tested."""
    rng = np.random.default_rng(0)
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", rng.normal(size=40000) / 9, 16000)
    (tmp_path / "list.csv").write_text("path\n0.wav\n1.wav\n2.wav\n")
    asctool("prep", "table", tmp_path / "list.csv", tmp_path / "data", "--root", tmp_path, "--jobs", 1, "--quiet")
    asctool("denoise", tmp_path / "data", tmp_path / "denoised", "--jobs", 1, "--quiet")
    settings = ("--set", "sample_rate=16000", "--set", "segment_frames=40", "--denoised", tmp_path / "denoised")
    asctool("featurize", tmp_path / "data", tmp_path / "new", "--type", "logmel", *settings, "--jobs", 1, "--quiet")
    assert code("extract", chain / "run", tmp_path / "new", tmp_path / "out", "--kind", "posterior") == 0
    columns = Store(tmp_path / "out").columns("subset", "array")
    assert set(columns["subset"].tolist()) == {"test"} and columns["array"].shape == (9, 6)


BAD = {
    "no such store": (3, "there is no such", "train {tmp}/none {tmp}/out --model cnn --fold 1"),
    "no such fold": (2, "there is no fold 9", "train {logmel} {tmp}/out --model cnn --fold 9"),
    "no such model": (2, "did you mean 'att_crnn'", "train {logmel} {tmp}/out --model att_crn --fold 1"),
    "no such setting": (2, "did you mean 'hidden'", "train {logmel} {tmp}/out --model att_crnn --fold 1 --set hiden=3"),
    "no such option": (2, "", "train {logmel} {tmp}/out --modle cnn --fold 1"),
    "no such mix": (2, "unknown mix 'between'", "train {logmel} {tmp}/out --model cnn --fold 1 --mix between"),
    "no such device": (2, "--device gpu", "train {logmel} {tmp}/out --model cnn --fold 1 --device gpu"),
    "no validation rows": (2, "has no valid rows", "train {logmel} {tmp}/out --model cnn --fold 1 --select valid"),
    "wrong kind for train": (3, "kind 'waveform', where 'feature'", "train {denoised} {tmp}/out --model cnn --fold 1"),
    "wrong kind for svm": (3, "kind 'feature', where 'embedding'", "svm {logmel} {tmp}/out"),
    "wrong kind for fuse": (3, "kind 'feature', where 'posterior'", "fuse {logmel} {tmp}/out"),
    "wrong kind for score": (3, "kind 'feature', where 'posterior'", "score {logmel}"),
    "no run": (3, "kind 'feature', where 'run'", "extract {logmel} {logmel} {tmp}/out --kind embedding"),
    "no sample rate": (2, "sample_rate must be given", "featurize {data} {tmp}/out --type logmel"),
    "hop above frame": (
        2,
        "hop",
        "featurize {data} {tmp}/out --type logmel --set sample_rate=16000 --set hop_seconds=1",
    ),
    "hop of whole clips": (
        2,
        "set segment_frames",
        "featurize {data} {tmp}/out --type waveform --set sample_rate=16000 --set segment_hop_frames=160",
    ),
    "silence in whole clips": (
        2,
        "set segment_frames",
        "featurize {data} {tmp}/out --type waveform --set sample_rate=16000 --set silence_db=-60",
    ),
    "a seed below 0": (2, "seed=-1: 0 at least", "augment {data} {tmp}/out --method time_stretch --set seed=-1"),
    "an empty separator": (2, "label_separator is empty", "prep table {tmp} {tmp}/out --set label_separator="),
    "no such rule": (2, "unknown rule 'sum'", "fuse {posteriors} {tmp}/out --rule sum"),
    "learned without validation": (
        2,
        "learns on validation rows",
        "fuse {posteriors} {svm_posteriors} {tmp}/out --rule weighted",
    ),
    "output is input": (2, "input and output at once", "featurize {data} {data} --type logmel --set sample_rate=16000"),
    "no parent": (4, "mkdir -p", "svm {embeddings} {tmp}/a/b/out"),
    "another fold": (2, "would mix folds", "svm {embeddings} {tmp}/out --fold 2"),
    "other options": (2, "c: 0.1 -> 1.0", "svm {embeddings} {svm_posteriors} --set c=1"),
    "no such corpus": (2, "did you mean 'esc10'", "prep esc1 {tmp} {tmp}/out"),
    "no corpus there": (3, "", "prep esc10 {tmp} {tmp}/out"),
    "the same twice": (3, "give it once", "score {posteriors} {posteriors}"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    case: str, chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, words, arguments = BAD[case]
    names = {path.name: path for path in chain.iterdir()}
    capsys.readouterr()
    got = code(*(word.format(tmp=tmp_path, **names) for word in arguments.split()))
    err = capsys.readouterr().err
    assert got == expected, err
    assert words in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A data directory of recordings in mono, stereo, and mono again."""
    rng = np.random.default_rng(0)
    for number, n_channels in enumerate((1, 2, 1, 1)):
        soundfile.write(tmp_path / f"{number}.wav", rng.normal(size=(16000, n_channels)) / 9, 16000)
    (tmp_path / "list.csv").write_text("path,label\n0.wav,a\n1.wav,a\n2.wav,b\n3.wav,b\n")
    asctool("prep", "table", tmp_path / "list.csv", tmp_path / "data", "--root", tmp_path, "--set", "n_folds=2")
    return tmp_path


def test_recordings_of_one_and_two_channels_are_denoised(mixed: Path) -> None:
    asctool("denoise", mixed / "data", mixed / "denoised", "--jobs", 1)
    store = Store(mixed / "denoised", "waveform")
    assert [store.clip(clip.clip_id).shape[1] for clip in store.tables.clips] == [1, 2, 1, 1]
    settings = ("--set", "sample_rate=16000", "--denoised", mixed / "denoised", "--jobs", 1)
    asctool("featurize", mixed / "data", mixed / "logmel", "--type", "logmel", *settings)
    asctool("verify", mixed / "denoised")


@pytest.mark.parametrize(("rates", "warned"), [((16000, 8000), True), ((8000, 8000), False), ((16000, 44100), False)])
def test_bands_that_only_some_recordings_have_are_warned_of(
    rates: tuple[int, int], warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, rate in enumerate(rates):
        soundfile.write(tmp_path / f"{number}.wav", np.random.default_rng(number).normal(size=rate) / 9, rate)
    (tmp_path / "list.csv").write_text("path,label\n0.wav,a\n1.wav,b\n")
    given = ("prep", "table", tmp_path / "list.csv", tmp_path / "data", "--root", tmp_path, "--set", "n_folds=2")
    asctool(*given, "--set", "allow_missing_classes=true")
    capsys.readouterr()
    asctool("featurize", tmp_path / "data", tmp_path / "out", "--type", "waveform", "--set", "sample_rate=16000")
    assert (
        "1 of 2 clips were recorded below sample_rate=16000 (the lowest at 8000 Hz)" in capsys.readouterr().err
    ) == warned


def test_labels_that_changed_reach_the_denoised_store(mixed: Path) -> None:
    asctool("denoise", mixed / "data", mixed / "denoised", "--jobs", 1)
    before = Store(mixed / "denoised").manifest["shards"]
    (mixed / "list.csv").write_text("path,label\n0.wav,a\n1.wav,b\n2.wav,a\n3.wav,b\n")
    again = ("prep", "table", mixed / "list.csv", mixed / "data", "--root", mixed, "--set", "n_folds=2")
    asctool(*again, "--force")
    asctool("denoise", mixed / "data", mixed / "denoised", "--jobs", 1)
    store = Store(mixed / "denoised")
    assert [clip.labels[0] for clip in store.tables.clips] == ["a", "b", "a", "b"]
    assert store.manifest["shards"] == before


def test_the_denoised_channel_is_of_denoise(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other waveforms may be integers of another scale, or cut."""
    settings = ("--set", "sample_rate=16000", "--jobs", 1)
    asctool("featurize", mixed / "data", mixed / "waves", "--type", "waveform", *settings, "--set", "dtype=int16")
    capsys.readouterr()
    more = ("--type", "logmel", "--denoised", mixed / "waves")
    assert code("featurize", mixed / "data", mixed / "logmel", *more, *settings) == 3
    assert "takes what denoise wrote" in capsys.readouterr().err


def test_all_bad_files_are_told_at_once_and_left_out_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / "mine" / label).mkdir(parents=True)
        for i in range(4):
            soundfile.write(tmp_path / "mine" / label / f"{i}.wav", rng.normal(size=8000) / 8, 8000)
    (tmp_path / "mine" / "a" / "text.wav").write_text("no audio")
    whole = (tmp_path / "mine" / "b" / "0.wav").read_bytes()
    (tmp_path / "mine" / "b" / "cut.wav").write_bytes(whole[:8000])
    arguments = ("prep", "folder", tmp_path / "mine", tmp_path / "data", "--jobs", 1, "--set", "n_folds=2")
    assert code(*arguments) == 3
    err = capsys.readouterr().err
    assert "text.wav: is no audio" in err and "cut.wav: is cut short" in err
    assert not (tmp_path / "data").exists()
    assert code(*arguments, "--set", "skip_bad=true") == 0
    rejected = (tmp_path / "data" / "rejected.csv").read_text()
    assert "text.wav" in rejected and "cut.wav" in rejected


def test_another_network_input_is_refused(chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("--type", "logmel", "--set", "sample_rate=16000", "--set", "segment_frames=40", "--set", "n_bands=65")
    asctool("featurize", chain / "data", tmp_path / "other", *settings, "--jobs", 1, "--quiet")
    assert code("extract", chain / "run", tmp_path / "other", tmp_path / "out", "--kind", "embedding") == 3
    assert "n_bands: 64 -> 65" in capsys.readouterr().err

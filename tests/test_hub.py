"""Networks of Hugging Face, built and saved here: tags, embeddings, what they lead to, and what is refused."""

import json
import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import asctool

from asctool.cli import run
from asctool.storage import manifest, recordings
from asctool.storage.data_directory import DataDirectory
from asctool.storage.recordings import open_recordings
from asctool.storage.store import Store, update_tables

transformers = pytest.importorskip("transformers")
LABELS = ("Rain", "Speech; a crowd", "Engine")
WINDOW = 400 + 63 * 160  # samples of 64 frames
NETWORK = ("--set", "filters=8", "--set", "blocks=3", "--set", "code=4", "--set", "tag_units=4", "--set", "tags=both")


def save_ast(folder: Path, **config: Any) -> Path:
    """An audio spectrogram transformer of one layer, its weights drawn from a seed."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    shape = {"num_mel_bins": 32, "max_length": 64, "frequency_stride": 16, "time_stride": 16}
    named = {"id2label": dict(enumerate(LABELS)), "label2id": {name: i for i, name in enumerate(LABELS)}}
    torch.manual_seed(0)
    network = transformers.ASTForAudioClassification(transformers.ASTConfig(**sizes, **shape, **named, **config))
    with torch.no_grad():
        network.classifier.dense.weight.mul_(30)  # as drawn, all labels would be as likely
    network.save_pretrained(folder)
    transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=64).save_pretrained(folder)
    return folder


def save_wav2vec2(folder: Path, made: str) -> Path:
    """A wav2vec 2.0 of one layer and two convolutions."""
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8, 8),
        conv_stride=(10, 8),
        conv_kernel=(20, 16),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
    )
    torch.manual_seed(0)
    getattr(transformers, made)(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger, waveforms of the corpus' clips, and tags of the clips themselves."""
    out = tmp_path_factory.mktemp("hub")
    save_ast(out / "ast", problem_type="multi_label_classification")
    waves = ("--type", "waveform", "--set", "sample_rate=16000", "--set", "segment_frames=20000")
    asctool("featurize", corpus / "data", out / "waves", *waves, "--set", "dtype=int16", "--jobs", 1, "--quiet")
    asctool("extract", corpus / "data", out / "tags", "--model", f"hf:{out / 'ast'}", "--kind", "tag", "--quiet")
    return out


def code(*words: object) -> int:
    return run([str(word) for word in words])


def expected_tags(folder: Path, samples: np.ndarray, function: str) -> np.ndarray:
    """What the pipeline of transformers says of four windows that cover 2.5 s, the last aligned to the end."""
    pipeline = transformers.pipeline("audio-classification", str(folder), function_to_apply=function, top_k=None)
    firsts = [0, WINDOW, 2 * WINDOW, len(samples) - WINDOW]
    told = [pipeline(samples[first : first + WINDOW].copy()) for first in firsts]
    found = [{entry["label"]: entry["score"] for entry in entries} for entries in told]
    return np.mean([[entry[label] for label in LABELS] for entry in found], 0)


def test_tags_are_what_transformers_itself_says_of_each_window(base: Path, corpus: Path) -> None:
    store = Store(base / "tags", "tag")
    columns = store.columns("clip_id", "start", "array")
    assert columns["clip_id"].tolist() == [clip.clip_id for clip in store.tables.clips]
    assert columns["array"].shape == (24, 3) and columns["array"].std(0).min() > 1e-3
    for place, recording in enumerate(open_recordings(corpus / "data").read(0)):
        assert recording.clip_id == columns["clip_id"][place] and recording.samples.shape == (1, 40_000)
        if place % 8 == 0:
            expected = expected_tags(base / "ast", recording.samples[0], "sigmoid")
            np.testing.assert_allclose(columns["array"][place], expected, atol=2e-5)


def test_the_manifest_says_what_the_network_was(base: Path, tmp_path: Path) -> None:
    told = manifest.read(base / "tags")
    assert told["labels"] == list(LABELS) and "fold" not in told
    assert told["model"]["name"] == str(base / "ast")
    assert (told["model"]["sample_rate"], told["model"]["window_samples"]) == (16_000, WINDOW)
    (weights,) = (base / "ast").glob("*.safetensors")
    from asctool.training import hub

    shutil.copytree(base / "ast", tmp_path / "elsewhere")
    found = hub.find(f"hf:{tmp_path / 'elsewhere'}")
    assert found.content == told["tagger"] == told["inputs"]["model"]
    assert (found.config_hash, found.weights_hash) == (told["model"]["config"], told["model"]["weights"])
    (tmp_path / "elsewhere" / weights.name).write_bytes(weights.read_bytes() + b"\0")
    other = hub.find(f"hf:{tmp_path / 'elsewhere'}")
    assert other.weights_hash != found.weights_hash and other.config_hash == found.config_hash


def test_from_recordings_to_a_network_with_tags_beside_its_rows(base: Path, tmp_path: Path) -> None:
    whole = ("--type", "waveform", "--set", "sample_rate=4000", "--set", "segment_frames=10000", "--jobs", 1)
    data = base / manifest.read(base / "tags")["paths"]["recordings"]
    asctool("featurize", data, tmp_path / "waves", *whole, "--quiet")
    words = ("--model", "raw_resnet", "--fold", 1, "--epochs", 1, "--batch-size", 4, *NETWORK, "--quiet")
    asctool("train", tmp_path / "waves", tmp_path / "run", *words, "--tags", base / "tags")
    known = manifest.read(tmp_path / "run")["config"]["tags"]
    assert known == {"labels": list(LABELS), "taggers": [manifest.read(base / "tags")["tagger"]]}
    asctool(
        *("extract", tmp_path / "run", tmp_path / "waves", tmp_path / "out", "--kind", "posterior", "--quiet"),
        *("--tags", base / "tags"),
    )
    assert manifest.read(tmp_path / "out")["rows"] == 24


def test_from_recordings_to_a_score_by_an_svm_on_embeddings(
    base: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", f"hf:{base / 'ast'}", "--kind", "embedding", "--system", "tiny", "--quiet")
    asctool("extract", corpus / "data", tmp_path / "embedding", *words)
    assert Store(tmp_path / "embedding").columns("array")["array"].shape == (24, 16)
    assert code("svm", tmp_path / "embedding", tmp_path / "svm") == 2
    assert "belongs to no fold; give --fold" in capsys.readouterr().err
    for fold in (1, 2):
        asctool("svm", tmp_path / "embedding", tmp_path / f"svm{fold}", "--fold", fold, "--quiet")
    asctool("fuse", tmp_path / "svm1", tmp_path / "svm2", tmp_path / "clips", "--quiet")
    asctool("score", tmp_path / "clips", "--out", tmp_path / "scores", "--quiet")
    (system,) = json.loads((tmp_path / "scores" / "scores.json").read_text())["systems"]
    assert (system["system"], sorted(system["folds"]), system["rows"]) == ("tiny svm", ["1", "2"], 24)
    assert (tmp_path / "scores" / "scores.md").read_text().count("trained elsewhere") >= 1
    assert code("predict", corpus / "audio", "--model", tmp_path / "svm1") == 3
    assert "network of Hugging Face, which is not followed" in capsys.readouterr().err


def test_of_waveforms_each_row_is_embedded_and_each_clip_is_tagged(base: Path, tmp_path: Path) -> None:
    """Two segments of 20 000 samples a clip, which is two windows each: the mean of four, cut at other places."""
    from asctool.training import hub

    model = f"hf:{base / 'ast'}"
    asctool("extract", base / "waves", tmp_path / "tags", "--model", model, "--kind", "tag", "--quiet")
    asctool("extract", base / "waves", tmp_path / "rows", "--model", model, "--kind", "embedding", "--quiet")
    rows = Store(tmp_path / "rows").columns("clip_id", "start", "array")
    assert rows["array"].shape == (48, 16) and rows["start"].tolist() == [0.0, 1.25] * 24
    tags = Store(tmp_path / "tags").columns("clip_id", "array")
    assert tags["clip_id"].tolist() == rows["clip_id"][::2].tolist()
    network = hub.load(hub.find(model), "tag", "sigmoid", torch.device("cpu"))
    first = next(
        open_recordings(DataDirectory(base / manifest.read(base / "tags")["paths"]["recordings"]).path).read(0)
    )
    halves = first.samples[0].reshape(2, 20_000)
    np.testing.assert_allclose(tags["array"][0], np.mean([network(half) for half in halves], 0), atol=1e-3)


def test_what_holds_other_labels_is_not_taken_for_the_same(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(base / "waves", tmp_path / "waves")
    words = ("extract", tmp_path / "waves", tmp_path / "tags", "--model", f"hf:{base / 'ast'}", "--kind", "tag")
    asctool(*words, "--quiet")
    tables = Store(tmp_path / "waves").tables
    first, *others = tables.clips
    corrected = replace(tables, clips=(replace(first, labels=others[-1].labels), *others))
    assert corrected != tables and update_tables(tmp_path / "waves", corrected, "featurize")
    capsys.readouterr()
    assert code(*words) == 2
    assert "was made with other options (content of tables: " in capsys.readouterr().err


def test_parts_and_a_whole_are_the_same(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "PART_BYTES", 5 * 4 * 40_000)
    words = ("--model", f"hf:{base / 'ast'}", "--kind", "tag", "--quiet")
    for number in (2, 1):
        asctool("extract", corpus / "data", tmp_path / "tags", *words, "--part", f"{number}/2")
    told = manifest.read(tmp_path / "tags")
    assert len(told["shards"]) == math.ceil(24 / 5)
    assert told["content"] == manifest.read(base / "tags")["content"]


def test_embeddings_are_means_over_time_where_the_network_pools_nothing(corpus: Path, tmp_path: Path) -> None:
    folder = save_wav2vec2(tmp_path / "wav2vec2", "Wav2Vec2Model")
    words = ("--model", f"hf:{folder}", "--kind", "embedding", "--quiet")
    asctool("extract", corpus / "data", tmp_path / "out", *words)
    found = Store(tmp_path / "out").columns("array")["array"]
    (samples,) = next(open_recordings(corpus / "data").read(0)).samples
    normal = torch.from_numpy((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7))
    network = transformers.Wav2Vec2Model.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = network(normal[None]).last_hidden_state.mean(1)[0].numpy()
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_a_network_of_another_kind_tags_too(corpus: Path, tmp_path: Path) -> None:
    folder = save_wav2vec2(tmp_path / "wav2vec2", "Wav2Vec2ForSequenceClassification")
    words = ("--model", f"hf:{folder}", "--kind", "tag", "--activation", "softmax", "--quiet")
    asctool("extract", corpus / "data", tmp_path / "out", *words)
    store = Store(tmp_path / "out")
    np.testing.assert_allclose(store.columns("array")["array"].sum(1), 1, atol=1e-5)
    assert store.manifest["labels"] == ["LABEL_0", "LABEL_1"]


@pytest.mark.parametrize(
    ("problem", "asked", "expected", "is_told"),
    [
        ("multi_label_classification", "auto", "sigmoid", False),
        ("single_label_classification", "auto", "softmax", False),
        (None, "auto", "softmax", True),
        (None, "sigmoid", "sigmoid", False),
        ("multi_label_classification", "softmax", "softmax", False),
    ],
)
def test_the_configuration_says_whether_labels_exclude_each_other(
    problem: str | None, asked: str, expected: str, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    from asctool.training.hub import Found

    found = Found("a", Path("a"), {} if problem is None else {"problem_type": problem}, "", "")
    with caplog.at_level(logging.WARNING, "asctool"):
        assert found.activation(asked) == expected
    assert ("give --activation sigmoid" in caplog.text) == is_told


def test_a_lower_rate_is_warned_of(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = base / manifest.read(base / "tags")["paths"]["recordings"]
    options = ("--type", "waveform", "--set", "sample_rate=8000", "--jobs", 1, "--quiet")
    asctool("featurize", data, tmp_path / "low", *options)
    capsys.readouterr()
    asctool("extract", tmp_path / "low", tmp_path / "tags", "--model", f"hf:{base / 'ast'}", "--kind", "tag")
    assert "it hears nothing above 4000 Hz" in capsys.readouterr().err


def test_a_folder_never_asks_the_network(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("socket.socket.connect", lambda *given: asked.append(given))
    monkeypatch.setattr("socket.getaddrinfo", lambda *given, **more: asked.append(given) or [])
    data = base / manifest.read(base / "tags")["paths"]["recordings"]
    asctool("extract", data, tmp_path / "tags", "--model", f"hf:{base / 'ast'}", "--kind", "tag", "--quiet")
    assert asked == []


def test_a_name_is_fetched_once(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub

    from asctool.training import hub

    asked = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(base / "ast")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert hub.find("hf:somebody/ast").folder == base / "ast"
    assert asked == [("somebody/ast", ["*.json", "*.safetensors"])]

    def fail(name: str, allow_patterns: list[str]) -> str:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    data = base / manifest.read(base / "tags")["paths"]["recordings"]
    assert code("extract", data, tmp_path / "out", "--model", "hf:somebody/ast", "--kind", "tag") == 4
    err = capsys.readouterr().err
    assert "could not be fetched from Hugging Face (no route to host)" in err and err.count("\n") == 1


def test_without_the_extra_the_remedy_is_named(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    data = base / manifest.read(base / "tags")["paths"]["recordings"]
    assert code("extract", data, tmp_path / "out", "--model", f"hf:{base / 'ast'}", "--kind", "tag") == 4
    err = capsys.readouterr().err
    assert "pip install 'asctool[hub]'" in err and err.count("\n") == 1


class Bomb:
    """A pickle that would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def hostile(base: Path, out: Path) -> dict[str, Path]:
    """Folders that would run code: by a pickle in the place of weights, and by a module of their own."""
    pickled, remote = (shutil.copytree(base / "ast", out / name) for name in ("pickled", "remote"))
    (pickled / "model.safetensors").unlink()
    torch.save(Bomb(out / "ran"), pickled / "pytorch_model.bin")
    config = json.loads((remote / "config.json").read_bytes())
    module = {"AutoConfig": "theirs.Config", "AutoModelForAudioClassification": "theirs.Network"}
    (remote / "config.json").write_text(json.dumps({**config, "model_type": "theirs", "auto_map": module}))
    (remote / "theirs.py").write_text(f"from pathlib import Path\nPath({str(out / 'ran')!r}).touch()\n")
    return {"pickled": pickled, "remote": remote}


def test_nothing_of_a_model_is_run_as_code(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = base / manifest.read(base / "tags")["paths"]["recordings"]
    for name, folder in hostile(base, tmp_path).items():
        capsys.readouterr()
        assert code("extract", data, tmp_path / "out", "--model", f"hf:{folder}", "--kind", "tag") == 3, name
        err = capsys.readouterr().err
        assert f"{folder}: cannot be loaded" in err and "Traceback" not in err
        assert not (tmp_path / "ran").exists()


def bad(base: Path, data: Path, run_: Path, out: Path) -> dict[str, tuple[int, str, list[object]]]:
    def words(model: object, *more: object, kind: str = "tag", source: Path = data) -> list[object]:
        return ["extract", source, out / "out", "--model", model, "--kind", kind, *more]

    own = f"hf:{base / 'ast'}"
    bare = save_wav2vec2(out / "bare", "Wav2Vec2Model")
    numbers = save_ast(out / "numbers", problem_type="regression")
    cut, silent, odd = (shutil.copytree(base / "ast", out / name) for name in ("cut", "silent", "odd"))
    (cut / "model.safetensors").write_bytes((base / "ast" / "model.safetensors").read_bytes()[:5000])
    (silent / "preprocessor_config.json").write_text('{"feature_extractor_type": "CLIPFeatureExtractor"}')
    (odd / "config.json").write_text("[]")
    return {
        "no such folder": (3, "there is no such folder", words("hf:/nowhere/ast")),
        "an empty folder": (3, "is no model of Hugging Face", words(f"hf:{data}")),
        "no prefix": (2, "give hf: and a folder or a name", words(base / "ast")),
        "no classes": (3, "has no classes of its own", words(f"hf:{bare}", "--activation", "sigmoid")),
        "numbers": (3, "gives numbers, not classes", words(f"hf:{numbers}")),
        "cut weights": (3, "cannot be loaded", words(f"hf:{cut}")),
        "cut weights, embedding": (3, "cannot be loaded", words(f"hf:{cut}", kind="embedding")),
        "no extractor of sound": (3, "cannot be loaded", words(f"hf:{silent}")),
        "an odd configuration": (3, "cannot be read", words(f"hf:{odd}")),
        "posteriors": (2, "gives embedding or tag", words(own, kind="posterior")),
        "another activation": (2, "give auto, sigmoid, softmax", words(own, "--activation", "tanh")),
        "features": (3, "where 'data' or 'waveform' is needed", words(own, source=data.parent / "logmel")),
        "a run too": (2, "give recordings and the output, no run", ["extract", run_, *words(own)[1:]]),
        "of runs": (2, "--tags, --subset is for a run", words(own, "--tags", base / "tags", "--subset", "test")),
        "no run": (2, "give a run, features and the output", ["extract", data, out / "out", "--kind", "tag"]),
    }


def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    base: Path, corpus: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for case, (expected, words, command) in bad(base, corpus / "data", trained, tmp_path).items():
        capsys.readouterr()
        got = code(*command, "--quiet")
        err = capsys.readouterr().err
        assert got == expected and words in err and "Traceback" not in err and err.count("\n") == 1, (case, got, err)
        assert not (tmp_path / "out" / "manifest.json").exists(), case


def test_a_dry_run_tells_the_size_and_writes_nothing(
    base: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", f"hf:{base / 'ast'}", "--kind", "embedding", "--dry-run")
    assert code("extract", corpus / "data", tmp_path / "out", *words) == 0
    assert "extract would write an embedding store; about" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert code("extract", corpus / "data", base / "tags", *words[:2], "--kind", "tag") == 0  # it is there

"""What is fuzzed: a function a kind, which makes an input and reads it as the stages do."""

import copy
import functools
import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from asctool import models, registry
from asctool.corpora import table as table_corpus
from asctool.errors import IntegrityError, UsageError
from asctool.stages import augment, denoise, featurize, prep, svm, train
from asctool.stages.info import info, readable
from asctool.stages.verify import verify
from asctool.storage import arrays, atomic, audio, bundle, data_directory, locks, manifest, posteriors, settings
from asctool.storage.bundle import Bundle, Step
from asctool.storage.data_directory import DataDirectory
from asctool.storage.dataset import Clip, FoldRow, Tables
from asctool.storage.manifest import Recipe
from asctool.storage.run import MODEL, RunWriter, check_archive
from asctool.storage.shards import encode_shard
from asctool.storage.store import Store, write_rows
from asctool.storage.tables import read_table
from soak.mutations import VALUES, Generator, damaged, replaced

SECONDS = 0.3  # of a sound
FORMATS = {  # by file name: libsndfile's format and subtype
    "pcm16.wav": ("WAV", "PCM_16"),
    "pcm24.wav": ("WAV", "PCM_24"),
    "float.wav": ("WAV", "FLOAT"),
    "ulaw.wav": ("WAV", "ULAW"),
    "ms_adpcm.wav": ("WAV", "MS_ADPCM"),
    "ima_adpcm.wav": ("WAV", "IMA_ADPCM"),
    "wavex.wav": ("WAVEX", "PCM_16"),
    "rf64.wav": ("RF64", "PCM_16"),
    "pcm16.w64": ("W64", "PCM_16"),
    "pcm16.aiff": ("AIFF", "PCM_16"),
    "pcm16.caf": ("CAF", "PCM_16"),
    "alac.caf": ("CAF", "ALAC_16"),
    "pcm16.au": ("AU", "PCM_16"),
    "pcm16.flac": ("FLAC", "PCM_16"),
    "pcm24.flac": ("FLAC", "PCM_24"),
    "vorbis.ogg": ("OGG", "VORBIS"),
    "opus.ogg": ("OGG", "OPUS"),
    "layer3.mp3": ("MP3", "MPEG_LAYER_III"),
}
CLASSES = ("a", "b", "c")
SMALL = {"filters": [2, 2, 2], "conv_dropout": 0.25}
Files = dict[str, bytes]


def prepare() -> None:
    """Make all that cases are damaged from, before memory is limited."""
    _sounds()
    _artifacts()
    _states()


# Audio


@functools.cache
def _sounds() -> Files:
    """A short sound in every format."""
    import soundfile

    rng = np.random.default_rng(0)
    found = {}
    for name, (form, subtype) in FORMATS.items():
        rate = 48000 if subtype == "OPUS" else 16000
        buffer = io.BytesIO()
        soundfile.write(buffer, rng.normal(size=(int(SECONDS * rate), 2)) / 8, rate, format=form, subtype=subtype)
        found[name] = buffer.getvalue()
    return found


def sound(rng: Generator, folder: Path, suffixes: tuple[str, ...]) -> None:
    """A damaged recording: inspected, and read where that found nothing amiss."""
    sounds = {name: data for name, data in _sounds().items() if name.endswith(suffixes)}
    name = _one_of(list(sounds), rng)
    path = folder / name
    path.write_bytes(damaged(sounds[name], list(_sounds().values()), rng))
    facts = audio.inspect(path, 600)
    samples, rate = audio.read(path)
    if samples.shape != (facts.channels, facts.frames) or rate != facts.sample_rate or not np.isfinite(samples).all():
        raise RuntimeError(f"inspected {facts}, read {samples.shape} at {rate} Hz")


# Artifacts


@functools.cache
def _tables() -> Tables:
    clips = tuple(Clip(f"clip {i}", f"{i}.wav", (CLASSES[i % 3],), f"group {i}", 1.0) for i in range(6))
    folds = [
        FoldRow(fold, clip.clip_id, "test" if i % 2 == fold - 1 else "train")
        for fold in (1, 2)
        for i, clip in enumerate(clips)
    ]
    return Tables(clips, tuple(folds), CLASSES)


def _columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    clip_ids = np.repeat([clip.clip_id for clip in _tables().clips], 2)
    return {
        "clip_id": clip_ids,
        "start": np.tile([0.0, 0.5], 6),
        "array": rng.normal(size=(12, 1, 64, 4)).astype(np.float32),
    }


def _posterior_columns() -> dict[str, np.ndarray]:
    posterior = np.random.default_rng(0).dirichlet(np.ones(3), 12).astype(np.float32)
    fixed = {"fold": np.full(12, 1, np.int32), "subset": np.tile(["train", "test"], 6), "system": np.full(12, "s")}
    return {**_columns(), "array": posterior, **fixed}


@functools.cache
def _artifacts() -> dict[str, Files]:
    """The files of an artifact of each kind, whole."""
    with tempfile.TemporaryDirectory(prefix="asctool-fuzz-") as name:
        base = Path(name)
        for kind in ("feature", "posterior", "data", "run"):
            with locks.writer_lock(base / kind):
                _WRITERS[kind](base / kind)
        return {kind: _read(base / kind) for kind in _WRITERS}


def _write_feature(path: Path) -> None:
    files = {"svm.h5": arrays.encode({"w": np.ones(3)})}
    write_rows(path, Recipe("feature", "featurize", 1, {"type": "logmel"}, {}), _tables(), _columns(), files)


def _write_posterior(path: Path) -> None:
    more = {"level": "segment", "systems": ["s"], "fold": 1, "protocol": {"s": {"select": "last"}}}
    write_rows(path, Recipe("posterior", "svm", 1, {"kernel": "linear"}, {}), _tables(), _posterior_columns(), **more)


def _write_data(path: Path) -> None:
    files = {clip.path: {"sha256": "0" * 64, "sample_rate": 16000, "channels": 1} for clip in _tables().clips}
    recipe = Recipe("data", "prep", 1, {"corpus": "folder"}, {})
    data_directory.write(path, recipe, _tables(), {"name": "x", "seconds": 6.0, "files": files})


def _write_run(path: Path) -> None:
    from asctool.training import checkpoint

    state, recipe = _states()["model"], Recipe("run", "train", 1, _run_config(), {})
    data = checkpoint.encode({**state, "description": json.dumps(state["description"])})
    protocol = state["description"]["protocol"]
    RunWriter(path, recipe).finish(data, {"history.csv": b"epoch\n1\n"}, content="0" * 64, protocol=protocol)


_WRITERS = {"feature": _write_feature, "posterior": _write_posterior, "data": _write_data, "run": _write_run}


def _read(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != locks.LOCK}


def _put(files: Mapping[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def _use(kind: str, folder: Path) -> None:
    """All that stages take from an artifact."""
    readable(info(folder))
    verify(folder)
    if kind == "data":
        data = DataDirectory(folder)
        for clip in data.tables.clips:
            data.audio_hash(clip), data.sample_rate(clip), data.channels(clip)
        data.content()
    elif kind == "posterior":
        posteriors.load([folder])
    elif kind == "feature":
        store = Store(folder, "feature")
        store.columns("clip_id", "start", "array", "target", "subset")
        store.tables.targets(store.tables.by_id)
        store.read_file("svm.h5")


def damaged_artifact(rng: Generator, folder: Path) -> None:
    """One file of an artifact damaged: refused, whatever it is."""
    kind = _one_of(list(_artifacts()), rng)
    files = dict(_artifacts()[kind])
    name = _one_of(sorted(files), rng)
    whole = files[name]
    files[name] = damaged(whole, list(files.values()), rng)
    _put(files, folder)
    if files[name] == whole:
        raise UsageError("nothing was damaged")
    try:
        _use(kind, folder)
    except IntegrityError:
        raise
    raise RuntimeError(f"{kind}: {name} is damaged, and was read")


def crafted_artifact(rng: Generator, folder: Path) -> None:
    """One file damaged, and its hash made right; or values of the manifest replaced."""
    kind = _one_of(list(_artifacts()), rng)
    files = dict(_artifacts()[kind])
    _put(files, folder)
    found = manifest.read(folder)
    if rng.random() < 0.4:
        found = replaced(found, rng)
    else:
        name = _one_of([name for name in sorted(files) if name != manifest.NAME], rng)
        data = damaged(files[name], list(files.values()), rng)
        (folder / name).write_bytes(data)
        for entry in found.get("shards", []):
            if entry["file"] == name:
                entry["sha256"] = atomic.sha256(data)
        if name in found["files"]:
            found["files"][name] = atomic.sha256(data)
    _write_manifest(folder, found)
    _use(kind, folder)


def _write_manifest(folder: Path, found: Any) -> None:
    try:
        manifest.write(folder, found)
    except (ValueError, UnicodeEncodeError) as error:  # what no file of JSON can hold
        raise UsageError("no such manifest") from error


def hdf5(rng: Generator, folder: Path) -> None:
    """Damaged HDF5 that nothing refuses before HDF5 sees it."""
    data = encode_shard(_columns() if rng.random() < 0.5 else _posterior_columns())
    for column in arrays.decode(damaged(data, [data], rng)).values():
        column.sum() if column.dtype.kind != "S" else column.tobytes()


# Weights and checkpoints


def _run_config() -> dict[str, Any]:
    return {"model": "cnn", "fold": 1, "classes": list(CLASSES), "network": SMALL, "training": {}, "features": {}}


@functools.cache
def _states() -> dict[str, Any]:
    """What a training saves, taken apart."""
    from asctool.models._layers import InputShape

    trainer = _trainer()
    row = {"loss": trainer.run_epoch().loss, "accuracy": 0.5, "learning_rate": 0.01, "seconds": 0.1}
    progress = {"history": [{"epoch": 1, **row}], "best": -1.0, "best_epoch": 0, "best_weights": None}
    described = {
        "shape": vars(InputShape(1, 64, 4)),
        "normalization": {"mean": [0.0], "deviation": [1.0]},
        "protocol": {"select": "last", "epoch": 1, "epochs": 1, "monitored": ["train"]},
        "config": _run_config(),
    }
    return {
        "model": {"weights": trainer.network.state_dict(), "description": described},
        "checkpoint": {"trainer": trainer.state(), "progress": progress, "threads": 1},
    }


def _trainer() -> Any:
    import torch

    from asctool.models._layers import InputShape
    from asctool.training.examples import Examples, normalization_of
    from asctool.training.settings import Settings
    from asctool.training.trainer import Trainer

    torch.manual_seed(0)
    network = models.build("cnn", SMALL, InputShape(1, 64, 4), len(CLASSES))
    array = _columns()["array"]
    rows = Examples(array, np.eye(3, dtype=np.float32)[np.arange(12) % 3], np.arange(12))
    made = Settings(epochs=3, batch_size=6, learning_rate=0.01, precision="float32")
    return Trainer(network, rows, normalization_of(array), made, torch.device("cpu"))


def _tensors(rng: Generator) -> list[Any]:
    """Values that only a checkpoint can hold."""
    import torch

    return [
        *(torch.zeros(3), torch.zeros(()), torch.zeros(0), torch.full((2,), float("nan")), torch.ones(2, 2).bool()),
        *(torch.zeros(()).expand(1 << 40), torch.arange(3), torch.zeros(2, 1, 5, 5).double()),
        *(
            torch.ones(3).to_sparse(),
            torch.empty(2, device="meta"),
            torch.zeros(2, dtype=torch.complex64),
            torch.full((), 1e30),
            (1, 2),
        ),
    ]


def _crafted_bytes(state: dict[str, Any], rng: Generator, encode: Callable[[Any], bytes]) -> bytes:
    """A state with values replaced, or its bytes damaged."""
    if rng.random() < 0.5:
        return encode(replaced(state, rng, [*VALUES, *_tensors(rng)]))
    data = encode(state)
    return damaged(data, [data], rng)


def weights(rng: Generator, folder: Path) -> None:
    """A ``model.pt`` that is damaged or crafted, its hash being right; one that is accepted must compute."""
    import torch

    from asctool.training import checkpoint, inference, loading

    def encode(state: dict[str, Any]) -> bytes:
        description = state.get("description")
        text = json.dumps(description, default=str) if isinstance(description, dict) else description
        return checkpoint.encode({**state, "description": text} if "description" in state else state)

    data = _crafted_bytes(_states()["model"], rng, encode)
    check_archive(folder / MODEL, data)
    trained = loading.load(data, folder / MODEL)
    rows = np.zeros((2, *trained.shape.row), np.float32)
    inference.compute(trained.network, rows, trained.normalization, "posterior", torch.device("cpu"))


def checkpoints(rng: Generator, folder: Path) -> None:
    """A checkpoint that is damaged or crafted, its hash being right; from one that is accepted training goes on."""
    import torch

    from asctool.training import checkpoint, resuming

    data = _crafted_bytes(_states()["checkpoint"], rng, checkpoint.encode)
    writer = RunWriter(folder, Recipe("run", "train", 1, {}, {}))
    writer.checkpoint(1, data)
    found = writer.last_checkpoint()
    assert found == data
    trainer = _trainer()
    resuming.restore(trainer, checkpoint.decode(found, torch.device("cpu")))
    trainer.run_epoch()


# Bundles


@functools.cache
def _bundle() -> Bundle:
    """Two networks and what joins them."""
    from asctool.features.logmel import Config

    told = {"type": "logmel", "sample_rate": 16000, "segment_frames": 4, "delta": False}
    described = copy.deepcopy(_states()["model"]["description"])
    described["config"] |= {"features": told | settings.as_dict(Config()), "training": {"precision": "float32"}}
    steps = [Step("network", name, network=number, fold=1) for number, name in enumerate("ab")]
    joined = Step("fuse", "both", of=(0, 1), rule="product", level="clip")
    arrays = {
        f"network/{number}/{name}": value.numpy()
        for number in range(2)
        for name, value in _states()["model"]["weights"].items()
    }
    return Bundle(CLASSES, (described, described), (*steps, joined), (2,), arrays, {"asctool": "0"})


def bundles(rng: Generator, folder: Path) -> None:
    """A bundle that is damaged or crafted, its seal being right; one that is accepted must hear."""
    from asctool.training.predictor import Predictor

    whole = bundle.encode(_bundle())
    if rng.random() < 0.5:
        body = damaged(whole[: -bundle.SEAL_BYTES], [whole], rng)
    else:
        size = int.from_bytes(whole[:8], "little")
        header = json.loads(whole[8 : 8 + size])
        described = json.loads(header[bundle.METADATA][bundle.DESCRIPTION])
        if rng.random() < 0.8:
            described = replaced(described, rng)
        else:
            header = replaced(header, rng)
        if isinstance(header.get(bundle.METADATA), dict):
            header[bundle.METADATA][bundle.DESCRIPTION] = json.dumps(described)
        text = json.dumps(header).encode()
        body = len(text).to_bytes(8, "little") + text + whole[8 + size : -bundle.SEAL_BYTES]
    path = folder / "model.bundle"
    path.write_bytes(body + hashlib.sha256(body).digest())
    info(path)
    found = Predictor(bundle.read(path), "cpu")
    found.hear([(np.zeros((1, 16000), np.float32), 16000, True)])


# Tables and settings


TABLE = "\n".join(
    (
        "clip_id,path,label,group,fold,split,start,end",
        "one,a.wav,dog,g1,1,train,0,1",
        'two,b.wav,"cat;dog",g2,1,test,0.5,',
        'three,c.wav,"say ""miau""",g3,2,train,,\n',
    )
)
WORDS = (
    *("=1+1", "NA", "007", "..", "/etc/passwd", "a/b", "$(id)", "nan", "-1", "1e400", "\ufeff", "ä", "a\u0308", ""),
    "x" * 200,
)


def tables(rng: Generator, folder: Path) -> None:
    """A table that somebody wrote."""
    for name in "abc":
        (folder / f"{name}.wav").write_bytes(b"")
    text = TABLE.replace(",", _one_of([",", ",", "\t", ";"], rng))
    for _ in range(int(rng.integers(3))):
        words = text.split(",")
        words[int(rng.integers(len(words)))] = _one_of(WORDS, rng)
        text = ",".join(words)
    data = text.encode(_one_of(["utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig"], rng))
    path = folder / "table.csv"
    path.write_bytes(damaged(data, [data], rng) if rng.random() < 0.7 else data)
    read_table(path)
    table_corpus.read(path, table_corpus.Config())


CONFIGURATORS: dict[str, Callable[[Generator, dict[str, Any]], Any]] = {
    "prep": lambda rng, v: prep.configure(_one_of(registry.names("corpora"), rng), v),
    "denoise": lambda rng, v: denoise.configure(v),
    "featurize": lambda rng, v: featurize.configure(_one_of(registry.names("features"), rng), v),
    "augment": lambda rng, v: augment.configure(_one_of(registry.names("transforms"), rng), v),
    "train": lambda rng, v: train.configure(_one_of(registry.names("models"), rng), v),
    "svm": lambda rng, v: svm.configure(_one_of(["linear", "rbf", "sigmoid"], rng), v),
}


def configurations(rng: Generator, folder: Path) -> None:
    """A preset with values replaced or its text damaged, and overrides after it."""
    stage = _one_of(list(CONFIGURATORS), rng)
    path = folder / "own.toml"
    presets = sorted(settings.PRESETS.glob("*.toml"))
    text = _one_of(presets, rng).read_bytes()
    path.write_bytes(damaged(text, [preset.read_bytes() for preset in presets], rng) if rng.random() < 0.5 else text)
    given = settings.read_section(str(path), stage)
    names = [*given, *_known(stage, rng), "x"]
    overrides = [f"{_one_of(names, rng)}={_setting(rng)}" for _ in range(int(rng.integers(4)))]
    CONFIGURATORS[stage](rng, {**given, **settings.parse_overrides(overrides)})


def _known(stage: str, rng: Generator) -> list[str]:
    """Names of settings that a stage knows, from what it says to one that it does not."""
    try:
        CONFIGURATORS[stage](rng, {"no such setting": 1})
    except UsageError as error:
        return str(error).rpartition("known: ")[2].removesuffix(")").split(", ")
    return []


def _setting(rng: Generator) -> str:
    plain = ("0", "-1", "1", "2", "1e400", "nan", "inf", "true", "none", "[]", "[1]", "[0, 0, 0]", "{}", "1979-01-01")
    odd = ("[[[", "99999999999999999999", "-0.0", "1e-320", "[1, 'a']", "\x00", "=", "a=b", "0x10", "[" * 2000)
    return _one_of(plain if rng.random() < 0.7 else odd, rng)


def _one_of(choices: Any, rng: Generator) -> Any:
    return choices[int(rng.integers(len(choices)))]


KINDS: dict[str, Callable[[Generator, Path], None]] = {
    "wav": functools.partial(sound, suffixes=(".wav",)),
    "ogg": functools.partial(sound, suffixes=(".ogg",)),
    "flac": functools.partial(sound, suffixes=(".flac",)),
    "other audio": functools.partial(sound, suffixes=(".mp3", ".aiff", ".caf", ".au", ".w64")),
    "damaged artifact": damaged_artifact,
    "crafted artifact": crafted_artifact,
    "hdf5": hdf5,
    "weights": weights,
    "checkpoint": checkpoints,
    "bundle": bundles,
    "table": tables,
    "configuration": configurations,
}

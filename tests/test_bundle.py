"""Bundles: equal bytes for equal content, another reader's view of them, and what hostile bytes come to."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import asctool

from asctool.cli import run
from asctool.errors import AsctoolError, DataError, IntegrityError
from asctool.storage import bundle
from asctool.storage.bundle import Bundle, Step

LEAVES = (Step("network", "a", network=0, fold=1), Step("network", "b", network=0, fold=1))
FUSED = Step("fuse", "both", of=(0, 1), rule="product", level="clip")


def made(**other: object) -> Bundle:
    values = {
        "classes": ("dog", "rain"),
        "networks": ({"config": {"model": "cnn"}, "dataset": {"name": "esc10", "licence": "CC BY 3.0"}},),
        "steps": (*LEAVES, FUSED),
        "results": (2,),
        "arrays": {
            "network/0/weight": np.arange(6, dtype=np.float32).reshape(2, 3),
            "network/0/count": np.array(7),
            "svm/1/seen": np.array([True, False]),
            "svm/1/mean": np.zeros((0, 4)),
        },
        "made_by": {"asctool": "0"},
    }
    return Bundle(**{**values, **other})  # type: ignore[arg-type]


def sealed(header: dict[str, object], body: bytes = b"") -> bytes:
    """A file of that header whose seal is right, as a forger would make it."""
    entries = dict(header)
    entries.setdefault("sha256", {"dtype": "U8", "shape": [32], "data_offsets": [len(body), len(body) + 32]})
    text = json.dumps(entries).encode()
    whole = len(text).to_bytes(8, "little") + text + body
    return whole + hashlib.sha256(whole).digest()


def header_of(data: bytes) -> dict[str, dict[str, object]]:
    return dict(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]))


def with_description(**changes: object) -> bytes:
    """A whole file in whose description some entries are others."""
    data = bundle.encode(made(arrays={}))
    described = json.loads(str(header_of(data)["__metadata__"]["asctool"]))
    return sealed({"__metadata__": {"asctool": json.dumps({**described, **changes})}})


def test_what_is_read_is_what_was_written() -> None:
    written = made()
    found = bundle.decode(bundle.encode(written))
    assert (found.classes, found.networks, found.steps, found.results) == (
        written.classes,
        written.networks,
        written.steps,
        written.results,
    )
    assert found.arrays.keys() == written.arrays.keys()
    for name, value in written.arrays.items():
        assert found.arrays[name].dtype == value.dtype
        np.testing.assert_array_equal(found.arrays[name], value)


def test_the_order_of_arrays_does_not_change_the_bytes() -> None:
    turned = dict(reversed(made().arrays.items()))
    assert bundle.encode(made(arrays=turned)) == bundle.encode(made())


def test_the_file_is_one_of_safetensors() -> None:
    """Read by that format's own words: 8 bytes, a header of names, arrays without gaps to the end of the file."""
    data = bundle.encode(made())
    length = int.from_bytes(data[:8], "little")
    header = header_of(data)
    assert all(isinstance(value, str) for value in header.pop("__metadata__").values())
    assert (8 + length) % 8 == 0
    spans = sorted(tuple(entry["data_offsets"]) for entry in header.values())  # type: ignore[arg-type]
    assert [first for first, _ in spans] == [0, *(end for _, end in spans[:-1])]
    assert 8 + length + spans[-1][1] == len(data)
    first, end = header["network/0/weight"]["data_offsets"]  # type: ignore[misc]
    np.testing.assert_array_equal(np.frombuffer(data[8 + length + first : 8 + length + end], "<f4"), np.arange(6))


def test_licences_of_all_training_data_are_told() -> None:
    other = {"config": {}, "dataset": {"name": "mine", "licence": ""}}
    assert made(networks=(made().networks[0], other, other)).datasets == [
        {"licence": "CC BY 3.0", "name": "esc10"},
        {"licence": "", "name": "mine"},
    ]


def test_every_flipped_bit_and_every_cut_is_refused() -> None:
    data = bundle.encode(made())
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), 400):
        broken = bytearray(data)
        broken[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(AsctoolError):
            bundle.decode(bytes(broken))
    for length in range(0, len(data), 7):
        with pytest.raises(IntegrityError, match="bundle"):
            bundle.decode(data[:length])


def test_random_bytes_are_refused_by_an_error_of_ours() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        data = rng.integers(0, 256, int(rng.integers(0, 300)), np.uint8).tobytes()
        with pytest.raises(IntegrityError):
            bundle.decode(data)
        with pytest.raises(IntegrityError):
            bundle.decode((60).to_bytes(8, "little") + data)


ARRAYS = {
    "more than there is": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]},
    "another size than its shape": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
    "a gap": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
    "a negative size": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]},
    "no number": {"dtype": "F32", "shape": ["2"], "data_offsets": [0, 8]},
    "objects": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]},
    "nothing": {},
    "no entry": None,
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_promise_what_is_not_there_are_refused(case: str) -> None:
    meta = {"__metadata__": header_of(bundle.encode(made(arrays={})))["__metadata__"]}
    with pytest.raises(IntegrityError, match="no bundle that asctool wrote"):
        bundle.decode(sealed({**meta, "network/0/weight": ARRAYS[case]}, bytes(8)))


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(IntegrityError, match="holds what is no number"):
        bundle.decode(bundle.encode(made(arrays={"network/0/weight": np.array([np.nan])})))


@pytest.mark.parametrize(
    "name", ["foo", "network/1", "network/x/y", "network/7/weight", "svm/9/a", "svm/-1/a", "a/0/b"]
)
def test_arrays_that_belong_to_nothing_are_refused(name: str) -> None:
    with pytest.raises(IntegrityError, match="no bundle that asctool wrote"):
        bundle.decode(bundle.encode(made(arrays={name: np.zeros(2)})))


STEPS = {
    "a step before itself": [{"do": "fuse", "system": "x", "of": [0]}],
    "a step used twice": [
        {"do": "network", "system": "x", "network": 0},
        {"do": "fuse", "system": "y", "of": [0, 0]},
    ],
    "a network that is not there": [{"do": "network", "system": "x", "network": 3}],
    "an svm without a kernel": [{"do": "svm", "system": "x", "network": 0}],
    "something else to do": [{"do": "exec", "system": "x", "network": 0}],
    "a fold that is a text": [{"do": "network", "system": "x", "network": 0, "fold": "1"}],
    "many steps": [{"do": "network", "system": "x", "network": 0}] * 10_001,
}


@pytest.mark.parametrize("case", STEPS)
def test_steps_that_lead_nowhere_are_refused(case: str) -> None:
    with pytest.raises(IntegrityError):
        bundle.decode(with_description(steps=STEPS[case], results=[len(STEPS[case]) - 1]))


def test_a_deep_or_foreign_description_is_refused() -> None:
    deep = '{"a":' * 100_000
    with pytest.raises(IntegrityError):
        bundle.decode(sealed({"__metadata__": {"asctool": deep}}))
    with pytest.raises(IntegrityError, match="reads 'asctool-bundle/1'"):
        bundle.decode(with_description(format="asctool-bundle/9"))
    with pytest.raises(IntegrityError, match="is no bundle"):
        bundle.decode(sealed({"__metadata__": {"format": "pt"}}))  # what another program wrote


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such run, result or bundle"):
        bundle.read(tmp_path / "none.asc")
    with pytest.raises(DataError, match="is no file"):
        bundle.read(Path("/dev/zero"))


def test_models_of_other_classes_are_not_joined() -> None:
    with pytest.raises(DataError, match="different classes"):
        bundle.joined([made(), made(classes=("cat", "rain"))])


def test_joined_bundles_keep_each_step_with_its_own() -> None:
    both = bundle.joined([made(), made()])
    assert both.results == (2, 5)
    assert both.steps[5].of == (3, 4) and both.steps[4].network == 1
    np.testing.assert_array_equal(both.part("network", 1)["weight"], made().part("network", 0)["weight"])
    assert bundle.decode(bundle.encode(both)).results == (2, 5)


def test_a_bundle_of_a_run_is_the_same_bytes_again(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asctool("bundle", trained, tmp_path / "one.asc")
    asctool("bundle", trained, tmp_path / "two.asc")
    assert (tmp_path / "one.asc").read_bytes() == (tmp_path / "two.asc").read_bytes()
    asctool("bundle", trained, tmp_path / "one.asc")
    err = capsys.readouterr().err
    assert "is there already" in err and "CC0 (made by asctool)" in err


def test_a_bundle_is_not_written_over_anything_else(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "letter.txt"
    other.write_text("dear")
    assert run(["bundle", str(trained), str(other)]) == 2
    assert run(["bundle", str(trained), str(tmp_path)]) == 2
    assert run(["bundle", str(trained), str(trained)]) == 2
    assert other.read_text() == "dear"
    assert "--force" in capsys.readouterr().err


def test_weights_that_do_not_fit_their_network_are_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A forger who seals what he changed."""
    asctool("bundle", trained, tmp_path / "model.asc")
    whole = bundle.read(tmp_path / "model.asc")
    forged = {
        "hidden": 10**9,
        "filters": [4, 8, 10**7],
        "attention_size": "64",
    }
    for name, value in forged.items():
        network = json.loads(json.dumps(whole.networks[0]))
        network["config"]["network"][name] = value
        bundle.write(
            tmp_path / "forged.asc", Bundle(whole.classes, (network,), whole.steps, whole.results, whole.arrays)
        )
        assert run(["predict", str(tmp_path), "--model", str(tmp_path / "forged.asc")]) == 5
    for name, value in {"sample_rate": 10**9, "n_bands": 10**9, "frame_seconds": 1e9, "segment_frames": 10**9}.items():
        network = json.loads(json.dumps(whole.networks[0]))
        network["config"]["features"][name] = value
        bundle.write(
            tmp_path / "forged.asc", Bundle(whole.classes, (network,), whole.steps, whole.results, whole.arrays)
        )
        assert run(["predict", str(tmp_path), "--model", str(tmp_path / "forged.asc")]) == 5, name
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("model", ["att_crnn", "cnn", "acrnn", "piczak_cnn", "raw_resnet", "tag_resnet"])
def test_onnx_gives_what_torch_gives(model: str) -> None:
    """onnxruntime on raw features, against the network on normalised ones; rows of any number."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra asctool[onnx] is not installed")
    import torch

    from asctool import models, registry
    from asctool.models._layers import InputShape
    from asctool.storage import settings
    from asctool.training import onnx_export

    small = {
        "att_crnn": {"filters": [4, 4, 8], "hidden": 6},
        "cnn": {"filters": [4, 4, 8]},
        "piczak_cnn": {"hidden": 20},
        "raw_resnet": {"filters": 4, "blocks": 3, "code": 6},
        "tag_resnet": {"width": 4, "hidden": 8},
    }
    module = registry.load("models", model)
    fields = {name: value for name, value in small.get(model, {}).items() if name in module.Config.__dataclass_fields__}
    config = settings.build(module.Config, fields)
    shapes = {"acrnn": (2, 128, 128), "piczak_cnn": (2, 60, 41), "raw_resnet": (2, 0, 4000)}
    shape = InputShape(*shapes.get(model, (2, 64, 80)))
    torch.manual_seed(0)
    network = models.build(model, config, shape, 3).eval()
    described = {
        "config": {
            "model": model,
            "network": settings.as_dict(config),
            "classes": ["a", "b", "c"],
            "training": {"loss": "bce" if model == "tag_resnet" else "kl"},
        },
        "shape": vars(shape),
        "normalization": {"mean": [-15.0, -16.0], "deviation": [5.0, 4.0]},
        "protocol": {},
    }
    arrays = {f"network/0/{name}": value.numpy() for name, value in network.state_dict().items()}
    data = onnx_export.export(Bundle(("a", "b", "c"), (described,), LEAVES[:1], (0,), arrays), 0)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    bands = [shape.bands] if shape.bands else []
    rows = rng.normal(-15, 5, (3, shape.channels, *bands, shape.frames)).astype(np.float32)
    ones = (2, *[1] * (rows.ndim - 2))
    mean, deviation = np.array([-15, -16]).reshape(ones), np.array([5, 4]).reshape(ones)
    with torch.inference_mode():
        logits = network(torch.from_numpy(((rows - mean) / deviation).astype(np.float32)))
        expected = (logits.sigmoid() if model == "tag_resnet" else logits.softmax(1)).numpy()
    output = "tag" if model == "tag_resnet" else "posterior"
    (found,) = session.run([output], {"features": rows})
    np.testing.assert_allclose(found, expected, atol=1e-5)
    told = {entry.key: json.loads(entry.value) for entry in _properties(data)}
    assert told["classes"] == ["a", "b", "c"] and told["shape"]["frames"] == shape.frames


def _properties(data: bytes):  # type: ignore[no-untyped-def]
    import onnx

    return onnx.load_from_string(data).metadata_props

"""The scorer: a known answer, and damage that is found before a model is used."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from baray.core import Fault, digest_bytes
from baray.serve.linear import load_linear
from baray.train.classifier.package import write_weights

# CRC-32 of "a", " a", "a ", "b": known values of the hash, low 16 bits.
BUCKETS = {"a": 0xE8B7BE43 & 0xFFFF, "b": 0x71BEEFF9 & 0xFFFF}


def write_model(folder: Path) -> dict[str, Path]:
    """A model with two buckets ("a" and "b") and two classes."""
    order = sorted(BUCKETS, key=BUCKETS.__getitem__)
    scale = {"a": 2.0, "b": 1.0}
    weights = {"a": (1.0, -1.0), "b": (0.0, 3.0)}
    digest = write_weights(
        folder / "model.safetensors",
        {
            "buckets": np.array([BUCKETS[gram] for gram in order], dtype=np.int32),
            "scale": np.array([scale[gram] for gram in order], dtype=np.float32),
            "weights": np.array([weights[gram] for gram in order], dtype=np.float32),
            "intercept": np.array([0.5, -0.5], dtype=np.float32),
        },
    )
    config = {
        "format": "baray-linear-text/1",
        "classes": ["x", "y"],
        "features": {"shortest": 1, "longest": 1, "bits": 16, "hash": "crc32-utf8-low-bits"},
        "review_below": 0.75,
        "weights": {"file": "model.safetensors", "digest": digest},
    }
    (folder / "model.json").write_text(json.dumps(config))
    return {name: folder / name for name in ("model.json", "model.safetensors")}


def test_known_answers(tmp_path):
    model = load_linear(write_model(tmp_path))
    # "a": row (1, 0): scores 0.5 + 1 and -0.5 - 1; softmax of a difference of 3.
    assert model.probabilities("A") == pytest.approx([0.9525741268224334, 0.04742587317756678], abs=1e-15)
    # "aab": tf 1 + ln 2 and 1, scaled 3.386294 and 1, norm 3.530862; a difference of 1 + 2 * 0.959056 - 3 * 0.283217.
    assert model.probabilities("aa b") == pytest.approx([0.8877997487647322, 0.11220025123526774], abs=1e-12)
    # Nothing that the model knows: the intercepts alone, a difference of 1.
    assert model.probabilities("?") == pytest.approx([0.7310585786300049, 0.2689414213699951], abs=1e-15)


def test_the_bytes_of_the_weights_are_known(tmp_path):
    write_model(tmp_path)
    data = (tmp_path / "model.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    assert len(data) == 8 + length + 4 * (2 + 2 + 4 + 2)
    assert digest_bytes(data) == "sha256:3c234ad18f5c645b0411251260fb168766b246c4f2b9cd15bacc23f88d21c215"


def test_every_changed_byte_is_found_and_the_file_named(tmp_path):
    files = write_model(tmp_path)
    data = files["model.safetensors"].read_bytes()
    for position in range(len(data)):
        files["model.safetensors"].write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(Fault, match=r"model\.safetensors") as caught:
            load_linear(files)
        assert caught.value.code == "damaged_model"


@pytest.mark.parametrize("length", [0, 4, 8, 40, -1])
def test_a_cut_file_is_found_even_under_its_own_digest(tmp_path, length):
    files = write_model(tmp_path)
    data = files["model.safetensors"].read_bytes()[:length]
    files["model.safetensors"].write_bytes(data)
    config = json.loads(files["model.json"].read_text())
    config["weights"]["digest"] = digest_bytes(data)
    files["model.json"].write_text(json.dumps(config))
    with pytest.raises(Fault, match=r"model\.safetensors"):
        load_linear(files)


def header_of(data: bytes) -> dict:
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length])


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("scale"),
        lambda header: header["scale"].update(dtype="F64"),
        lambda header: header["scale"].update(shape=[3]),
        lambda header: header["scale"].update(shape=[-2]),
        lambda header: header["scale"].update(data_offsets=[0, 8]),
        lambda header: header["weights"].update(data_offsets=[10**9, 10**9 + 16]),
        lambda header: header["weights"].update(data_offsets="x"),
        lambda header: header.update(more=header["scale"]),
    ],
)
def test_a_wrong_header_is_found_even_under_its_own_digest(tmp_path, change):
    files = write_model(tmp_path)
    data = files["model.safetensors"].read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = header_of(data)
    change(header)
    text = json.dumps(header).encode()
    forged = struct.pack("<Q", len(text)) + text + data[8 + length :]
    files["model.safetensors"].write_bytes(forged)
    config = json.loads(files["model.json"].read_text())
    config["weights"]["digest"] = digest_bytes(forged)
    files["model.json"].write_text(json.dumps(config))
    with pytest.raises(Fault, match=r"model\.safetensors"):
        load_linear(files)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other/1"},
        {"classes": ["x"]},
        {"classes": ["x", "x"]},
        {"classes": ["x", 3]},
        {"classes": ["x", "y", "z"]},
        {"features": {}},
        {"features": {"shortest": 1, "longest": 99, "bits": 16, "hash": "crc32-utf8-low-bits"}},
        {"features": {"shortest": 1, "longest": 1, "bits": 8, "hash": "crc32-utf8-low-bits"}},
        {"features": {"shortest": 1, "longest": 1, "bits": 16, "hash": "md5"}},
        {"features": {"shortest": True, "longest": 1, "bits": 16, "hash": "crc32-utf8-low-bits"}},
        {"review_below": 2},
        {"weights": None},
    ],
)
def test_a_wrong_config_is_found(tmp_path, change):
    files = write_model(tmp_path)
    config = json.loads(files["model.json"].read_text()) | change
    files["model.json"].write_text(json.dumps(config))
    with pytest.raises(Fault) as caught:
        load_linear(files)
    assert caught.value.code == "damaged_model"


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_config_that_is_no_object_is_found(tmp_path, text):
    files = write_model(tmp_path)
    files["model.json"].write_text(text)
    with pytest.raises(Fault, match=r"model\.json"):
        load_linear(files)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_missing_file_is_named(tmp_path, name):
    files = write_model(tmp_path)
    files[name].unlink()
    with pytest.raises(Fault, match=name):
        load_linear(files)
    del files[name]
    with pytest.raises(Fault, match=name):
        load_linear(files)

"""What a folder from elsewhere may hold: pickles, code and hostile headers are refused, whatever their names."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
from lm_tokens import mounted

from baray.core import Refused
from baray.runs import AttemptContext
from baray.train import check_files
from baray.train.imported.handler import take
from baray.train.imported.layout import read_sizes, tensors_of
from engine_models import STRETCHES

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 16, "hidden_size": 8, "head_dim": 4,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 8,
    "max_position_embeddings": 32, "tie_word_embeddings": True,
}  # fmt: skip


def safetensors(tensors: dict[str, list[int]], *, more: dict | None = None, tail: bytes = b"") -> bytes:
    """A file of zeros in F32, with entries of the header replaced by `more`."""
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 4
        for one in shape:
            size *= one
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header | (more or {})).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * at + tail


def whole(**more: bytes | None) -> dict[str, bytes]:
    """A folder that may be imported; files named in `more` (`__` for a dot) are replaced, or taken out."""
    files: dict[str, bytes] = {
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": b'{"model": {"type": "BPE"}}',
        "model.safetensors": safetensors(dict(tensors_of(read_sizes(CONFIG)))),
        "LICENSE": b"free",
        "logo.png": b"\x89PNG\r\n",
    }
    for name, data in more.items():
        path = name.replace("__", ".")
        if data is None:
            del files[path]
        else:
            files[path] = data
    return files


def written(folder: Path, files: dict[str, bytes]) -> dict[str, Path]:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return {path: folder / path for path in files}


def refused(folder: Path, files: dict[str, bytes]) -> Refused:
    with pytest.raises(Refused) as caught:
        check_files(written(folder, files))
    return caught.value


def zipped() -> bytes:
    """What torch.save writes: an archive with a pickle in it."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
    return data.getvalue()


def test_a_whole_folder_is_taken_and_pictures_are_left_out(tmp_path):
    checked = check_files(written(tmp_path, whole()))
    assert checked.left_out == ("logo.png",)
    assert checked.taken == ("LICENSE", "config.json", "model.safetensors", "tokenizer.json")
    assert checked.not_served == ""
    assert checked.params == sum(size(shape) for _, shape in tensors_of(read_sizes(CONFIG)))


def size(shape: list[int]) -> int:
    total = 1
    for one in shape:
        total *= one
    return total


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("pytorch_model.bin", b"x"),
        ("sub/weights.PT", b"x"),
        ("model.ckpt", b"x"),
        ("model.pth", b"x"),
        ("notes.txt", pickle.dumps([1], protocol=4)),
        ("vocab.json", pickle.dumps([1], protocol=2)),
        ("README.md", zipped()),
        ("tokenizer.model", zipped()),
        ("data", b"\x1f\x8b\x08\x00"),
        ("run.txt", b"#!/bin/sh\n"),
        ("notes.md", b"text\0more"),
        ("modeling_own.py", b"pass"),
        ("lib.so", b"\x7fELF"),
        ("model.gguf", b"GGUF"),
        ("logo.png", b"PK\x03\x04"),
        ("tokenizer_config.json", b'{"auto_map": {"AutoTokenizer": "own.Own"}}'),
        ("processor_config.json", b'{"a": [{"auto_map": {}}]}'),
    ],
)
def test_pickles_and_code_are_refused_whatever_their_name(tmp_path, path, data):
    error = refused(tmp_path, whole() | {path: data})
    assert error.code == "unsafe_model"
    assert path in error.message
    assert error.fix


def test_a_text_without_end_is_not_read(tmp_path):
    files = written(tmp_path, whole(LICENSE=b""))
    with files["LICENSE"].open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Refused) as caught:
        check_files(files)
    assert caught.value.code == "unsafe_model"


def test_code_that_the_config_names_is_refused(tmp_path):
    config = json.dumps(CONFIG | {"auto_map": {"AutoModel": "modeling.Own"}}).encode()
    assert refused(tmp_path, whole(config__json=config)).code == "unsafe_model"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (whole(config__json=None), "config.json"),
        (whole(tokenizer__json=None), "tokenizer.json"),
        (whole(model__safetensors=None), "safetensors"),
        (whole(config__json=b"{"), "not JSON"),
        (whole(config__json=b"[" * 100_000), "not JSON"),
        (whole() | {"model-2.safetensors": safetensors({"more": [2]})}, "model.safetensors.index.json"),
    ],
)
def test_what_is_missing_is_named(tmp_path, files, says):
    error = refused(tmp_path, files)
    assert error.code == "incomplete_model"
    assert says in error.message
    assert error.fix


TWICE = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
HEADERS = {
    "longer than the file": struct.pack("<Q", 10**12) + b"{}",
    "empty": b"",
    "short": b"\x01\x02",
    "not JSON": struct.pack("<Q", 4) + b"{{{{",
    "a list": struct.pack("<Q", 2) + b"[]",
    "deep": struct.pack("<Q", 200_000) + b"[" * 200_000,
    "zip": zipped(),
    "beyond": safetensors({"a": [2]}, more={"b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}}),
    "overlap": safetensors({"a": [4]}, more={"b": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}),
    "gap": safetensors({"a": [4]}, more={"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}),
    "tail": safetensors({"a": [4]}, tail=b"hidden"),
    "size": safetensors({"a": [4]}, more={"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 16]}}),
    "negative": safetensors({"a": [4]}, more={"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, -16]}}),
    "overflow": safetensors({"a": [4]}, more={"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 16]}}),
    "yes": safetensors({"a": [1]}, more={"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}),
    "dtype": safetensors({"a": [4]}, more={"a": {"dtype": "OBJECT", "shape": [4], "data_offsets": [0, 16]}}),
    "more keys": safetensors({"a": [4]}, more={"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], "x": 1}}),
    "metadata": safetensors({"a": [4]}, more={"__metadata__": {"a": 1}}),
    "twice": struct.pack("<Q", len(TWICE)) + TWICE + b"\0" * 4,
}


@pytest.mark.parametrize("name", sorted(HEADERS))
def test_hostile_headers_are_refused(tmp_path, name):
    error = refused(tmp_path, whole(model__safetensors=HEADERS[name]))
    assert error.code == "bad_safetensors"
    assert "model.safetensors" in error.message


def test_weights_below_a_folder_are_looked_at_and_are_no_part_of_the_model(tmp_path):
    more = {"adapter/adapter_model.safetensors": safetensors({"model.norm.weight": [2]}), "model.sig": b"{}"}
    checked = check_files(written(tmp_path, whole() | more))
    assert checked.tensors["model.norm.weight"].shape == (8,)
    assert checked.left_out == ("logo.png", "model.sig")
    bad = {"adapter/adapter_model.safetensors": HEADERS["overlap"]}
    assert refused(tmp_path, whole() | bad).code == "bad_safetensors"


def test_tensors_that_are_not_those_of_the_config_are_refused(tmp_path):
    tensors = dict(tensors_of(read_sizes(CONFIG)))
    tensors["model.norm.weight"] = [7]
    error = refused(tmp_path, whole(model__safetensors=safetensors(tensors)))
    assert (error.code, "model.norm.weight" in error.message) == ("bad_safetensors", True)
    huge = json.dumps(CONFIG | {"num_hidden_layers": 2**31 - 1}).encode()
    assert refused(tmp_path, whole(config__json=huge)).code == "bad_safetensors"


def test_shards_and_their_index_have_to_agree(tmp_path):
    tensors = list(tensors_of(read_sizes(CONFIG)))
    parts = {"model-1.safetensors": dict(tensors[:3]), "model-2.safetensors": dict(tensors[3:])}
    files = whole(model__safetensors=None) | {path: safetensors(part) for path, part in parts.items()}
    where = {name: path for path, part in parts.items() for name in part}
    index = "model.safetensors.index.json"
    assert check_files(written(tmp_path, files | {index: json.dumps({"weight_map": where}).encode()})).not_served == ""
    where["model.norm.weight"] = "../../etc/passwd"
    assert refused(tmp_path, files | {index: json.dumps({"weight_map": where}).encode()}).code == "bad_safetensors"
    files["model-2.safetensors"] = safetensors(dict(tensors))
    assert "too" in refused(tmp_path, files).message


@pytest.mark.parametrize(
    "more",
    [
        {"model_type": "mamba"},
        {"attention_bias": True},
        {"rope_scaling": {"rope_type": "yarn"}},
        {"rope_scaling": {"type": "linear"}},
        {"rope_scaling": {"type": "linear", "factor": 0.5}},
        {"rope_scaling": STRETCHES["llama3"] | {"low_freq_factor": 4}},
        {"rope_parameters": STRETCHES["linear"] | {"rope_theta": None}},
        {"hidden_size": 0},
    ],
)
def test_other_families_are_kept_and_said_to_be_served_by_nothing_here(tmp_path, more):
    files = whole(config__json=json.dumps(CONFIG | more).encode(), model__safetensors=safetensors({"a": [2]}))
    assert check_files(written(tmp_path, files)).not_served.startswith("No engine here can serve or train this Model")


@pytest.mark.parametrize("rope", STRETCHES.values())
def test_stretched_positions_are_known(tmp_path, rope):
    files = whole(config__json=json.dumps(CONFIG | {"rope_scaling": rope}).encode())
    assert check_files(written(tmp_path, files)).not_served == ""


def test_the_run_checks_again_and_writes_papers_that_are_its_own(tmp_path):
    lines: list[str] = []
    source = mounted(tmp_path / "blobs", whole() | {"model.sig": b"old", "bom.json": b'{"old": 1}'})
    (tmp_path / "out").mkdir()
    context = AttemptContext(
        run_id="r_test",
        spec={"recipe": "import", "options": {}, "name": "small"},
        inputs={"source": source},
        out=tmp_path / "out",
        work=tmp_path,
        run_dir=tmp_path,
        cpus=1,
        memory_bytes=2**30,
        print_line=lines.append,
        now=lambda: 1_800_000_000.0,
    )
    (output,) = take(context)
    assert [file.path for file in output.files] == [
        "LICENSE", "README.md", "bom.json", "config.json", "evaluation.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    assert output.summary["recipe"] == "import"
    assert output.summary["served"] == "yes"
    assert lines[0] == "left out: logo.png"
    assert "old" not in (tmp_path / "out" / "small" / "bom.json").read_text()
    assert "made elsewhere" in (tmp_path / "out" / "small" / "README.md").read_text()
    hostile = mounted(tmp_path / "hostile", whole() | {"x.bin": b"x"})
    with pytest.raises(Refused) as caught:
        take(
            AttemptContext(**{name: getattr(context, name) for name in context.__slots__} | {"inputs": {"a": hostile}})
        )
    assert caught.value.code == "unsafe_model"


@pytest.mark.parametrize("name", ["more.SAFETENSORS", "sub/more.safetensors", "sub/More.SafeTensors"])
def test_no_safetensors_file_is_taken_unread(tmp_path, name):
    error = refused(tmp_path, {**whole(), name: b"\xff" * 64})
    assert error.code == "bad_safetensors"
    assert name in error.message

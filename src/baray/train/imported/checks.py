"""What a folder in the Hugging Face layout may hold. Standard library only: asked before files are sent, and again in the Run.

Covered: pickles under whatever name, archives and programs, code that loaders would run (`auto_map`), damaged or hostile
safetensors headers, tensors that are not those of the config. Refused is the whole folder, so that nobody believes to have
imported what was left out. Not covered: what the Model says, and templates, which loaders render in a sandbox of theirs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from baray.core import Refused
from baray.train.imported.layout import read_sizes, tensors_of
from baray.train.imported.weights import INDEX, Tensor, check_index, read_headers

_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".keras"})
_PROGRAMS = frozenset({".py", ".pyc", ".pyo", ".so", ".dll", ".dylib", ".sh", ".exe", ".ipynb"})
_TEXTS = frozenset({".txt", ".md", ".jinja", ""})
_LEFT_OUT = frozenset({".png", ".jpg", ".jpeg", ".svg", ".webp", ".gif", ".sig"})
"""Of no use to a Model here; a signature holds for the version that it was made for."""
_KEPT = frozenset({".safetensors", ".json", ".model"}) | _TEXTS
# First bytes of what must not pass under another name: archives are what torch.save and joblib write.
_MAGIC = {
    b"PK\x03\x04": "an archive, as torch.save writes them",
    b"\x1f\x8b": "packed",
    b"BZh": "packed",
    b"\xfd7zXZ": "packed",
    b"\x28\xb5\x2f\xfd": "packed",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"#!": "a program",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "an array that may hold pickles",
}
_PICKLE_PROTOCOLS = range(2, 6)
_MOST_JSON_BYTES, _MOST_TEXT_BYTES = 256 << 20, 64 << 20
_CODE = "auto_map"
_FIX_PICKLE = (
    "Save the weights as safetensors where you trust the file (model.save_pretrained(DIR) of transformers does), and take it "
    "out of the folder."
)
_FIX_CODE = (
    "Import a Model that needs no code of its own, or take the code and its mention out if the Model works without it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A folder that may be imported."""

    taken: tuple[str, ...]
    """Paths that become the Model."""
    left_out: tuple[str, ...]
    """Paths of pictures and signatures."""
    config: Mapping[str, Any]
    """`config.json`."""
    tensors: Mapping[str, Tensor]
    """Every tensor, by name."""
    not_served: str
    """Why no engine here can serve it; empty if one can."""

    @property
    def params(self) -> int:
        """Numbers in all tensors."""
        total = 0
        for tensor in self.tensors.values():
            count = 1
            for size in tensor.shape:
                count *= size
            total += count
        return total


def check_files(files: Mapping[str, Path]) -> Checked:
    """Look at every file, by its path in the folder. Raises Refused `unsafe_model`, `bad_safetensors`, `incomplete_model`."""
    for path in sorted(files):
        _check_kind(path, files[path])
    taken = [path for path in sorted(files) if _suffix(path) in _KEPT]
    documents = {path: _json(path, files[path]) for path in taken if _suffix(path) == ".json"}
    for path, document in documents.items():
        if path != "tokenizer.json" and _names_code(document):
            message = f"{path} names code that loaders would run ({_CODE})."
            raise Refused("unsafe_model", message, fix=_FIX_CODE)
    for path in taken:
        if _suffix(path) in _TEXTS:
            _check_text(path, files[path])
    config = _needed(documents, "config.json", "what the Model is")
    _needed(documents, "tokenizer.json", "how text becomes tokens")
    tensors = read_headers(files)
    _check_shards(documents, tensors)
    return Checked(
        taken=tuple(taken),
        left_out=tuple(sorted(set(files) - set(taken))),
        config=config,
        tensors=tensors,
        not_served=_check_layout(config, tensors),
    )


def _check_kind(path: str, file: Path) -> None:
    suffix = _suffix(path)
    if suffix in _PICKLES:
        raise Refused("unsafe_model", f"{path} may be a pickle, which runs code when it is opened.", fix=_FIX_PICKLE)
    if suffix in _PROGRAMS:
        raise Refused("unsafe_model", f"{path} is code.", fix=_FIX_CODE)
    with file.open("rb") as opened:
        start = opened.read(8)
    if suffix == ".safetensors":
        return  # begins with a length, whose bytes may be anything; its header is read whole
    if len(start) > 1 and start[0] == 0x80 and start[1] in _PICKLE_PROTOCOLS:
        raise Refused("unsafe_model", f"{path} is a pickle, which runs code when it is opened.", fix=_FIX_PICKLE)
    for magic, what in _MAGIC.items():
        if start.startswith(magic):
            raise Refused("unsafe_model", f"{path} is {what}, whatever its name says.", fix=_FIX_PICKLE)
    if suffix not in _KEPT | _LEFT_OUT:
        raise Refused(
            "unsafe_model",
            f"{path} is no file of the Hugging Face layout that is known here.",
            fix="Take it out of the folder: safetensors, JSON, text and tokenizer files are imported.",
        )


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _json(path: str, file: Path) -> object:
    if file.stat().st_size > _MOST_JSON_BYTES:
        raise Refused("incomplete_model", f"{path} has {file.stat().st_size} bytes.", fix="Is it the file you meant?")
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Refused("incomplete_model", f"{path} is not JSON ({error}).", fix="Get the file again.") from error


def _check_text(path: str, file: Path) -> None:
    if file.stat().st_size > _MOST_TEXT_BYTES or b"\0" in file.read_bytes():
        raise Refused("unsafe_model", f"{path} is not text.", fix="Take it out of the folder.")


def _names_code(document: object) -> bool:
    todo = [document]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            if _CODE in one:
                return True
            todo += one.values()
        elif isinstance(one, list):
            todo += one
    return False


def _needed(documents: Mapping[str, Any], path: str, what: str) -> Mapping[str, Any]:
    found = documents.get(path)
    if not isinstance(found, dict):
        raise Refused(
            "incomplete_model",
            f"The folder has no {path}, which tells {what}.",
            fix="Give the folder that transformers writes: save_pretrained(DIR) of the model and of its fast tokenizer.",
        )
    return found


def _check_shards(documents: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    if not tensors:
        fix = "Save the weights as safetensors: model.save_pretrained(DIR) of transformers does."
        raise Refused("incomplete_model", "The folder has no weights in a safetensors file.", fix=fix)
    if INDEX in documents:
        check_index(documents[INDEX], tensors)
    elif len({tensor.file for tensor in tensors.values()}) > 1:
        raise Refused(
            "incomplete_model", f"The weights are in several files, and there is no {INDEX}.", fix="Get it too."
        )


def _check_layout(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Why no engine here can serve it. Raises Refused `bad_safetensors` where one could, were the tensors those of the config."""
    try:
        sizes = read_sizes(config)
    except Refused as refused:
        return refused.message
    for name, shape in tensors_of(sizes):
        if name not in tensors or list(tensors[name].shape) != shape:
            found = list(tensors[name].shape) if name in tensors else "missing"
            raise Refused(
                "bad_safetensors",
                f"config.json asks for a tensor {name} of {shape}; it is {found}.",
                fix="Get config.json and the weights of the same version.",
            )
    return ""

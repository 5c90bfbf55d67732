"""The recipe `import`: files that somebody brings become a Model version. Loaded only in an attempt's own process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from baray.catalog import FileEntry, Output
from baray.core import digest_bytes, digest_file, digest_json
from baray.runs import AttemptContext, Input
from baray.train.bill import Bill, Material, of_materials, write_bill
from baray.train.imported.checks import Checked, check_files
from baray.train.imported.weights import INDEX

_OWN = frozenset({"model.sig", "bom.json", "evaluation.json"})
"""Files that say something about a version where they were made; here they would say it of another one."""
_CARD = "README.md"


def take(context: AttemptContext) -> list[Output]:
    """Check the files again (who sent them may have skipped it), and write card and bill of materials beside them."""
    (source,) = context.inputs.values()
    files = {file.path: file.blob for file in source.files if file.path not in _OWN}
    context.progress(0, len(files), "files")
    checked = check_files(files)
    for path in checked.left_out:
        context.log(f"left out: {path}")
    if checked.not_served:
        context.log(checked.not_served)
    folder = context.out / context.spec["name"]
    digests = {file.path: file.digest for file in source.files}
    for path in checked.taken:
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(files[path])  # its bytes are a blob already: nothing is copied
    digest = digest_json([[path, digests[path]] for path in checked.taken])
    summary = _summary(checked)
    _write_papers(folder, context.spec["name"], source, checked, digest, digests)
    context.progress(len(files), len(files), "files")
    context.log(f"{len(checked.taken)} files, {checked.params:,} numbers, {checked.config.get('model_type')}")
    return [
        Output(
            kind="model",
            name=context.spec["name"],
            digest=digest,
            labels=(source.label,),
            files=tuple(_entries(folder)),
            summary=summary,
        )
    ]


def _entries(folder: Path) -> list[FileEntry]:
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return [
        FileEntry(path=path.relative_to(folder).as_posix(), digest=digest_file(path), bytes=path.stat().st_size)
        for path in paths
    ]


def _summary(checked: Checked) -> dict[str, Any]:
    config = checked.config
    told = {"context": config.get("max_position_embeddings"), "vocab": config.get("vocab_size")}
    return {
        "recipe": "import",
        "params": checked.params,
        "layout": str(config.get("model_type") or "unknown"),
        "served": "no: " + checked.not_served if checked.not_served else "yes",
        **{name: value for name, value in told.items() if isinstance(value, int)},
    }


def _weights_digest(checked: Checked, digests: Mapping[str, str]) -> str:
    """Of the one file of weights, or of the list of several."""
    names = sorted({tensor.file for tensor in checked.tensors.values()})
    if len(names) == 1:
        return digests[names[0]]
    return digests.get(INDEX) or digest_bytes("\n".join(digests[name] for name in names).encode())


def _write_papers(
    folder: Path, name: str, source: Input, checked: Checked, digest: str, digests: Mapping[str, str]
) -> None:
    material = Material(
        ref=source.ref, digest=source.digest, label=source.label, title=source.title, licences=source.licences
    )
    kinds = _architectures(checked.config)
    card = {
        "modelParameters": {
            "task": "text-generation",
            "architectureFamily": "transformer",
            "modelArchitecture": ", ".join(kinds) or "unknown",
            "datasets": of_materials([material]),
        },
        "considerations": {"technicalLimitations": ["Made elsewhere: what it learnt from is not known here."]},
    }
    bill = Bill(
        name=name,
        digest=digest,
        file_digest=_weights_digest(checked, digests),
        description=f"{checked.params:,} numbers, made elsewhere and imported.",
        card=card,
        label=source.label,
        materials=(material,),
        versions={},
    )
    write_bill(folder / "bom.json", bill)
    (folder / "evaluation.json").write_text(
        json.dumps(_summary(checked) | {"measured": "nothing"}, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    if not (folder / _CARD).exists():
        (folder / _CARD).write_text(_card(name, checked, material, kinds), encoding="utf-8")


def _architectures(config: Mapping[str, Any]) -> Sequence[str]:
    found = config.get("architectures")
    return [str(one) for one in found] if isinstance(found, list) else []


def _card(name: str, checked: Checked, material: Material, kinds: Sequence[str]) -> str:
    lines = [
        f"# {name}",
        "",
        f"A Model with {checked.params:,} numbers ({', '.join(kinds) or 'unknown kind'}), made elsewhere and imported as "
        f"`{material.ref}` (`{material.digest}`).",
        "",
        f"Licence, as told by who imported it: {', '.join(material.licences) or 'none stated'}. Label: `{material.label}`.",
        "",
        checked.not_served or "Engines here can serve it.",
        "",
        "What it learnt from is not known here, and nothing was measured.",
        "",
        "`bom.json` lists the parts, `model.sig` signs every file.",
        "",
    ]
    return "\n".join(lines)

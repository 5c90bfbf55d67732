"""`baray model ...`: check, export and import Models. A folder is checked on this machine, a ref by the server that holds it."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import click

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.commands.source import gather_files, send_source
from baray.client.commands.things import fetch_version
from baray.client.commands.watching import finish, making
from baray.client.output import fields
from baray.client.sdk.client import thing_path
from baray.client.sdk.transport import Json
from baray.core import Refused, check_name, format_bytes, parse_ref

_HOST = "baray.app.commands"  # loaded only when called
_FETCHED = ".files"
_MOST_NAME = 56
"""Of a Model's name that its Source's begins with."""


def _verify(cli: Cli, target: str, keys: tuple[str, ...]) -> None:
    if Path(target).is_dir():
        home, as_json = cli.settings.home, cli.screen.as_json
        code = importlib.import_module(_HOST).model_verify(
            home=home, folder=Path(target), keys=list(keys), as_json=as_json
        )
    else:
        code = _verify_ref(cli, target)
    if code:
        raise click.exceptions.Exit(code)


def _verify_ref(cli: Cli, ref: str) -> int:
    document = cli.client.get(thing_path(parse_ref(ref, kind="model")) + "/verification")
    shown = {"ref": document["ref"], "verified": "yes" if document["ok"] else "no", "label": document["label"]}
    shown |= {"licences": ", ".join(document["licences"]), "files": len(document["files"]), "run": document["run"]}
    wrong = [("wrong", finding) for finding in document["findings"]]
    cli.screen.show(document, lambda: fields([*shown.items(), *wrong]))
    return 0 if document["ok"] else 1


def _export(cli: Cli, ref: str, folder: str, *, form: str, weights: str) -> None:
    """Each file passes the gate of exports and is an entry in the ledger; GGUF is written of them on this machine."""
    version = cli.client.thing(ref, kind="model")
    _check_signed(cli, version)
    top = Path(folder)
    if form == "hf":
        document = fetch_version(cli, version, top) | {"format": form, "signed": True}
        line = f"{version['ref']}: {document['files']} files in {top}, digests and signature checked."
        cli.screen.show(document, lambda: [line])
        return
    if top.exists() and any(top.iterdir()):
        raise Refused("not_empty", f"{top} is not empty.", fix="Give a folder that is new or empty.")
    name = parse_ref(version["ref"]).name
    out = top / f"{name}-{weights}.gguf"
    try:
        document = fetch_version(cli, version, top / _FETCHED)
        size = importlib.import_module(_HOST).model_gguf(top / _FETCHED, out, weights=weights, name=name)
    finally:
        shutil.rmtree(top / _FETCHED, ignore_errors=True)
    document |= {"format": form, "folder": str(top), "file": str(out), "bytes": size, "files": 1, "signed": True}
    cli.screen.show(document, lambda: [f"{version['ref']}: {out}, {format_bytes(size)}."])


def _check_signed(cli: Cli, version: Json) -> None:
    checked = cli.client.get(thing_path(parse_ref(version["ref"], kind="model")) + "/verification")
    if not checked["ok"]:
        raise Refused(
            "not_verified",
            f"The signature of {version['ref']} does not hold: {'; '.join(checked['findings'])}",
            fix="Run: baray ledger verify",
        )


def _import(cli: Cli, folder: str, *, name: str, licence: str, label: str, title: str) -> None:
    """The files become a Source, as every file that somebody brings, and a Run makes the Model of it: so lineage is whole."""
    check_name(name)
    gathered = gather_files(cli, [folder])
    not_served = importlib.import_module(_HOST).model_check({file.path: file.file for file in gathered.files})
    if not_served:
        cli.screen.say("{text}", text=not_served)
    with making(cli, "model", name, label=label):
        source = f"{name[:_MOST_NAME].rstrip('-')}-files"
        version = send_source(cli, source, gathered, label=label, licence=licence, title=title or name)
        run = cli.client.train("import", name=name, inputs={"source": version["ref"]})
    finish(cli, run, label=f"model:{name}", wait=True, follow=False)


VERIFY = Leaf(
    run=_verify,
    params=(
        argument("target", metavar="REF|DIR"),
        option("--key", "keys", multiple=True, metavar="FILE", help="The public key of who signed it, for a folder."),
    ),
    example="baray model verify ./router --key office-artifacts.pub",
)
EXPORT = Leaf(
    run=_export,
    params=(
        argument("ref"),
        argument("folder", metavar="DIR"),
        option(
            "--format",
            "form",
            type=click.Choice(("hf", "gguf")),
            default="hf",
            help="hf: its files; gguf: one file, for llama.cpp.",
        ),
        option(
            "--weights",
            type=click.Choice(("f32", "bf16", "q8_0")),
            default="f32",
            help="How GGUF holds the weights: f32 is exact.",
        ),
    ),
    example="baray model export NAME@v1 ./out --format gguf",
)
IMPORT = Leaf(
    run=_import,
    params=(
        argument("folder", metavar="DIR"),
        option("--name", required=True, help="Name of the Model."),
        option("--licence", default="", metavar="SPDX", help="Licence of the Model, such as Apache-2.0."),
        option(
            "--label",
            default="",
            metavar="LABEL",
            help="Who may see it: public, internal, restricted or secret (else internal).",
        ),
        option("--title", default="", help="Title in any script."),
    ),
    example="baray model import ./qwen --name qwen --licence Apache-2.0",
)

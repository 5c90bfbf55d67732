"""Listing, showing and exporting what a server holds: the same for every noun."""

from __future__ import annotations

from pathlib import Path

from baray.client.cli import Cli, Leaf, argument
from baray.client.commands.dataset import report_lines
from baray.client.commands.desk import service_lines
from baray.client.commands.evaluate import evaluation_lines
from baray.client.output import fields, table
from baray.client.sdk.client import thing_path
from baray.client.sdk.transport import Json
from baray.core import Refused, digest_file, format_bytes, parse_ref


def _list(plural: str) -> Leaf:
    def run(cli: Cli) -> None:
        page = cli.client.pages(plural)
        heads = ("ref", "label", "created", "size", "title")
        rows = [(row["ref"], row["label"], row["created"], _size(row), row.get("title")) for row in page["items"]]
        cli.screen.show(page, lambda: table(heads, rows))

    return Leaf(run=run, example=f"baray {plural.removesuffix('s')} list")


def _size(row: Json) -> str:
    return format_bytes(row["bytes"]) if row.get("bytes") is not None else ""


def _show(kind: str) -> Leaf:
    def run(cli: Cli, ref: str) -> None:
        document = cli.client.dataset(ref) if kind == "dataset" else cli.client.thing(ref, kind=kind)
        if kind == "model":
            document |= {"evaluations": cli.client.evaluations(document["ref"])["items"]}
        cli.screen.show(document, lambda: _version_lines(document))

    return Leaf(run=run, params=(argument("ref"),), example=f"baray {kind} show NAME@v1")


def _version_lines(document: Json) -> list[str]:
    keys = ("ref", "title", "label", "digest", "created", "licence", "run")
    pairs: list[tuple[str, object]] = [(key, document.get(key)) for key in keys]
    pairs += [("versions", ", ".join(document.get("versions", []))), ("size", _size(document))]
    shown = {"bytes", "files", "in", "kept", "redacted"} if document.get("report") else {"bytes", "files"}
    summary = document.get("summary") or {}
    pairs += [(key, _plain(value)) for key, value in summary.items() if key not in shown and _plain(value) is not None]
    lines = fields(pairs)
    if document.get("report"):
        lines += ["", *report_lines(document["report"])]
    for evaluation in document.get("evaluations", []):
        lines += ["", *evaluation_lines(evaluation)]
    files = document.get("files", [])
    rows = [(file["path"], format_bytes(file["bytes"]), file.get("label"), file.get("valid_until")) for file in files]
    return [*lines, "", *table(("file", "size", "label", "valid until"), rows)]


def _plain(value: object) -> object:
    """A value of a summary as one line; None for what takes more."""
    if isinstance(value, dict):
        numbers = all(isinstance(inner, int | float) for inner in value.values())
        return ", ".join(f"{key} {inner:g}" for key, inner in value.items()) if value and numbers else None
    return value


def _export(kind: str) -> Leaf:
    def run(cli: Cli, ref: str, folder: str) -> None:
        document = fetch_version(cli, cli.client.thing(ref, kind=kind), Path(folder))
        cli.screen.show(
            document, lambda: [f"{document['ref']}: {document['files']} files in {folder}, digests checked."]
        )

    return Leaf(
        run=run,
        params=(argument("ref"), argument("folder", metavar="DIR")),
        example=f"baray {kind} export NAME@v1 ./out",
    )


def fetch_version(cli: Cli, version: Json, top: Path) -> Json:
    """Fetch every file of a version into a folder, checked against its digest; what was fetched."""
    if top.exists() and any(top.iterdir()):
        raise Refused("not_empty", f"{top} is not empty.", fix="Give a folder that is new or empty.")
    with cli.screen.progress(f"{version['ref']}") as progress:
        for number, file in enumerate(version["files"], 1):
            _fetch(cli, f"{thing_path(parse_ref(version['ref']))}/files/{file['path']}", file, top)
            progress.update(number, len(version["files"]), "files")
    return {
        "ref": version["ref"],
        "digest": version["digest"],
        "folder": str(top),
        "files": len(version["files"]),
    }


def _fetch(cli: Cli, path: str, file: Json, top: Path) -> None:
    target = (top / file["path"]).resolve()
    if not target.is_relative_to(top.resolve()):
        raise Refused("bad_path", f"The file '{file['path']}' would leave {top}.", fix="Don't trust this server.")
    target.parent.mkdir(parents=True, exist_ok=True)
    cli.client.download(path, target)
    if digest_file(target) != file["digest"]:
        target.unlink()
        raise Refused(
            "bad_digest", f"'{file['path']}' came with other bytes than {file['digest']}.", fix="baray ledger verify"
        )


def _list_services(cli: Cli) -> None:
    page = cli.client.pages("services")
    heads = ("name", "kind", "state", "label", "title")
    cli.screen.show(page, lambda: table(heads, [[row.get(head, "") for head in heads] for row in page["items"]]))


def _show_service(cli: Cli, name: str) -> None:
    service = cli.client.thing(name, kind="service")
    cli.screen.show(service, lambda: service_lines(service))


def _show_desk(cli: Cli, name: str) -> None:
    service = cli.client.thing(name, kind="service")
    if service["kind"] != "desk":
        raise Refused("not_a_desk", f"'{name}' is a {service['kind']} Service.", fix=f"baray service show {name}")
    cli.screen.show(service, lambda: service_lines(service))


def _recipes(cli: Cli, name: str | None) -> None:
    page = cli.client.get("recipes")
    items = [recipe for recipe in page["items"] if name in (None, recipe["name"])]
    if not items:
        known = ", ".join(recipe["name"] for recipe in page["items"])
        raise Refused("no_recipe", f"There is no recipe '{name}'.", fix=f"There are: {known}.", status=404)

    def lines() -> list[str]:
        if name is None:
            return table(("recipe", "makes", ""), [(row["name"], row["kind"], row.get("title")) for row in items])
        heads = ("option", "default", "unit", "")
        rows = [[option.get(key, "") for key in ("name", "default", "unit", "help")] for option in items[0]["options"]]
        return [f"{items[0]['name']}: {items[0].get('title', '')}", "", *table(heads, rows)]

    cli.screen.show({"items": items, "next": None} if name is None else items[0], lines)


LIST_SOURCES = _list("sources")
LIST_DATASETS = _list("datasets")
LIST_MODELS = _list("models")
SHOW_SOURCE = _show("source")
SHOW_DATASET = _show("dataset")
SHOW_MODEL = _show("model")
EXPORT_DATASET = _export("dataset")
LIST_SERVICES = Leaf(run=_list_services, example="baray service list")
SHOW_SERVICE = Leaf(run=_show_service, params=(argument("name"),), example="baray service show counter")
SHOW_DESK = Leaf(run=_show_desk, params=(argument("name"),), example="baray desk show counter")
RECIPES = Leaf(run=_recipes, params=(argument("name", required=False),), example="baray recipes text")

"""`baray ledger ...`: reading the ledger, and exchanging heads with witnesses. Verifying is the host's."""

from __future__ import annotations

from pathlib import Path

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.output import fields, table
from baray.client.sdk.transport import Json
from baray.core import Refused, iso_time


def _show(cli: Cli, after: int, limit: int) -> None:
    page = cli.client.pages("ledger/entries", limit=limit, after=after)
    heads = ("entry", "time", "kind", "subject", "actor", "decision", "label")
    rows = [
        (
            row["index"],
            iso_time(row["t"]),
            row["kind"],
            *(row.get(key, "") for key in ("subject", "actor", "decision", "label")),
        )
        for row in page["items"]
    ]
    cli.screen.show(page, lambda: table(heads, rows))


def _head(cli: Cli) -> None:
    head = cli.client.get("ledger/head")

    def lines() -> list[str]:
        witnesses = head.get("witnesses") or []
        said = f"Witnessed: {'yes' if head.get('witnessed') else 'no'} ({len(witnesses)} witnesses)."
        if not head.get("witnessed"):
            said += " Without a witness a rollback cannot be seen: baray ledger witness add NAME VKEY"
        return [*head["note"].splitlines(), "", said]

    cli.screen.show(head, lines)


def _request(cli: Cli, witness: str | None, out: str | None) -> None:
    data = cli.client.get_bytes("ledger/request", witness=witness)
    _write(cli, data, out, {"witness": witness})


def _cosign(cli: Cli, file: str) -> None:
    document = cli.client.post("ledger/cosign", {"note": _read(file)}, repeatable=True)
    said = "{name} has cosigned the head of {size} entries."
    cli.screen.show(document, lambda: [cli.screen.tr(said, name=document["name"], size=document["size"])])


def _witness_add(cli: Cli, vkey: str) -> None:
    line = (_read(vkey) if Path(vkey).is_file() else vkey).strip()
    document = cli.client.post("ledger/witnesses", {"name": line.partition("+")[0], "vkey": line})
    cli.screen.show(document, lambda: [f"{document['name']} is known. Next: baray ledger request --out request.txt"])


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(
            "no_such_file", f"Cannot read {file}: {error}.", fix="Give the file the witness wrote."
        ) from error


def _witness_list(cli: Cli) -> None:
    head = cli.client.get("ledger/head")
    document: Json = {"items": head.get("witnesses") or [], "next": None}
    cli.screen.show(document, lambda: [line for row in document["items"] for line in (fields(row.items()) or [""])])


def _prove(cli: Cli, ref: str, out: str | None) -> None:
    ref = f"entry:{ref}" if ref.isdecimal() else ref
    data = cli.client.get_bytes("ledger/proof", ref=ref)
    name = out or f"{ref.replace(':', '-').replace('/', '-')}.baray-proof"
    _write(cli, data, name, {"ref": ref})
    cli.screen.say("Check it anywhere: {command}", command=f"baray ledger verify {name}")


def _export(cli: Cli, out: str) -> None:
    path = Path(out)
    cli.client.download("ledger/export", path)
    document = {"file": out, "bytes": path.stat().st_size}
    cli.screen.show(document, lambda: [f"Wrote {out} ({document['bytes']} bytes)."])
    cli.screen.say("Check it anywhere: {command}", command=f"baray ledger verify {out}")


def _write(cli: Cli, data: bytes, out: str | None, facts: Json) -> None:
    if out is None:
        text = data.decode()
        cli.screen.show({**facts, "text": text}, text.splitlines)
        return
    Path(out).write_bytes(data)
    cli.screen.show({**facts, "file": out, "bytes": len(data)}, lambda: [f"Wrote {out} ({len(data)} bytes)."])


_OUT = option("--out", metavar="FILE", help="Write it there.")
SHOW = Leaf(
    run=_show,
    params=(
        option("--after", default=-1, help="After this entry."),
        option("--limit", default=100, help="How many at most."),
    ),
    example="baray ledger show --limit 20",
)
HEAD = Leaf(run=_head, example="baray ledger head")
REQUEST = Leaf(
    run=_request,
    params=(option("--witness", metavar="NAME", help="For whom, where there are several."), _OUT),
    example="baray ledger request --out request.txt",
)
COSIGN = Leaf(run=_cosign, params=(argument("file"),), example="baray ledger cosign cosigned.txt")
WITNESS_ADD = Leaf(
    run=_witness_add,
    params=(argument("vkey", metavar="KEY|FILE"),),
    example="baray ledger witness add court.vkey",
)
WITNESS_LIST = Leaf(run=_witness_list, example="baray ledger witness list")
EXPORT = Leaf(
    run=_export,
    params=(option("--out", metavar="BUNDLE", required=True, help="Write it there."),),
    example="baray ledger export --out ledger.tar",
)
PROVE = Leaf(
    run=_prove,
    params=(argument("ref", metavar="ENTRY|REF"), _OUT),
    example="baray ledger prove dataset:circulars@v1",
)

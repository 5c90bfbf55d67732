"""`baray label`: what carries which label, what a raise would reach, and lowering by two signatures."""

from __future__ import annotations

import json
from pathlib import Path
from secrets import token_bytes

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.output import fields, table
from baray.client.sdk.transport import Json
from baray.core import Refused, digest_bytes


def _show(cli: Cli, ref: str) -> None:
    document = cli.client.get("labels/show", ref=ref)

    def lines() -> list[str]:
        keys = ("ref", "label", "level", "categories", "released_to", "own_label", "lowered_to")
        rows = [(row["at"][:19], row["to"], row["by"], row["reason"]) for row in document.get("raised", [])]
        shown = fields((key, document.get(key)) for key in keys)
        return [*shown, "", *table(("raised", "to", "by", "reason"), rows)] if rows else shown

    cli.screen.show(document, lines)


def _impact(cli: Cli, ref: str, to: str) -> None:
    document = cli.client.get("labels/impact", ref=ref, to=to)
    cli.screen.show(document, lambda: _reached(document))


def _raise(cli: Cli, ref: str, to: str, reason: str) -> None:
    document = cli.client.post("labels/raise", {"ref": ref, "to": to, "reason": reason})
    cli.screen.show(document, lambda: _reached(document))


def _reached(document: Json) -> list[str]:
    rows = [
        (row["ref"], row["label"], row["becomes"], row["state"], ", ".join(row["loses"]), row["effect"])
        for row in document["reached"]
    ]
    if not rows:
        return [f"{document['ref']} is at least {document['to']} already: nothing changes."]
    return table(("reached", "is", "becomes", "state", "out of sight for", ""), rows)


def _lower(cli: Cli, ref: str, to: str, reason: str) -> None:
    document = cli.client.post("labels/lower", {"ref": ref, "to": to, "reason": reason})
    cli.screen.say("Two others have to sign, within 72 hours: baray label approve {id}", id=document["id"])
    cli.screen.show(document, lambda: _request(document))


def _pending(cli: Cli, *, everything: bool) -> None:
    page = cli.client.get("labels/requests", state="all" if everything else "pending")
    heads = ("id", "ref", "from", "to", "asked_by", "expires", "state", "needed", "reason")
    cli.screen.show(page, lambda: table(heads, [[row.get(head, "") for head in heads] for row in page["items"]]))


def _approve(cli: Cli, request: str, *, refuse: bool) -> None:
    found = cli.client.get(f"labels/requests/{request}")
    statement = str(found["statement"])
    _check_statement(found, statement)
    cli.screen.say("You sign: {statement}", statement=statement)
    verdict = "refuse" if refuse else "approve"
    key = _key(cli)
    message = f"baray-approval-v1\n{verdict}\n{digest_bytes(statement.encode())}\n"
    word = {"verdict": verdict, "signature": "ed25519." + key.sign(message.encode()).hex()}
    document = cli.client.post(f"labels/requests/{request}/word", word)
    cli.screen.show(document, lambda: _request(document))


def _check_statement(found: Json, statement: str) -> None:
    """What is signed must be what is shown: the server cannot show one thing and have another one signed."""
    body = json.loads(statement)
    shown = {"request": found["id"], "digest": found["digest"], "from": found["from"], "to": found["to"]}
    if any(body.get(name) != value for name, value in shown.items()) or body.get("reason") != found["reason"]:
        raise Refused("bad_statement", "The statement is not what the request says.", fix="Don't trust this server.")


def _make_key(cli: Cli) -> None:
    path = _key_path(cli)
    if path.exists():
        raise Refused("exists", f"There is a key at {path} already.", fix="Move it away first, to sign with another.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(token_bytes(32).hex() + "\n", encoding="ascii")
    public = "ed25519." + _key(cli).public_key().public_bytes_raw().hex()
    try:
        document = cli.client.post("labels/key", {"public": public})
    except BaseException:
        path.unlink()
        raise
    cli.screen.show(
        document | {"file": str(path)}, lambda: [f"Your approvals are signed with {path}: keep it to yourself."]
    )


def _key(cli: Cli) -> Ed25519PrivateKey:
    path = _key_path(cli)
    if not path.exists():
        raise Refused("no_key", f"There is no key at {path}.", fix="Make one: baray label key")
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text(encoding="ascii").strip()))


def _key_path(cli: Cli) -> Path:
    """One file for each person, so that two who share a machine do not sign with each other's."""
    environ = cli.settings.environ
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".config")
    return Path(base) / "baray" / f"approval-{cli.client.get('whoami')['id']}.key"


def _request(document: Json) -> list[str]:
    keys = ("id", "ref", "from", "to", "reason", "asked_by", "expires", "state", "needed", "made")
    words = [
        (word["by"], word["verdict"], word["at"][:19], "" if word["counts"] else "counts no more")
        for word in document["words"]
    ]
    shown = fields((key, document.get(key)) for key in keys)
    return [*shown, "", *table(("signed by", "", "at", ""), words)] if words else shown


def _clear(cli: Cli, name: str, label: str) -> None:
    document = cli.client.post(f"projects/{name}/clearance", {"label": label}, repeatable=True)
    held = document["clearance"] or "anything"
    cli.screen.show(document, lambda: [f"{name} may hold {held}."])


_REF = argument("ref")
_TO = option("--to", required=True, metavar="LABEL", help="LEVEL[:CATEGORY,...][@PROJECT,...]")
_REASON = option(
    "--reason", required=True, metavar="TEXT", help="Why; stays in the home, the ledger holds a commitment."
)

SHOW = Leaf(run=_show, params=(_REF,), example="baray label show dataset:circulars")
IMPACT = Leaf(run=_impact, params=(_REF, _TO), example="baray label impact source:letters --to restricted")
RAISE = Leaf(
    run=_raise,
    params=(_REF, _TO, _REASON),
    example="baray label raise source:letters --to restricted --reason 'names of patients'",
)
LOWER = Leaf(
    run=_lower,
    params=(_REF, _TO, _REASON),
    example="baray label lower dataset:letters@v2 --to public --reason 'names were taken out'",
)
PENDING = Leaf(
    run=_pending,
    params=(option("--all", "everything", is_flag=True, help="Also what was used, refused or has expired."),),
    example="baray label pending",
)
APPROVE = Leaf(
    run=_approve,
    params=(argument("request", metavar="ID"), option("--refuse", is_flag=True, help="Sign against it.")),
    example="baray label approve lw_01...",
)
KEY = Leaf(run=_make_key, example="baray label key")
CLEAR = Leaf(
    run=_clear,
    params=(argument("name"), argument("label", required=False, default="")),
    example="baray project clear health restricted",
)

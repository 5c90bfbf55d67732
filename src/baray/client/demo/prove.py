"""The last act: lineage of an Answer, a witness outside the home, and a copy of the home with one byte flipped."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

from baray.client.demo.acts import Stage
from baray.client.sdk.transport import Json
from baray.core import Fault, NotFound, Refused

WITNESS = "demo-witness"
_NOT_COPIED = frozenset({"run", "runs", "log", "spool", "lock", "endpoint.json", "operator.token", "keys"})
_INGEST_SECONDS = 10.0
_VERIFY_SECONDS = 120.0


def prove(stage: Stage, answer: str) -> Json:
    """`lineage`, `ledger`, `tamper`."""
    story = stage.story
    graph = lineage_of(stage, answer)
    story.fact("Lineage: {chain}", chain=" <- ".join(graph["chain"]))
    head = _witness(stage)
    home = stage.cli.settings.home
    report = verify_ledger(stage, home)
    ledger = {"entries": head["size"], "verified": bool(report["ok"]), "witnessed": bool(head["witnessed"])}
    said = (
        "Ledger: {entries} entries, verified, witnessed." if report["ok"] and head["witnessed"] else "Ledger: {ledger}"
    )
    story.fact(said, entries=head["size"], ledger=ledger)
    tamper = _tamper(stage, home, _cited_document(graph))
    said = (
        "One byte flipped in a copy of the home; named: {named}" if tamper["found"] else "A flipped byte was NOT found."
    )
    story.fact(said, named=tamper["named"].partition(": ")[0])
    return {"lineage": list(graph["chain"]), "ledger": ledger, "tamper": tamper}


def lineage_of(stage: Stage, answer: str) -> Json:
    """Receipts reach control a moment after the Answer."""
    timing = stage.cli.timing
    end = timing.clock.monotonic() + _INGEST_SECONDS
    while True:
        try:
            return stage.cli.client.lineage(answer)
        except NotFound:
            if timing.clock.monotonic() > end:
                raise
            timing.sleep(0.05)


def _cited_document(graph: Json) -> str:
    """Path of a file that the Answer cites; empty when it cites none."""
    cited = sorted(citation["document"] for node in graph["nodes"] for citation in node.get("citations", []))
    return str(next(iter(cited), ""))


def _witness(stage: Stage) -> Json:
    """A witness whose key lies outside the home cosigns the head, as a second institution would on its own machine."""
    home = stage.cli.settings.home
    folder = home.parent / f"{home.name}-witness"
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        return _cosign(stage, folder)
    except Fault as error:
        if error.code != "witness_refused":
            raise
    # A demo that was killed between the witness's memory and ours leaves it ahead: a fresh witness starts over.
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    return _cosign(stage, folder)


def _cosign(stage: Stage, folder: Path) -> Json:
    client = stage.cli.client
    head = client.get("ledger/head")
    key, public = folder / "witness.key", folder / "witness.vkey"
    if not public.exists():
        key.unlink(missing_ok=True)  # a key whose public line was never written down has signed nothing
        name = f"{WITNESS}-{len(head['witnesses']) + 1}"
        public.write_text(_tool("init", str(key), "--name", name), encoding="utf-8")
    vkey = public.read_text(encoding="utf-8").strip()
    if vkey not in [row["vkey"] for row in head["witnesses"]]:
        _add_witness(stage, vkey)
    request = folder / "request.txt"
    request.write_bytes(client.get_bytes("ledger/request", witness=vkey.partition("+")[0]))
    seen = ["--state", str(folder / "seen.json"), "--key", str(key), "--log", str(head["vkey"])]
    client.post("ledger/cosign", {"note": _tool("cosign", str(request), *seen)}, repeatable=True)
    return client.get("ledger/head")


def _add_witness(stage: Stage, vkey: str) -> None:
    body = {"name": vkey.partition("+")[0], "vkey": vkey}
    try:
        stage.cli.client.post("ledger/witnesses", body, repeatable=True)
    except Refused as error:
        if error.code != "bad_witness":  # there already: an earlier try whose response was lost
            raise


def _tool(*arguments: str) -> str:
    """Run the single-file witness alone, as an outsider would."""
    with resources.as_file(resources.files("baray") / "ledger" / "witness.py") as script:
        done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Fault("witness_refused", f"witness.py {arguments[0]}: {done.stderr.strip()}", fix="See what it says.")
    return done.stdout


def verify_ledger(stage: Stage, home: Path) -> Json:
    """`baray ledger verify` in a process of its own."""
    command = [sys.executable, "-m", "baray", "ledger", "verify", "--home", str(home), "--json"]
    environ = dict(stage.cli.settings.environ)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=environ,
        timeout=_VERIFY_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    try:
        report: Json = json.loads(done.stdout)
    except ValueError as error:
        raise Fault("verify_failed", f"ledger verify said: {done.stderr.strip()}", fix="Run it by hand.") from error
    return report


def _tamper(stage: Stage, home: Path, document: str) -> Json:
    """Flip one byte of a file in a copy of the home; `named` is what verify says is damaged."""
    source = stage.cli.client.thing(stage.material.name, kind="source")
    files = {file["path"]: file["digest"] for file in source["files"] if file["bytes"] > 0}
    path = document if document in files else next(iter(files))
    digest = files[path]
    with _copy(home) as copy:
        _flip(copy, digest)
        report = verify_ledger(stage, copy)
    hexadecimal = digest.removeprefix("sha256:")
    named = [f"{one['where']}: {one['what']}" for one in report["findings"]]
    ours = [text for text in named if path in text or hexadecimal in text]
    return {"found": not report["ok"] and bool(ours), "named": "; ".join(ours or named)}


@contextmanager
def _copy(home: Path) -> Iterator[Path]:
    """The home as verify needs it. The database comes through SQLite's own backup, so it is whole while others write."""
    beside = home.parent if os.access(home.parent, os.W_OK) else None
    with TemporaryDirectory(prefix=f"{home.name}-copy-", dir=beside) as folder:
        copy = Path(folder) / "home"
        shutil.copytree(home, copy, ignore=_ignored, copy_function=_link_or_copy)
        with (
            closing(sqlite3.connect(f"file:{home / 'baray.db'}?mode=ro", uri=True)) as live,
            closing(sqlite3.connect(copy / "baray.db")) as target,
        ):
            live.backup(target)
        yield copy


def _ignored(_folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name in _NOT_COPIED or name.startswith("baray.db")}


def _link_or_copy(source: str, target: str) -> None:
    """A second name for the same bytes where the file system has them: nothing in the copy is written in place."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copyfile(source, target)


def _flip(home: Path, digest: str) -> None:
    """Replace the blob's file by one that differs in a byte; the original, which may share its bytes, stays."""
    digits = digest.removeprefix("sha256:")
    path = next(path for path in (home / "blobs").rglob("*") if path.is_file() and digits in "".join(path.parts[-2:]))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    fresh = path.with_name("fresh")
    fresh.write_bytes(data)
    fresh.replace(path)

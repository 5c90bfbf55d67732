"""Homes for the ledger's tests: a store, a ledger with a fixed key, a clock moved by hand, versions, a witness."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from baray.core import Ids, TestClock, canonical_json
from baray.ledger import FileSigner, Ledger, accept_cosignature, add_witness, request
from baray.ledger import witness as outside
from baray.store import DiskBlobs, Store, migrate, open_store

ORIGIN = "baray.example/test"
WITNESS = "court.example/w1"
ACTOR = "u_" + "0" * 26
PROJECT = "p_" + "0" * 26


class Home:
    """An open home."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.clock = TestClock()
        self.ids = Ids(self.clock)
        migrate(path / "baray.db")
        self.blobs = DiskBlobs(path / "blobs")
        self.signer = FileSigner(path / "ledger.key", name=ORIGIN, chance=lambda number: bytes(range(number)))
        self.ledger = self.new_ledger()
        self.store: Store = open_store(path / "baray.db", sealer=self.ledger)

    def new_ledger(self) -> Ledger:
        return Ledger(origin=ORIGIN, signer=self.signer, clock=self.clock)

    def reopen(self) -> None:
        self.store.close()
        self.ledger = self.new_ledger()
        self.store = open_store(self.path / "baray.db", sealer=self.ledger)

    def append(self, number: int = 1) -> int:
        """Append entries in one action; returns the last one's index."""

        def act(tx):
            for n in range(number):
                facts = {"number": n}
                index = self.ledger.append(
                    tx, "run.started", actor=ACTOR, subject="run:r_1", label="internal", facts=facts
                )
            return index

        return self.store.write(act)

    def head(self):
        return self.store.read(self.ledger.head)

    def witnessed(self, key: Path, state: Path) -> None:
        """Have a witness, whose files lie outside the home, cosign the newest head."""
        if not key.exists():
            vkey = outside.create_key(key, WITNESS, outside.COSIGNER_KEY, bytes(range(32, 64)))
            self.store.write(lambda tx: add_witness(tx, self.ledger, vkey, actor=ACTOR))
        asked = self.store.read(request)
        cosigned = outside.cosign(asked, key=key, state=state, now=self.clock.now(), log=self.ledger.vkey)
        self.store.write(lambda tx: accept_cosignature(tx, self.ledger, cosigned, actor=ACTOR))

    def publish(self, kind: str, name: str, files: dict[str, bytes], label: str = "internal") -> str:
        """Register a version the way `catalog` does; returns its id."""
        rows = [
            {"path": path, "digest": self.blobs.put_bytes(data), "bytes": len(data)} for path, data in files.items()
        ]
        if kind == "source":
            rows = [{**row, "label": label, "valid_from": None, "valid_until": None, "office": "o1"} for row in rows]
        digest = "sha256:" + hashlib.sha256(canonical_json(rows)).hexdigest()
        manifest = {"kind": kind, "name": name, "digest": digest, "label": label, "files": rows}
        size = sum(row["bytes"] for row in rows)
        if kind == "source":
            summary = {"files": len(rows), "bytes": size}
        else:
            manifest["summary"] = summary = {"rows": len(rows)}
        manifest_digest = self.blobs.put_bytes(canonical_json(manifest))
        version = self.ids.new("v")
        own = self.ids.new("s" if kind == "source" else kind[0])
        project = (PROJECT, "main", "Main", "internal", 1.0)

        def act(tx):
            made = tx.hot(
                "INSERT INTO project (id, name, title, label, created) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                project,
            )
            if made.rowcount:
                self.ledger.append(
                    tx, "project.created", actor=ACTOR, subject=PROJECT, project=PROJECT, label="internal"
                )
            if kind == "source":
                tx.hot(
                    "INSERT INTO source (id, project_id, name, title, created) VALUES (?, ?, ?, ?, 1)",
                    (own, PROJECT, name, name),
                )
            else:
                tx.hot(
                    "INSERT INTO thing (id, project_id, kind, name, title, created) VALUES (?, ?, ?, ?, ?, 1)",
                    (own, PROJECT, kind, name, name),
                )
            ids = (version, None if kind == "source" else own, own if kind == "source" else None)
            tx.hot(
                "INSERT INTO version (id, thing_id, source_id, number, digest, manifest_digest, label, bytes, created, summary)"
                " VALUES (?, ?, ?, 1, ?, ?, ?, ?, 1, ?)",
                (*ids, digest, manifest_digest, label, size, canonical_json(summary).decode()),
            )
            if kind == "source":
                tx.hot(
                    "INSERT INTO source_file (version_id, path, digest, bytes, label, office) VALUES (?, ?, ?, ?, ?, ?)",
                    [(version, row["path"], row["digest"], row["bytes"], label, "o1") for row in rows],
                )
            facts = {"digest": digest, "manifest": manifest_digest}
            said = "source.added" if kind == "source" else "version.published"
            self.ledger.append(tx, said, actor=ACTOR, subject=version, project=PROJECT, label=label, facts=facts)

        self.store.write(act)
        return version


@contextmanager
def opened(path: Path) -> Iterator[Home]:
    """Open a home and close it."""
    home = Home(path)
    try:
        yield home
    finally:
        home.store.close()


def full_home(path: Path, outside_files: Path) -> None:
    """Write a closed home with 300 entries, several heads, a witness, and versions of three kinds."""
    with opened(path) as home:
        home.append(250)
        home.clock.advance(70)
        home.publish("source", "papers", {"fee.txt": b"5000 riel", "hours.txt": b"8 to 5"})
        home.publish("dataset", "letters", {"data/part-00000.parquet": b"rows"}, "public")
        home.publish("index", "desk", {"segments/public.idx": b"spans", "documents.json": b"[]"}, "public")
        home.clock.advance(70)
        home.witnessed(outside_files / "w.key", outside_files / "w.state")
        home.append(300 - 4 - 252)

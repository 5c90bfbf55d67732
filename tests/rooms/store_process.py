"""Processes that the store's tests fill the disk of, or kill:  store_process.py full-disk|io-error|write FOLDER [TURN]."""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from pathlib import Path

from store_rows import Groups, keys, put

from baray.core import BarayError, SystemClock
from baray.ledger import FileSigner, Ledger
from baray.store import DiskBlobs, Store, migrate, open_store


def write_until_refused(store: Store, told: dict) -> list[str]:
    """Store large rows until one is refused; keys of those that were acknowledged."""
    acknowledged = []
    for number in range(500):
        try:
            store.write(put(f"k{number}", "x" * 100_000))
        except BarayError as error:
            told["error"] = {"code": error.code, "status": error.status}
            return acknowledged
        acknowledged.append(f"k{number}")
    raise AssertionError("the disk never filled")


def try_blob(blobs: DiskBlobs, told: dict) -> None:
    """Put a blob that cannot fit."""
    try:
        blobs.put_bytes(b"y" * 8_000_000)
    except BarayError as error:
        told["blob_error"] = {"code": error.code, "status": error.status}


def full_disk(folder: Path) -> None:
    """The folder is a small disk of its own."""
    told: dict = {}
    migrate(folder / "baray.db")
    store = open_store(folder / "baray.db", sealer=Groups())
    ballast = folder / "ballast"
    ballast.write_bytes(b"z" * 1_000_000)
    acknowledged = write_until_refused(store, told)
    try_blob(DiskBlobs(folder / "blobs"), told)
    told["left_by_blob"] = [str(path) for path in (folder / "blobs").rglob("*") if path.is_file()]
    ballast.unlink()
    finish(store, told, acknowledged)


def io_error(folder: Path) -> None:
    """No file may grow beyond a limit: SQLite meets an I/O error in the middle of a COMMIT."""
    told: dict = {}
    migrate(folder / "baray.db")
    store = open_store(folder / "baray.db", sealer=Groups())
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
    acknowledged = write_until_refused(store, told)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    finish(store, told, acknowledged)


def finish(store: Store, told: dict, acknowledged: list[str]) -> None:
    """Write once more, and compare what is there with what was acknowledged."""
    store.write(put("after"))
    found = keys(store)
    told["acknowledged"] = len(acknowledged)
    told["lost"] = sorted(set(acknowledged) - set(found))
    told["after"] = "stored" if "after" in found else "lost"
    store.close()
    print(json.dumps(told))


def write(folder: Path, turn: str) -> None:
    """Write from four threads until killed; say each key after it was stored."""
    sys.stdin.readline()
    signer = FileSigner(folder / "ledger.key", name="baray.example/kill")
    ledger = Ledger(origin=signer.name, signer=signer, clock=SystemClock())
    store = open_store(folder / "baray.db", sealer=ledger)

    def act(key: str) -> None:
        def insert(tx) -> None:
            tx.hot("INSERT INTO meta (key, value) VALUES (?, ?)", (key, "x" * 500))
            ledger.append(tx, "run.started", actor="system", subject="home")

        store.write(insert)
        os.write(1, key.encode() + b"\n")

    def work(name: int) -> None:
        for number in range(1_000_000):
            act(f"{turn}-{name}-{number}")

    for name in range(4):
        threading.Thread(target=work, args=[name]).start()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["full-disk", folder]:
            full_disk(Path(folder))
        case ["io-error", folder]:
            io_error(Path(folder))
        case ["write", folder, turn]:
            write(Path(folder), turn)

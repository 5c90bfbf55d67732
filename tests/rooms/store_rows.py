"""What the store's tests share: a sealer that keeps its groups, and a way to hold the writer so that a group gathers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from baray.core import BarayError
from baray.store import Store, Tx
from baray.store.records import MAX_GROUP_SECONDS

LIMIT_SECONDS = 20.0


class Groups:
    """A sealer that inserts the entries, and remembers how they came; `fail` may be set to an error to raise."""

    def __init__(self) -> None:
        self.groups: list[list[bytes]] = []
        self.fail: BaseException | None = None
        self.fail_size: BaseException | None = None

    def size(self, tx: Tx) -> int:
        if self.fail_size is not None:
            raise self.fail_size
        return int(tx.hot("SELECT count(*) FROM entry").scalar_one())

    def seal(self, tx: Tx, first: int, entries: list[bytes]) -> None:
        tx.hot("INSERT INTO entry (idx, data) VALUES (?, ?)", list(enumerate(entries, first)))
        if self.fail is not None:
            raise self.fail
        self.groups.append(list(entries))


def put(key: str, value: str = "") -> Callable[[Tx], int]:
    """An action: a row, and an entry that tells of it; its value is the entry's index."""

    def act(tx: Tx) -> int:
        tx.hot("INSERT INTO meta (key, value) VALUES (?, ?)", (key, value))
        return tx.journal(key.encode())

    return act


def keys(store: Store) -> list[str]:
    """Keys of all rows that are committed, in the order of their arrival."""
    return store.read(lambda tx: [row[0] for row in tx.hot("SELECT key FROM meta ORDER BY rowid")])


def entries(store: Store) -> list[str]:
    """All entries that are committed."""
    return store.read(lambda tx: [row[0].decode() for row in tx.hot("SELECT data FROM entry ORDER BY idx")])


@contextmanager
def held(store: Store) -> Iterator[None]:
    """Hold the writer: what is submitted inside waits, and then makes one group (or as few as time allows).

    The holder itself takes longer than a group may, so it is never in a group with others.
    """
    started, go = threading.Event(), threading.Event()

    def wait(_tx: Tx) -> None:
        end = time.monotonic() + MAX_GROUP_SECONDS
        started.set()
        assert go.wait(LIMIT_SECONDS)
        while time.monotonic() <= end:
            time.sleep(MAX_GROUP_SECONDS / 5)

    waiting = store.submit(wait)
    assert started.wait(LIMIT_SECONDS)
    try:
        yield
    finally:
        go.set()
    waiting.result(LIMIT_SECONDS)


def error_of(call: Callable[[], Any]) -> BarayError | None:
    """The error of ours that `call` raises."""
    try:
        call()
    except BarayError as error:
        return error
    return None

"""Records on SQLite: one writer thread with group commit, and snapshot reads on pooled connections.

Order of durability: an action runs in a SAVEPOINT of the group's transaction; the sealer adds the ledger's rows and
signed head to the same transaction; one COMMIT (WAL, synchronous=FULL: fsync) makes all of it durable or nothing;
only then do the callers' futures resolve. A reader never waits for the writer.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, CursorResult, Engine, Executable, create_engine, event
from sqlalchemy.pool import QueuePool

from baray.core import BarayError, Fault, Refused, StateUnknown
from baray.store import schema
from baray.store.migrate import revision_of

T = TypeVar("T")
MAX_GROUP = 256  # actions
MAX_GROUP_SECONDS = 0.005
MAX_READERS = 8


class Tx:
    """One action's transaction. Valid only inside the function it was given to."""

    def __init__(self, connection: Connection, first: int = -1) -> None:
        """Wrap `connection`; `first` is the index of the group's first ledger entry, -1 for a read."""
        self._connection = connection
        self._first = first
        self._journal: list[bytes] = []
        self.journal_time = 0.0
        """Greatest time of a ledger entry so far, seconds since 1970."""

    def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:  # noqa: ANN401 - SQLAlchemy's
        """Run a SQLAlchemy Core statement."""
        result = self._connection.execute(statement, parameters)
        assert isinstance(result, CursorResult)
        return result

    def hot(self, sql: str, parameters: tuple[Any, ...] | list[tuple[Any, ...]] = ()) -> CursorResult[Any]:
        """Run raw SQL with `?` parameters; a list of tuples runs it once for each. For hot statements only."""
        return self._connection.exec_driver_sql(sql, parameters)

    def journal(self, data: bytes) -> int:
        """Append a ledger entry's bytes and return its index; a refused action takes its entries back."""
        if self._first < 0:
            raise Fault("read_only", "A ledger entry was appended in a read.")
        self._journal.append(data)
        return self._first + len(self._journal) - 1


class Sealer(Protocol):
    """Turns a group's journal into ledger rows. The Ledger is the one that ships; tests may count instead."""

    def size(self, tx: Tx) -> int:
        """Number of entries that are committed."""

    def seal(self, tx: Tx, first: int, entries: list[bytes]) -> None:
        """Insert `entries` from index `first`, tiles, and a signed head. Raising undoes the whole group."""


class _Action:
    def __init__(self, fn: Callable[[Tx], Any]) -> None:
        self.fn = fn
        self.future: Future[Any] = Future()
        self.value: Any = None
        self.error: BaseException | None = None


class Store:
    """The rows of one home. Safe to use from any thread of the one process that opened it."""

    def __init__(self, writer: Engine, readers: Engine, sealer: Sealer) -> None:
        """Start the writer thread. Use `open_store`."""
        self._writer = writer
        self._readers = readers
        self._sealer = sealer
        self._queue: queue.SimpleQueue[_Action | None] = queue.SimpleQueue()
        self._journal_time = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._write_forever, name="store-writer", daemon=True)
        self._thread.start()

    def write(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn(tx)` in a group's transaction and return its value after COMMIT.

        What `fn` raises is raised here after its changes were rolled back. Raises Fault `not_stored` when the
        group could not be committed (nothing of it is stored) and StateUnknown when that cannot be known.
        `fn` must be quick and must not touch network or large files: it holds the only writer.
        """
        return self.submit(fn).result()

    def submit(self, fn: Callable[[Tx], T]) -> Future[T]:
        """Queue `fn(tx)`; the future resolves after COMMIT."""
        if self._closed:
            raise Fault("store_closed", "The store is closed.")
        action = _Action(fn)
        self._queue.put(action)
        return action.future

    def read(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn(tx)` on a snapshot."""
        with self._readers.connect() as connection, connection.begin():
            return fn(Tx(connection))

    def close(self) -> None:
        """Finish the queued writes and close every connection."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()
            self._readers.dispose()
            self._writer.dispose()

    def _write_forever(self) -> None:
        with self._writer.connect() as connection:
            while True:
                first = self._queue.get()
                if first is None or not self._write_group(connection, first):
                    return

    def _write_group(self, connection: Connection, first: _Action) -> bool:
        """Run `first` and what is queued behind it as one group; False when the store is closing."""
        group: list[_Action] = []
        going = True
        lost: BarayError | None = None
        try:
            transaction = connection.begin()
            tx = Tx(connection, self._sealer.size(Tx(connection)))
            tx.journal_time = self._journal_time
            going = self._run_actions(tx, group, first)
            # The journal's rows and the head belong to the same transaction as the actions they tell of.
            if tx._journal:  # noqa: SLF001 - the store owns Tx
                self._sealer.seal(tx, tx._first, tx._journal)  # noqa: SLF001
            transaction.commit()
            self._journal_time = tx.journal_time
        except Exception as error:  # noqa: BLE001 - handed to every caller of the group, not swallowed
            lost = _lost(error)
            if first not in group:
                group.append(first)
            _roll_back(connection)
        for action in group:
            _resolve(action, lost)
        return going

    def _run_actions(self, tx: Tx, group: list[_Action], first: _Action) -> bool:
        deadline = time.monotonic() + MAX_GROUP_SECONDS
        action: _Action | None = first
        while action is not None:
            group.append(action)
            _run_action(tx, action)
            if len(group) >= MAX_GROUP or time.monotonic() > deadline:
                return True
            try:
                action = self._queue.get_nowait()
            except queue.Empty:
                return True
        return False


def open_store(path: Path, *, sealer: Sealer) -> Store:
    """Open the database at `path`. Raises Refused `not_migrated` unless its schema is this version's."""
    found = revision_of(path)
    if found != schema.REVISION:
        raise Refused(
            "not_migrated",
            f"The database {path} has schema {found}, this Baray needs {schema.REVISION}.",
            fix="Run: baray migrate",
            status=409,
        )
    writer = _engine(path, "BEGIN IMMEDIATE", ["PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON"], 1)
    readers = _engine(path, "BEGIN", ["PRAGMA query_only=ON"], MAX_READERS)
    return Store(writer, readers, sealer)


def _engine(path: Path, begin: str, pragmas: Iterable[str], size: int) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": 30},
    )

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # BEGIN is ours: pysqlite would otherwise start transactions late
        for pragma in ("PRAGMA journal_mode=WAL", *pragmas):
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _run_action(tx: Tx, action: _Action) -> None:
    mark, time_mark = len(tx._journal), tx.journal_time  # noqa: SLF001 - the store owns Tx
    tx.hot("SAVEPOINT action")
    try:
        action.value = action.fn(tx)
    except BaseException as error:
        action.error = error
        # SQLite itself rolls back the whole transaction on some errors (disk full): then the group is lost, not one action.
        if not _in_transaction(tx):
            raise Fault("not_stored", f"The database rolled back: {error}") from error
        tx.hot("ROLLBACK TO action")
        del tx._journal[mark:]  # noqa: SLF001
        tx.journal_time = time_mark
        if isinstance(error, BarayError) and error.instead is not None:
            error.instead(tx)
    tx.hot("RELEASE action")


def _in_transaction(tx: Tx) -> bool:
    driver = tx._connection.connection.driver_connection  # noqa: SLF001
    return bool(driver is not None and driver.in_transaction)


def _roll_back(connection: Connection) -> None:
    """Undo the group; SQLite may have done so already, and then a ROLLBACK of ours would hide the cause."""
    driver = connection.connection.driver_connection
    if driver is not None and driver.in_transaction:
        connection.rollback()
    else:
        connection.invalidate()
        connection.rollback()


def _lost(error: BaseException) -> BarayError:
    if "disk I/O error" in str(error):
        return StateUnknown(
            "store_io",
            f"The database could not confirm a write: {error}",
            fix="Check the disk, then restart: baray down; baray up",
        )
    return Fault(
        "not_stored",
        f"Nothing was stored: {error}",
        fix="Free space on the disk of the home, then try again.",
        status=507,
    )


def _resolve(action: _Action, lost: BarayError | None) -> None:
    if action.error is not None:
        action.future.set_exception(action.error)
    elif lost is not None:
        action.future.set_exception(lost)
    else:
        action.future.set_result(action.value)

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
from typing import Any, Protocol, TypeGuard, TypeVar

from sqlalchemy import URL, Connection, CursorResult, Engine, Executable, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from baray.core import BarayError, Fault, Refused, StateUnknown
from baray.store import schema
from baray.store.migrate import refuse_newer, revision_of

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
    """A queued `fn` and what became of it."""

    def __init__(self, fn: Callable[[Tx], Any]) -> None:
        self.fn = fn
        self.future: Future[Any] = Future()
        self.value: Any = None
        self.error: BaseException | None = None
        self.stores = False
        """Whether something of it, perhaps only its denial, is stored if the group is committed."""


class _Group:
    """The actions of one COMMIT."""

    def __init__(self, first: _Action) -> None:
        self.actions = [first]
        self.last = False
        """The store is closing: no group follows."""
        self.committing = False
        """COMMIT was called; from here on a failure may leave the group stored."""


class Store:
    """The rows of one home. Safe to use from any thread of the one process that opened it."""

    def __init__(self, writer: Engine, readers: Engine, sealer: Sealer) -> None:
        """Start the writer thread. Use `open_store`."""
        self._writer = writer
        self._readers = readers
        self._sealer = sealer
        self._queue: queue.SimpleQueue[_Action | None] = queue.SimpleQueue()
        self._journal_time = 0.0
        self._gate = threading.Lock()  # guards _closed: nothing is queued behind the end
        self._closed = False
        # Opened here, so that a database that cannot be opened is its opener's error.
        connection = writer.connect()
        self._thread = threading.Thread(target=self._write_forever, args=[connection], name="store-writer", daemon=True)
        self._thread.start()

    def write(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn(tx)` in a group's transaction and return its value after COMMIT.

        What `fn` raises is raised here after its changes were rolled back. Raises Fault `not_stored` when the
        group could not be committed (nothing of it is stored) and StateUnknown when that cannot be known.
        `fn` must be quick and must not touch network or large files: it holds the only writer.
        """
        if threading.current_thread() is self._thread:
            raise Fault("nested_write", "An action called `write`; it would wait for itself. Use the tx it was given.")
        return self.submit(fn).result()

    def submit(self, fn: Callable[[Tx], T]) -> Future[T]:
        """Queue `fn(tx)`; the future resolves after COMMIT. One that is cancelled before its turn does not run."""
        action = _Action(fn)
        with self._gate:
            if self._closed:
                raise _closed()
            self._queue.put(action)
        return action.future

    def read(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn(tx)` on a snapshot."""
        if self._closed:
            raise _closed()
        with self._readers.connect() as connection, connection.begin():
            return fn(Tx(connection))

    def close(self) -> None:
        """Finish the queued writes and close every connection."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()
        self._readers.dispose()
        self._writer.dispose()

    def _write_forever(self, connection: Connection) -> None:
        with connection:
            group: _Group | None = None
            while group is None or not group.last:
                first = self._queue.get()
                if first is None:
                    return
                if first.future.set_running_or_notify_cancel():
                    group = _Group(first)
                    self._write_group(connection, group)

    def _write_group(self, connection: Connection, group: _Group) -> None:
        _, error = _outcome(lambda: self._commit_group(connection, group))
        if error is not None:
            # Closing its connection is the one way to end a transaction that works in whatever state SQLite left it:
            # after a failed COMMIT there may or may not be one. The next group starts on a fresh connection.
            connection.invalidate()
            connection.rollback()
        for action in group.actions:
            _resolve(action, None if error is None else _lost(error, committing=group.committing))

    def _commit_group(self, connection: Connection, group: _Group) -> None:
        transaction = connection.begin()
        tx = Tx(connection, self._sealer.size(Tx(connection)))
        tx.journal_time = self._journal_time
        self._run_actions(tx, group)
        # The journal's rows and the head belong to the same transaction as the actions they tell of.
        if tx._journal:  # noqa: SLF001 - the store owns Tx
            self._sealer.seal(tx, tx._first, tx._journal)  # noqa: SLF001
        group.committing = True
        transaction.commit()
        self._journal_time = tx.journal_time

    def _run_actions(self, tx: Tx, group: _Group) -> None:
        """Run the group's first action and those queued behind it, until the group is full or nobody waits."""
        deadline = time.monotonic() + MAX_GROUP_SECONDS
        _run_action(tx, group.actions[0])
        while len(group.actions) < MAX_GROUP and time.monotonic() <= deadline:
            try:
                action = self._queue.get_nowait()
            except queue.Empty:
                return
            if action is None:
                group.last = True
                return
            if action.future.set_running_or_notify_cancel():
                group.actions.append(action)
                _run_action(tx, action)


def open_store(path: Path, *, sealer: Sealer) -> Store:
    """Open the database at `path`. Raises Refused `not_migrated` or `newer_database` unless its schema is this version's."""
    found = revision_of(path)
    refuse_newer(path, found)
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
        URL.create("sqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        hide_parameters=True,  # an error's text goes to logs and callers; what was to be stored does not
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
    action.value, action.error = _in_savepoint(tx, action.fn)
    action.stores = action.error is None
    if isinstance(action.error, BarayError) and action.error.instead is not None:
        refused = action.error
        _, failed = _in_savepoint(tx, refused.instead)
        action.stores = True
        refused.told = failed is None  # if the group is lost, its caller gets the error of that instead
        if failed is not None:
            failed.__cause__ = refused
            action.error = failed


def _in_savepoint(tx: Tx, fn: Callable[[Tx], T]) -> tuple[T | None, BaseException | None]:
    """What `fn` returned, or raised after its rows and entries were taken back."""
    mark, time_mark = len(tx._journal), tx.journal_time  # noqa: SLF001 - the store owns Tx
    tx.hot("SAVEPOINT action")
    value, error = _outcome(lambda: fn(tx))
    if not _in_transaction(tx):
        # SQLite itself rolls back everything on some errors (disk full): then the group is lost, not one action.
        raise error if isinstance(error, DBAPIError) else Fault("not_stored", f"The database rolled back: {error}")
    if error is not None:
        tx.hot("ROLLBACK TO action")
        del tx._journal[mark:]  # noqa: SLF001
        tx.journal_time = time_mark
    tx.hot("RELEASE action")
    return value, _lost(error, committing=False) if _is_of_disk(error) else error


def _outcome(fn: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """What `fn` returns, or raises: an error is handed to the caller it belongs to, and the writer goes on."""
    try:
        return fn(), None
    except BaseException as error:  # noqa: BLE001 - the one place that takes any
        return None, error


def _in_transaction(tx: Tx) -> bool:
    driver = tx._connection.connection.driver_connection  # noqa: SLF001
    return bool(driver is not None and driver.in_transaction)


def _sqlite_code(error: BaseException | None) -> int:
    """SQLite's primary result code, 0 if it is not the cause."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF


def _is_of_disk(error: BaseException | None) -> TypeGuard[BaseException]:
    return _sqlite_code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)


def _lost(error: BaseException, *, committing: bool) -> BarayError:
    """The error for a caller whose action ran but is not stored, or perhaps is."""
    lost: BarayError
    told = error.orig if isinstance(error, DBAPIError) else error
    if committing and _sqlite_code(error) == sqlite3.SQLITE_IOERR:
        lost = StateUnknown(
            "store_io",
            f"The database could not confirm a write: {told}.",
            fix="Check the disk, then restart: baray down; baray up",
        )
    elif _is_of_disk(error):
        fix = "Free space on the disk of the home, or make it writable, then try again."
        lost = Fault("not_stored", f"Nothing was stored: {told}.", fix=fix, status=507)
    else:
        fix = error.fix if isinstance(error, BarayError) else "See what is wrong: baray doctor"
        message = error.message if isinstance(error, BarayError) else repr(told)
        lost = Fault("not_stored", f"Nothing was stored: {message}", fix=fix)
    lost.__cause__ = error
    return lost


def _resolve(action: _Action, lost: BarayError | None) -> None:
    if lost is not None and (action.stores or action.error is None):
        action.future.set_exception(lost)
    elif action.error is not None:
        action.future.set_exception(action.error)
    else:
        action.future.set_result(action.value)


def _closed() -> Fault:
    return Fault("store_closed", "The store is closed.", fix="Start the server: baray up")

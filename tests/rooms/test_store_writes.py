"""Writing and reading rows: groups, order, snapshots, refusals, the end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError
from store_rows import LIMIT_SECONDS, Groups, entries, error_of, held, keys, put

from baray.core import Fault, Refused
from baray.store import open_store, schema
from baray.store.records import MAX_GROUP


@pytest.fixture
def sealer():
    return Groups()


@pytest.fixture
def store(database, sealer):
    opened = open_store(database, sealer=sealer)
    yield opened
    opened.close()


@pytest.fixture
def commits(store):
    """Grows by one at each COMMIT of the writer."""
    counted = []
    event.listen(store._writer, "commit", lambda _connection: counted.append(1))
    return counted


def test_many_actions_share_a_commit(store, sealer, commits):
    with held(store):
        futures = [store.submit(put(f"k{number}")) for number in range(200)]
    assert [future.result(LIMIT_SECONDS) for future in futures] == list(range(200))
    assert keys(store) == entries(store) == [f"k{number}" for number in range(200)]
    assert len(commits) < 60, "an action a COMMIT is what groups are there to avoid"
    assert len(sealer.groups) == len(commits) - 1, "sealed once a group; the holder had no entry"


def test_a_group_is_bounded(store, sealer):
    with held(store):
        futures = [store.submit(put(f"k{number}")) for number in range(3 * MAX_GROUP)]
    for future in futures:
        future.result(LIMIT_SECONDS)
    assert max(len(group) for group in sealer.groups) <= MAX_GROUP
    assert len(sealer.groups) >= 3


def test_nothing_is_seen_before_the_commit_and_all_of_it_after(store):
    with held(store):
        waiting = store.submit(put("a"))
        assert not waiting.done()
        assert keys(store) == []
    waiting.result(LIMIT_SECONDS)
    assert keys(store) == ["a"]


def test_an_action_that_raises_is_taken_back_alone_with_its_entries(store, sealer):
    def broken(tx):
        put("broken")(tx)
        raise KeyError("mine")

    with held(store):
        first, wrong, last = store.submit(put("a")), store.submit(broken), store.submit(put("c"))
    assert (first.result(LIMIT_SECONDS), last.result(LIMIT_SECONDS)) == (0, 1)
    with pytest.raises(KeyError, match="mine"):
        wrong.result(LIMIT_SECONDS)
    assert keys(store) == entries(store) == ["a", "c"]


def test_a_statement_that_fails_is_its_actions_own_error(store):
    store.write(put("a"))
    with pytest.raises(Exception, match="UNIQUE constraint failed") as raised:
        store.write(put("a", "the value stays out of messages"))
    assert "stays out" not in str(raised.value)
    assert store.write(put("b")) == 1


def test_the_greatest_time_is_taken_back_too(store):
    def at(time, *, fails=False):
        def act(tx):
            seen, tx.journal_time = tx.journal_time, time
            if fails:
                raise ValueError("no")
            return seen

        return act

    store.write(at(5.0))
    with held(store):
        wrong, after = store.submit(at(9.0, fails=True)), store.submit(at(6.0))
    assert isinstance(wrong.exception(LIMIT_SECONDS), ValueError)
    assert after.result(LIMIT_SECONDS) == 5.0
    assert store.write(at(7.0)) == 6.0


def test_the_denial_of_a_refused_action_is_committed_in_its_place(store):
    def refused(tx):
        put("secret")(tx)
        error = Refused("forbidden", "No.", status=403)
        error.instead = put("denied")
        raise error

    with held(store):
        first, denied, last = store.submit(put("a")), store.submit(refused), store.submit(put("b"))
    assert first.result(LIMIT_SECONDS) == 0
    assert (denied.exception(LIMIT_SECONDS).code, denied.exception().told) == ("forbidden", True)
    assert last.result(LIMIT_SECONDS) == 2
    assert keys(store) == entries(store) == ["a", "denied", "b"]


def test_a_denial_that_cannot_be_written_harms_nobody_else(store):
    def twice_wrong(tx):
        error = Refused("forbidden", "No.")
        error.instead = broken_denial
        raise error

    def broken_denial(tx):
        put("half")(tx)
        raise Fault("bad_entry", "It may not stand there.")

    with held(store):
        first, wrong, last = store.submit(put("a")), store.submit(twice_wrong), store.submit(put("b"))
    assert (first.result(LIMIT_SECONDS), last.result(LIMIT_SECONDS)) == (0, 1)
    error = wrong.exception(LIMIT_SECONDS)
    assert error.code == "bad_entry"
    assert (error.__cause__.code, error.__cause__.told) == ("forbidden", False)
    assert keys(store) == entries(store) == ["a", "b"]


def test_concurrent_writers_lose_no_update(store):
    store.write(put("count", "0"))

    def increment(tx):
        count = int(tx.hot("SELECT value FROM meta WHERE key = 'count'").scalar_one())
        tx.hot("UPDATE meta SET value = ? WHERE key = 'count'", (str(count + 1),))
        return count

    def work(_number):
        return [store.write(increment) for _ in range(25)]

    with ThreadPoolExecutor(8) as threads:
        seen = [count for counts in threads.map(work, range(8)) for count in counts]
    assert sorted(seen) == list(range(200))
    assert store.read(lambda tx: tx.execute(select(schema.meta.c.value)).scalar_one()) == "200"


def test_a_read_stays_at_its_snapshot_and_holds_up_no_write(store):
    store.write(put("a"))

    def look(tx):
        before = tx.hot("SELECT count(*) FROM meta").scalar_one()
        store.write(put("b"))
        return before, tx.hot("SELECT count(*) FROM meta").scalar_one()

    assert store.read(look) == (1, 1)
    assert keys(store) == ["a", "b"]


def test_a_read_cannot_write(store):
    with pytest.raises(OperationalError, match="readonly"):
        store.read(lambda tx: tx.hot("INSERT INTO meta (key, value) VALUES ('a', 'b')"))
    with pytest.raises(Fault) as fault:
        store.read(lambda tx: tx.journal(b"entry"))
    assert fault.value.code == "read_only"
    assert keys(store) == entries(store) == []


def test_more_readers_than_connections_take_turns(store):
    store.write(put("a"))
    together = threading.Barrier(8)

    def look(number):
        if number < 8:
            return store.read(lambda tx: (together.wait(LIMIT_SECONDS), tx.hot("SELECT key FROM meta").scalar_one())[1])
        return store.read(lambda tx: tx.hot("SELECT key FROM meta").scalar_one())

    with ThreadPoolExecutor(24) as threads:
        assert set(threads.map(look, range(24))) == {"a"}


def test_the_end_waits_for_what_was_queued(store):
    with held(store):
        futures = [store.submit(put(f"k{number}")) for number in range(50)]
        closing = threading.Thread(target=store.close)
        closing.start()
    closing.join(LIMIT_SECONDS)
    assert [future.result(0) for future in futures] == list(range(50))


def test_after_the_end_nothing_is_read_or_written(store):
    store.close()
    store.close()
    for call in (lambda: store.write(put("a")), lambda: store.submit(put("a")), lambda: keys(store)):
        with pytest.raises(Fault) as fault:
            call()
        assert fault.value.code == "store_closed"


def test_who_writes_while_it_ends_is_told_and_never_left_waiting(store, database):
    together = threading.Barrier(9)

    def work(name):
        together.wait(LIMIT_SECONDS)
        done = []
        for number in range(10_000):
            error = error_of(lambda number=number: store.submit(put(f"{name}-{number}")).result(LIMIT_SECONDS))
            if error is not None:
                return done, error
            done.append(f"{name}-{number}")
        raise AssertionError("the store did not end")

    with ThreadPoolExecutor(8) as threads:
        working = [threads.submit(work, name) for name in range(8)]
        together.wait(LIMIT_SECONDS)
        store.write(put("first"))
        store.close()
        results = [future.result(LIMIT_SECONDS) for future in working]
    assert {error.code for _, error in results} == {"store_closed"}
    store_again = open_store(database, sealer=Groups())
    assert set(keys(store_again)) == {"first", *(key for done, _ in results for key in done)}
    store_again.close()


def test_an_end_comes_even_if_the_last_group_is_lost(store, sealer):
    with held(store):
        waiting = store.submit(put("a"))
        closing = threading.Thread(target=store.close)
        closing.start()
        sealer.fail = OSError("key gone")
    closing.join(LIMIT_SECONDS)
    assert not closing.is_alive()
    assert waiting.exception(0).code == "not_stored"


def test_a_write_inside_an_action_is_refused_instead_of_waiting_for_itself(store):
    with pytest.raises(Fault) as fault:
        store.submit(lambda _tx: store.write(put("inner"))).result(LIMIT_SECONDS)
    assert fault.value.code == "nested_write"
    assert store.write(put("a")) == 0


def test_an_action_that_is_cancelled_in_the_queue_does_not_run(store):
    with held(store):
        cancelled, kept = store.submit(put("a")), store.submit(put("b"))
        assert cancelled.cancel()
    assert kept.result(LIMIT_SECONDS) == 0
    assert store.write(put("c")) == 1
    assert keys(store) == ["b", "c"]


def test_a_first_action_that_is_cancelled_does_not_run_either(store):
    with held(store):
        alone = store.submit(put("a"))
        assert alone.cancel()
    assert store.write(put("b")) == 0
    assert keys(store) == ["b"]


def test_an_action_outlives_the_thread_that_asked_for_it(store):
    with held(store):
        asking = threading.Thread(target=lambda: store.submit(put("left behind")))
        asking.start()
        asking.join(LIMIT_SECONDS)
    store.write(put("after"))
    assert keys(store) == ["left behind", "after"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_not_even_an_exit_stops_the_writer(store, error):
    def leave(_tx):
        raise error

    assert store.submit(leave).exception(LIMIT_SECONDS) is error
    assert store.write(put("a")) == 0

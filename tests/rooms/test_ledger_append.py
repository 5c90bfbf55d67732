"""Appending and sealing, through a real store."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_homes import ACTOR, ORIGIN, opened

from baray.core import BarayError, Fault, NotFound, Refused, canonical_json
from baray.ledger import KINDS, FileSigner, Ledger, tree, verify_home
from baray.ledger import witness as outside
from baray.ledger.entries import encode_entry
from baray.store import open_store

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def home(tmp_path):
    with opened(tmp_path / "home") as found:
        yield found


def test_entries_get_the_next_indices_and_heads_cover_them(home):
    assert [home.append() for _ in range(3)] == [0, 1, 2]
    assert home.append(600) == 602
    head = home.head()
    assert head.size == 603
    checkpoint = outside.parse_checkpoint(head.note)
    outside.check_log_signature(checkpoint, outside.parse_vkey(home.ledger.vkey))
    entries = home.store.read(lambda tx: home.ledger.entries(tx, after=-1, limit=1000))
    root = tree.hash_row(tree.hash_leaves([entry.data for entry in entries]))
    assert (checkpoint.root, head.root) == (root, "sha256:" + root.hex())


def test_entries_page_forwards_and_backwards(home):
    home.append(10)
    forwards = home.store.read(lambda tx: home.ledger.entries(tx, after=3, limit=2))
    backwards = home.store.read(lambda tx: home.ledger.newest(tx, before=3, limit=2))
    assert [entry.index for entry in forwards] == [4, 5]
    assert [entry.index for entry in backwards] == [2, 1]
    assert forwards[0].as_json() == {
        "index": 4,
        "time": home.clock.now(),
        "kind": "run.started",
        "actor": ACTOR,
        "subject": "run:r_1",
        "label": "internal",
        "facts": {"number": 4},
    }


def test_a_refused_action_leaves_no_entry_and_its_denial_takes_the_place(home):
    home.append()

    def refused(tx):
        home.ledger.append(tx, "run.submitted", actor=ACTOR, subject="run:r_1")
        error = Refused("forbidden", "No.")
        error.instead = lambda again: home.ledger.append(
            again, "access.denied", actor=ACTOR, subject="run:r_1", decision="label.level"
        )
        raise error

    with pytest.raises(Refused, match="No"):
        home.store.write(refused)
    home.append()
    entries = home.store.read(home.ledger.entries)
    assert [entry.kind for entry in entries] == ["run.started", "access.denied", "run.started"]


class BrokenOnce(Ledger):
    """Seals, and then the group fails, once: what a full disk at COMMIT looks like to the ledger."""

    broken = False

    def seal(self, tx, first, entries):
        super().seal(tx, first, entries)
        if self.broken:
            self.broken = False
            raise OSError("disk full")


def test_a_group_that_fails_after_sealing_leaves_the_ledger_as_it_was(home):
    home.store.close()
    home.ledger = BrokenOnce(origin=ORIGIN, signer=home.signer, clock=home.clock)
    home.store = open_store(home.path / "baray.db", sealer=home.ledger)
    home.append(5)
    before = home.head()
    home.ledger.broken = True
    with pytest.raises(BarayError, match="disk full"):
        home.append(7)
    assert home.head() == before
    assert home.append(300) == 304
    assert verify_home(home.path).ok


def test_the_ledger_goes_on_after_a_restart_at_any_size(home):
    total = 0
    for number in (1, 254, 1, 1, 255, 1, 300):
        home.reopen()
        home.append(number)
        total += number
    assert home.head().size == total
    assert verify_home(home.path).ok


def test_it_refuses_to_go_on_when_its_rows_were_changed(home):
    home.append(5)
    home.store.write(lambda tx: tx.hot("UPDATE tile SET data = zeroblob(160)"))
    home.reopen()
    with pytest.raises(Fault, match="newest head"):
        home.append()


def test_it_refuses_another_key_than_the_home_was_signed_with(home, tmp_path):
    home.append()
    other = FileSigner(tmp_path / "other.key", name=ORIGIN)
    home.store.close()
    home.signer = other
    home.reopen()
    with pytest.raises(BarayError, match="was signed with"):
        home.append()


def test_heads_are_kept_one_a_minute_and_the_newest(home):
    for _ in range(30):
        home.append()
        home.clock.advance(10)
    sizes = home.store.read(lambda tx: [row[0] for row in tx.hot("SELECT size FROM checkpoint ORDER BY size")])
    assert sizes == [1, 7, 13, 19, 25, 30]


def test_time_never_runs_backwards_and_a_step_is_told_once(home):
    home.append()
    home.clock.advance(-100)
    home.append()
    home.append(3)
    home.reopen()
    home.clock.advance(200)
    home.append()
    entries = home.store.read(home.ledger.entries)
    assert [entry.kind for entry in entries].count("clock.stepped") == 1
    assert next(entry.facts for entry in entries if entry.kind == "clock.stepped") == {"behind_ms": 100_000}
    times = [entry.time for entry in entries]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(times[0] + 100)


def test_a_step_whose_entry_was_rolled_back_is_told_again(home):
    home.append()
    home.clock.advance(-60)

    def refused(tx):
        home.ledger.append(tx, "run.submitted", actor=ACTOR, subject="run:r_1")
        raise Refused("forbidden", "No.")

    with pytest.raises(Refused):
        home.store.write(refused)
    home.append()
    kinds = [entry.kind for entry in home.store.read(home.ledger.entries)]
    assert kinds == ["run.started", "run.started", "clock.stepped"]


@pytest.mark.parametrize(
    "value",
    [
        DIGEST,
        ACTOR,
        "dataset:letters@v3",
        "ministry/run:r_" + "0" * 26,
        "internal",
        "restricted:health,tax@ministry,court",
        "internal@",
        "label.level",
        "out-of-scope",
        "SIGKILL",
        "",
        7,
        0.913,
        None,
        True,
        [DIGEST, 1],
        {"km": 3},
    ],
)
def test_facts_take_ids_digests_refs_labels_tokens_and_numbers(value):
    data = encode_entry("run.failed", {"actor": ACTOR, "subject": ACTOR, "facts": {"fact": value}}, 1.0)
    assert json.loads(data)["facts"] == {"fact": value}


@pytest.mark.parametrize(
    "value",
    [
        "Sok Dara",
        "តើថ្លៃប៉ុន្មាន",
        "a question?",
        "someone@example.com",
        "012345678",
        "/home/clerk/letter.docx",
        "two\nlines",
        "x" * 2000,
        float("nan"),
        b"bytes",
        ["Sok Dara"],
        {"name": "Sok Dara"},
        {"Sok Dara": 1},
    ],
)
def test_facts_refuse_names_and_text(value):
    with pytest.raises(Fault) as caught:
        encode_entry("run.failed", {"actor": ACTOR, "subject": ACTOR, "facts": {"fact": value}}, 1.0)
    assert caught.value.code == "bad_entry"


@pytest.mark.parametrize("field", ["actor", "subject", "project", "label", "decision"])
def test_fields_refuse_names_and_text(field):
    fields = {"actor": ACTOR, "subject": ACTOR, field: "Sok Dara"}
    with pytest.raises(Fault, match="Sok Dara"):
        encode_entry("run.failed", fields, 1.0)


def test_unknown_kinds_and_missing_facts_are_refused():
    with pytest.raises(Fault, match="not a kind"):
        encode_entry("run.exploded", {"actor": ACTOR, "subject": ACTOR}, 1.0)
    with pytest.raises(Fault, match="manifest"):
        encode_entry("version.published", {"actor": ACTOR, "subject": ACTOR, "facts": {"digest": DIGEST}}, 1.0)
    with pytest.raises(Refused, match="65535"):
        encode_entry("run.failed", {"actor": ACTOR, "subject": ACTOR, "facts": {"many": [DIGEST] * 1000}}, 1.0)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.one_of(st.integers(), st.just(DIGEST))))
def test_entry_bytes_are_canonical(facts):
    data = encode_entry("run.failed", {"actor": ACTOR, "subject": ACTOR, "facts": facts}, 1.5)
    assert canonical_json(json.loads(data)) == data


def test_every_kind_is_a_noun_and_a_verb_with_one_line():
    assert all(len(kind.split(".")) == 2 and line.endswith(".") and "\n" not in line for kind, line in KINDS.items())


def test_commitments_can_be_shown_until_they_are_erased(home):
    made = home.store.write(lambda tx: home.ledger.commitment(tx, "Sok Dara"))
    again = home.store.write(lambda tx: home.ledger.commitment(tx, "Sok Dara"))
    assert made.startswith("sha256:")
    assert made != again
    assert home.store.read(lambda tx: home.ledger.committed(tx, made, "Sok Dara"))
    assert not home.store.read(lambda tx: home.ledger.committed(tx, made, "Chan Dara"))
    home.store.write(lambda tx: home.ledger.erase(tx, made, actor=ACTOR))
    assert not home.store.read(lambda tx: home.ledger.committed(tx, made, "Sok Dara"))
    assert home.store.read(lambda tx: home.ledger.committed(tx, again, "Sok Dara"))


def test_proofs_outside_the_ledger_are_not_found(home):
    home.append(3)
    for ask in (
        lambda tx: home.ledger.inclusion(tx, 3, 3),
        lambda tx: home.ledger.inclusion(tx, 0, 4),
        lambda tx: home.ledger.consistency(tx, 2, 4),
        lambda tx: home.ledger.consistency(tx, 3, 2),
    ):
        with pytest.raises(NotFound):
            home.store.read(ask)


def test_an_empty_ledger_has_no_head(home):
    with pytest.raises(NotFound):
        home.head()


def test_a_key_that_others_may_read_or_of_another_ledger_is_refused(tmp_path, home):
    path = tmp_path / "k"
    FileSigner(path, name="one.example/a")
    assert path.stat().st_mode & 0o777 == 0o600
    assert FileSigner(path, name="one.example/a").vkey + "\n" == path.with_suffix(".pub").read_text()
    with pytest.raises(Refused, match="belongs to"):
        FileSigner(path, name="two.example/b")
    with pytest.raises(Refused, match="the ledger is"):
        Ledger(origin="two.example/b", signer=FileSigner(path, name="one.example/a"), clock=home.clock)
    path.write_text(path.read_text()[:-6] + "AAAA=\n")
    with pytest.raises(Refused):
        FileSigner(path, name="one.example/a")
    path.chmod(0o644)
    with pytest.raises(Refused, match="chmod 600"):
        FileSigner(path, name="one.example/a")

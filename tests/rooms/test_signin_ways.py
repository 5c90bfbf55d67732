"""Passwords, codes, recovery codes, limits: who comes in, and what a flood costs."""

from __future__ import annotations

import base64
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from baray import access, signin
from baray.core import Refused, TestClock
from baray.signin import Visitor
from baray.signin.codes import accepted_step, code_at
from baray.signin.limits import Limits
from baray.signin.passwords import Hasher, check_password, is_common
from baray.signin.pending import Pending

PASSWORD = "rain gutter violin zebra"
HERE = Visitor(address="192.0.2.7", agent="Browser 1")


@pytest.fixture
def reception(site, seal):
    return signin.open_reception(site, lanes=1, seal=seal)


def make(site, name="dara", kind="person"):
    return site.store.write(
        lambda tx: access.create_actor(tx, site, name=name, kind=kind, clearance=access.INTERNAL, by="system")
    )


def session_of(site, actor_id, way="link"):
    secret = site.store.write(lambda tx: access.open_session(tx, site, actor_id=actor_id, way=way))
    return whose(site, secret)


def whose(site, secret):
    return site.store.read(lambda tx: access.authenticate(tx, secret, site.clock.now()))


def come_in(reception, name="dara", password=PASSWORD, code="", visitor=HERE):
    return signin.sign_in_password(reception, visitor, name=name, password=password, code=code)


def refused(wanted, call, /, *args, **more):
    with pytest.raises(Refused) as found:
        call(*args, **more)
    assert found.value.code == wanted
    assert found.value.fix
    return found.value


def entries(site, kind):
    found = site.store.read(lambda tx: site.ledger.entries(tx, limit=1000))
    return [entry.as_json() for entry in found if entry.kind == kind]


def code_now(site, secret, ahead=0):
    return code_at(secret, int(site.clock.now() // 30) + ahead)


def with_code(reception, actor):
    begun = signin.begin_code(reception, actor)
    secret = base64.b32decode(begun["key"])
    signin.add_code(reception, actor, flow=begun["flow"], code=code_now(reception.site, secret))
    return secret


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037")],
)
def test_codes_are_those_of_rfc_6238(seconds, code):
    secret = b"12345678901234567890"
    assert code_at(secret, seconds // 30) == code
    assert accepted_step(secret, code, now=seconds, last_step=0) == seconds // 30
    assert accepted_step(secret, code, now=seconds, last_step=seconds // 30) is None
    assert accepted_step(secret, code, now=seconds + 61, last_step=0) is None


def test_a_password_lets_its_owner_in_and_nobody_else(site, reception):
    actor_id = make(site)
    make(site, "sok")
    make(site, "bot", kind="service")
    signin.set_password(reception, session_of(site, actor_id), PASSWORD)
    assert whose(site, come_in(reception)).id == actor_id
    assert whose(site, come_in(reception, name=" DARA ")).id == actor_id
    same = {
        str(refused("bad_sign_in", come_in, reception, name=name, password=password))
        for name, password in (("dara", PASSWORD + "x"), ("dara", ""), ("sok", PASSWORD), ("bot", PASSWORD), ("x", ""))
    }
    assert len(same) == 1
    site.store.write(lambda tx: access.disable_actor(tx, site, name="dara", by="system"))
    refused("bad_sign_in", come_in, reception)


def test_nothing_of_a_password_is_stored_or_told(site, reception):
    signin.set_password(reception, session_of(site, make(site)), PASSWORD)
    rows = site.store.read(lambda tx: [tuple(row) for row in tx.hot("SELECT * FROM credential")])
    assert "$argon2id$v=19$m=47104,t=1,p=1$" in repr(rows)
    assert PASSWORD not in repr(rows)
    data = b"".join(entry.data for entry in site.store.read(lambda tx: site.ledger.entries(tx, limit=1000)))
    assert PASSWORD.encode() not in data
    assert b"dara" not in data


def test_a_new_password_ends_the_other_sessions(site, reception):
    actor_id = make(site)
    other = site.store.write(lambda tx: access.open_session(tx, site, actor_id=actor_id, way="link"))
    mine = session_of(site, actor_id)
    signin.set_password(reception, mine, PASSWORD)
    refused("bad_token", whose, site, other)
    assert site.store.read(lambda tx: [row.id for row in access.live_sessions(tx, site.clock.now())]) == [mine.token_id]


@pytest.mark.parametrize(
    "password",
    ["", "short", "eleven char", "password1234", "P@ssw0rd2026!", "123456789012", "qwertyuiop12", "Admin12345678",
     "aaaaaaaaaaaaaaaa", "phnompenh2026", "cambodia-angkor", "ពាក្យសម្ងាត់១២៣៤៥", "dara dara violin", "x" * 600],
)  # fmt: skip
def test_what_is_no_password(password):
    refused("weak_password", check_password, password, "dara")


@pytest.mark.parametrize("password", [PASSWORD, "ទឹកភ្លៀងធ្លាក់លើដំបូល", "n7#kQ2!vXz9$Lm", "correct horse battery staple"])
def test_what_is_a_password(password):
    check_password(password, "dara")
    assert not is_common(password)


def test_a_code_is_asked_for_once_there_is_one_and_taken_once(site, reception):
    actor_id = make(site)
    actor = session_of(site, actor_id)
    signin.set_password(reception, actor, PASSWORD)
    secret = with_code(reception, actor)
    refused("bad_sign_in", come_in, reception)
    refused("bad_sign_in", come_in, reception, code="000000")
    refused("bad_sign_in", come_in, reception, code=code_now(site, secret))  # the one that confirmed the app
    site.clock.advance(30)
    code = code_now(site, secret)
    assert whose(site, come_in(reception, code=code)).fresh
    refused("bad_sign_in", come_in, reception, code=code)
    site.clock.advance(30)
    assert whose(site, come_in(reception, code=code_now(site, secret, ahead=1))).id == actor_id
    refused("bad_sign_in", come_in, reception, code=code_now(site, secret))  # right, but older than the last one


def test_of_many_who_hold_a_code_one_comes_in(site, reception):
    actor = session_of(site, make(site))
    signin.set_password(reception, actor, PASSWORD)
    secret = with_code(reception, actor)
    site.clock.advance(30)
    code = code_now(site, secret)

    def attempt(number):
        visitor = Visitor(address=f"192.0.2.{number}", agent="")
        while True:
            try:
                return come_in(reception, code=code, visitor=visitor)[:8]
            except Refused as error:
                if error.code != "busy":  # as it may be while a slow machine looks at the others' passwords
                    return error.code

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(attempt, range(4))) == ["bad_sign_in"] * 3 + ["bry_ses_"]


def test_another_persons_begun_key_and_an_old_one_are_not_taken(site, reception):
    dara, sok = (session_of(site, make(site, name)) for name in ("dara", "sok"))
    begun = signin.begin_code(reception, dara)
    secret = base64.b32decode(begun["key"])
    refused("wrong_code", signin.add_code, reception, sok, flow=begun["flow"], code=code_now(site, secret))
    refused("bad_flow", signin.add_code, reception, dara, flow=begun["flow"], code=code_now(site, secret))
    begun = signin.begin_code(reception, dara)
    site.clock.advance(601)
    refused("bad_flow", signin.add_code, reception, dara, flow=begun["flow"], code="000000")


def test_a_recovery_code_works_once_and_is_an_entry(site, reception):
    actor_id = make(site)
    codes = signin.make_recovery_codes(reception, session_of(site, actor_id))
    assert len(set(codes)) == 10
    assert whose(site, come_in(reception, password="", code=codes[3].lower().replace("-", " "))).fresh
    refused("bad_sign_in", come_in, reception, password="", code=codes[3])
    assert [entry["facts"] for entry in entries(site, "credential.recovered")] == [{"left": 9}]
    sok = make(site, "sok")
    refused("bad_sign_in", come_in, reception, name="sok", password="", code=codes[4])
    signin.make_recovery_codes(reception, session_of(site, actor_id))
    refused("bad_sign_in", come_in, reception, password="", code=codes[5])
    assert site.store.read(lambda tx: signin.describe(tx, sok))["recovery_codes"] == 0
    stored = site.store.read(lambda tx: repr([tuple(row) for row in tx.hot("SELECT * FROM credential")]))
    assert not any(code in stored for code in codes)


def test_credentials_change_only_after_a_proof(site, reception):
    actor_id = make(site)
    actor = session_of(site, actor_id, way="password")
    signin.set_password(reception, actor, PASSWORD)  # a password may be changed by who has just given it
    site.clock.advance(301)
    actor = site.store.read(lambda tx: access.load_actor(tx, actor_id))
    refused("session_needed", signin.set_password, reception, actor, PASSWORD)
    old = session_of(site, actor_id)
    secret = with_code(reception, old)
    weak = session_of(site, actor_id, way="password")
    for call in (
        lambda: signin.set_password(reception, weak, PASSWORD),
        lambda: signin.begin_code(reception, weak),
        lambda: signin.make_recovery_codes(reception, weak),
        lambda: signin.remove_credential(reception, weak, "c_x"),
        lambda: signin.begin_passkey(reception, weak, origin="http://localhost:1"),
    ):
        refused("proof_needed", call)
    site.clock.advance(30)
    code = code_now(site, secret)
    proved = whose(site, signin.prove(reception, weak, HERE, password=PASSWORD, code=code))
    assert (proved.token_id, proved.fresh) == (weak.token_id, True)
    signin.make_recovery_codes(reception, proved)


def test_a_password_alone_is_no_proof_for_a_dangerous_act(site, reception):
    actor_id = make(site)
    signin.set_password(reception, session_of(site, actor_id), PASSWORD)
    came = whose(site, come_in(reception))
    assert (came.recent, came.fresh) == (True, False)
    assert not whose(site, signin.prove(reception, came, HERE, password=PASSWORD, code="")).fresh


def test_ones_own_credential_is_removed_and_anothers_does_not_exist(site, reception):
    dara, sok = (session_of(site, make(site, name)) for name in ("dara", "sok"))
    signin.set_password(reception, dara, PASSWORD)
    (row,) = site.store.read(lambda tx: signin.credentials_of(tx, dara.id))
    refused("not_found", signin.remove_credential, reception, sok, row["id"])
    signin.remove_credential(reception, dara, row["id"])
    refused("bad_sign_in", come_in, reception)
    assert [entry["subject"] for entry in entries(site, "credential.removed")] == [row["id"]]


def test_guessing_is_slowed_and_told_once(site, reception):
    actor_id = make(site)
    signin.set_password(reception, session_of(site, actor_id), PASSWORD)
    for _ in range(5):
        refused("bad_sign_in", come_in, reception, password="wrong")
    error = refused("too_many", come_in, reception)
    assert (error.status, error.headers["Retry-After"]) == (429, "1")
    waits = []
    for _ in range(6):
        site.clock.advance(int(refused("too_many", come_in, reception).headers["Retry-After"]))
        refused("bad_sign_in", come_in, reception, password="wrong")
        waits.append(int(refused("too_many", come_in, reception).headers["Retry-After"]))
    assert waits == [2, 4, 8, 16, 32, 64]
    site.clock.advance(64)
    assert whose(site, come_in(reception)).id == actor_id
    for _ in range(5):  # forgotten by the success
        refused("bad_sign_in", come_in, reception, password="wrong")
    site.store.write(lambda tx: None)
    told = [(entry["subject"], entry["facts"]) for entry in entries(site, "signin.throttled")]
    assert (actor_id, {"by": "pair"}) in told


def test_nobody_is_locked_out_by_others_guesses(site, reception):
    """From where a person came in before, a flood from elsewhere changes nothing; and links and passkeys never wait."""
    actor_id = make(site)
    signin.set_password(reception, session_of(site, actor_id), PASSWORD)
    come_in(reception)
    for number in range(40):
        elsewhere = Visitor(address=f"198.51.100.{number}", agent="")
        with pytest.raises(Refused):
            come_in(reception, password="wrong", visitor=elsewhere)
    refused("too_many", come_in, reception, visitor=Visitor(address="203.0.113.1", agent=""))
    assert whose(site, come_in(reception)).id == actor_id
    site.clock.advance(60)  # the account's own wait ends within a minute everywhere
    assert whose(site, come_in(reception, visitor=Visitor(address="203.0.113.1", agent=""))).id == actor_id


def test_an_address_that_tries_many_names_is_slowed(site, reception):
    for number in range(20):
        refused("bad_sign_in", come_in, reception, name=f"n{number}", password="x")
    refused("too_many", come_in, reception, name="another")
    assert {entry["subject"] for entry in entries(site, "signin.throttled")} <= {"unnamed"}


def test_many_attempts_at_once_gain_nothing():
    limits = Limits(TestClock())
    allowed = []

    def attempt(_):
        try:
            limits.begin("dara", "192.0.2.1")
        except Refused:
            return
        allowed.append(1)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(attempt, range(200)))
    assert len(allowed) == 5


def test_a_flood_of_sign_ins_does_not_wait_in_line():
    hasher = Hasher(lanes=1)
    stored = hasher.hash(PASSWORD)
    start, results = threading.Barrier(30), []

    def attempt():
        start.wait()
        try:
            results.append(hasher.fits(stored, PASSWORD))
        except Refused as error:
            results.append((error.code, error.status, error.headers["Retry-After"]))

    threads = [threading.Thread(target=attempt) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {result for result in results if result is not True} == {("busy", 429, "1")}
    assert 9 <= results.count(True) < 30
    assert hasher.fits(stored, PASSWORD)
    assert not hasher.fits("no hash", PASSWORD)


def test_ceremonies_are_bounded_in_number_and_time():
    clock = TestClock()
    pending = Pending(clock)
    first = pending.begin("code", {"actor": "u"})
    for _ in range(5000):
        last = pending.begin("code", {"actor": "u"})
    refused("bad_flow", pending.take, first, "code")
    refused("bad_flow", pending.take, last, "passkey")
    refused("bad_flow", pending.take, last, "code")  # taken by the wrong try
    kept = pending.begin("code", {"actor": "u"})
    assert pending.take(kept, "code") == {"actor": "u"}
    refused("bad_flow", pending.take, kept, "code")

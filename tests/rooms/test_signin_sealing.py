"""Secrets of apps' codes at rest: sealed, bound to their owner, sealed later where an older Baray stored them as they were."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from baray import access, signin
from baray.core import Fault, Refused
from baray.signin import SealKey, Visitor
from baray.signin.codes import code_at

VECTOR = json.loads((Path(__file__).parents[1] / "vectors/signin/sealed.json").read_text())
PASSWORD = "rain gutter violin zebra"
HERE = Visitor(address="192.0.2.7", agent="Browser 1")


@pytest.fixture
def reception(site, seal):
    return signin.open_reception(site, lanes=1, seal=seal)


@pytest.fixture
def known(tmp_path):
    """The vector's key in a file, with its nonce as the only chance there is."""
    path = tmp_path / "known.key"
    path.write_text(VECTOR["key_file"])
    path.chmod(0o600)
    return SealKey(path, chance=lambda size: bytes.fromhex(VECTOR["nonce"])[:size])


def with_app(reception, site, name="dara"):
    actor_id = site.store.write(
        lambda tx: access.create_actor(tx, site, name=name, kind="person", clearance=access.INTERNAL, by="system")
    )
    secret = site.store.write(lambda tx: access.open_session(tx, site, actor_id=actor_id, way="link"))
    actor = site.store.read(lambda tx: access.authenticate(tx, secret, site.clock.now()))
    signin.set_password(reception, actor, PASSWORD)
    begun = signin.begin_code(reception, actor)
    key = base64.b32decode(begun["key"])
    signin.add_code(reception, actor, flow=begun["flow"], code=now(site, key))
    site.clock.advance(60)
    return actor_id, key


def now(site, key):
    return code_at(key, int(site.clock.now() // 30))


def come_in(reception, code, name="dara"):
    return signin.sign_in_password(reception, HERE, name=name, password=PASSWORD, code=code)


def stored(database):
    """Every byte of the database, its log included."""
    return b"".join(path.read_bytes() for path in sorted(database.parent.glob(database.name + "*")))


def change(database, statement, *values):
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(statement, values)


def test_a_sealed_secret_is_the_known_answer(known):
    secret = bytes.fromhex(VECTOR["secret"])
    assert known.seal(secret, about=VECTOR["about"]) == VECTOR["sealed"]
    assert known.open(VECTOR["sealed"], about=VECTOR["about"]) == secret


def test_one_changed_letter_opens_nothing(known):
    for place in range(len(VECTOR["sealed"])):
        letter = "A" if VECTOR["sealed"][place] != "A" else "B"
        with pytest.raises(Fault) as found:
            known.open(VECTOR["sealed"][:place] + letter + VECTOR["sealed"][place + 1 :], about=VECTOR["about"])
        assert found.value.code == "code_unreadable"
    for other in ("code:u_0000000000000000000000000B", VECTOR["about"] + " "):
        with pytest.raises(Fault):
            known.open(VECTOR["sealed"], about=other)


def test_the_key_is_its_owners_alone_and_whole(tmp_path):
    path = tmp_path / "seal.key"
    made = SealKey(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SealKey(path).open(made.seal(b"x", about="code:a"), about="code:a") == b"x"
    path.chmod(0o640)
    with pytest.raises(Refused, match="Others may read"):
        SealKey(path)
    path.chmod(0o600)
    for damaged in ("", "baray-seal-key-1 AAAA\n", path.read_text().replace("key-1", "key-2"), "\u1780 x"):
        path.write_text(damaged)
        with pytest.raises(Refused, match="damaged"):
            SealKey(path)


def test_the_database_does_not_hold_the_secret(site, reception, database):
    _, key = with_app(reception, site)
    held = stored(database)
    for form in (key, key.hex().encode(), base64.b32encode(key), base64.b64encode(key)):
        assert form not in held
    assert come_in(reception, now(site, key))


def test_without_the_homes_key_no_code_is_taken_and_the_error_says_why(site, reception, tmp_path):
    _, key = with_app(reception, site)
    elsewhere = signin.open_reception(site, lanes=1, seal=SealKey(tmp_path / "another.key"))
    with pytest.raises(Fault) as found:
        come_in(elsewhere, now(site, key))
    assert found.value.code == "code_unreadable"
    assert "seal.key" in found.value.fix
    with pytest.raises(Refused) as refused:  # who does not know the password is told nothing
        signin.sign_in_password(elsewhere, HERE, name="dara", password="wrong " + PASSWORD, code=now(site, key))
    assert refused.value.code == "bad_sign_in"
    assert come_in(reception, now(site, key))


def test_a_sealed_secret_does_not_serve_another_actor(site, reception, database):
    dara, key = with_app(reception, site)
    sok, _ = with_app(reception, site, "sok")
    taken = "SELECT data FROM credential WHERE kind = 'code' AND actor_id = ?"
    change(database, f"UPDATE credential SET data = ({taken}) WHERE kind = 'code' AND actor_id = '{sok}'", dara)
    with pytest.raises(Fault):
        come_in(reception, now(site, key), name="sok")


def test_what_an_older_home_stored_is_sealed_and_its_old_bytes_are_gone(site, reception, seal, database):
    actor_id, key = with_app(reception, site)
    with_app(reception, site, "sok")
    before = "UPDATE credential SET data = ? WHERE kind = 'code' AND actor_id = ?"
    gone = bytes(range(20)).hex()
    change(database, before, json.dumps({"secret": gone}), actor_id)  # a row that was since replaced
    change(database, before, json.dumps({"secret": key.hex()}), actor_id)
    assert key.hex().encode() in stored(database)
    site.store.close()
    assert signin.seal_stored(database, seal) == 1
    assert key.hex().encode() not in stored(database)
    assert gone.encode() not in stored(database)
    assert signin.seal_stored(database, seal) == 0
    with closing(sqlite3.connect(database)) as connection:
        rows = dict(connection.execute("SELECT actor_id, data FROM credential WHERE kind = 'code'").fetchall())
    assert len(rows) == 2
    assert all(re.fullmatch(r'\{"sealed":"v1\.[0-9a-f]{8}\.[A-Za-z0-9_-]{64}"\}', data) for data in rows.values())
    assert seal.open(json.loads(rows[actor_id])["sealed"], about=f"code:{actor_id}") == key

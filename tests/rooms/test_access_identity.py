"""Actors, projects, roles, tokens, sign-in links."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from baray import access
from baray.access import TokenRequest, hash_secret, parse_label, well_formed
from baray.core import NotFound, Refused

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "access" / "tokens.json").read_text())
DAY = 86400.0


def make_actor(site, name="sok", clearance="internal", role=None):
    def act(tx):
        actor_id = access.create_actor(
            tx, site, name=name, kind="person", clearance=parse_label(clearance), by="system"
        )
        if role:
            project_id = access.project_named(tx, "main").id
            access.set_member(tx, site, project_id=project_id, actor_id=actor_id, role=role, by="system")
        return actor_id

    return site.store.write(act)


def make_token(site, actor_id, kind="pat", seconds=DAY, **more):
    request = TokenRequest(kind=kind, name="test", seconds=seconds, **more)
    return site.store.write(lambda tx: access.create_token(tx, site, actor_id=actor_id, request=request, by=actor_id))


def load(site, actor_id):
    return site.store.read(lambda tx: access.load_actor(tx, actor_id))


def authenticate(site, secret):
    return site.store.read(lambda tx: access.authenticate(tx, secret, site.clock.now()))


def refused_as_bad(site, secret):
    with pytest.raises(Refused) as refused:
        authenticate(site, secret)
    assert (refused.value.code, refused.value.status) == ("bad_token", 401)
    assert refused.value.fix
    return refused.value.message


def entries(site, kind):
    found = site.store.read(lambda tx: site.ledger.entries(tx, limit=1000))
    return [entry.as_json() for entry in found if entry.kind == kind]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["token"][:7])
def test_form_and_checksum_of_tokens_are_frozen(vector):
    assert len(vector["token"]) == 55
    assert well_formed(vector["token"])
    assert hash_secret(vector["token"]) == vector["stored"]


@pytest.mark.parametrize("place", range(55))
def test_one_mistyped_character_is_seen_offline(place):
    secret = VECTORS[2]["token"]
    wrong = secret[:place] + ("x" if secret[place] != "x" else "y") + secret[place + 1 :]
    assert not well_formed(wrong)


@pytest.mark.parametrize(
    "text", ["", "bry", "bry_pat_", "bry_xyz_" + "0" * 47, VECTORS[0]["token"] + "0", "ឯកសារ", "_" * 55]
)
def test_what_is_no_token(text):
    assert not well_formed(text)


def test_a_token_is_well_formed_and_only_its_hash_is_stored(site, operator):
    token_id, secret = make_token(site, operator.id)
    assert well_formed(secret)
    assert secret.startswith("bry_pat_")
    (row,) = site.store.read(lambda tx: access.tokens_of(tx, operator.id))
    assert (row.id, row.hash) == (token_id, hash_secret(secret))
    assert secret not in repr(tuple(row))
    (entry,) = entries(site, "token.created")
    assert (entry["subject"], entry["facts"]) == (token_id, {"for": operator.id, "kind": "pat"})
    assert make_token(site, operator.id)[1] != secret


def test_an_empty_home_gets_its_operator_once(site, operator, main_project):
    assert site.store.write(lambda tx: access.bootstrap(tx, site)) == operator.id
    assert [row.name for row in site.store.read(access.projects)] == ["main"]
    assert (operator.roles, str(operator.clearance)) == ({main_project: "owner"}, "secret")
    kinds = [entry.kind for entry in site.store.read(site.ledger.entries)]
    assert kinds == ["actor.created", "role.changed", "project.created", "member.changed"]


def test_a_token_gives_its_actor(site, main_project):
    actor_id = make_actor(site, clearance="restricted:health", role="member")
    token_id, secret = make_token(site, actor_id)
    actor = authenticate(site, secret)
    assert (actor.id, actor.name, actor.kind, actor.token_id) == (actor_id, "sok", "person", token_id)
    assert str(actor.clearance) == "restricted:health"
    assert (actor.roles, actor.projects) == ({main_project: "member"}, {"main"})


def test_unknown_expired_revoked_and_mistyped_tokens_look_the_same(site, operator):
    actor_id = make_actor(site)
    _, expired = make_token(site, actor_id, seconds=10)
    revoked_id, revoked = make_token(site, actor_id)
    _, good = make_token(site, actor_id)
    sok = authenticate(site, good)
    site.store.write(lambda tx: access.revoke_token(tx, site, token_id=revoked_id, by=sok))
    authenticate(site, expired)
    site.clock.advance(10)
    unknown = VECTORS[0]["token"]
    mistyped = good[:-1] + ("0" if good[-1] != "0" else "1")
    told = {refused_as_bad(site, secret) for secret in (unknown, expired, revoked, mistyped, "", "ឯកសារ")}
    assert len(told) == 1
    assert authenticate(site, good).id == actor_id


def test_a_disabled_actor_is_nobody(site, operator):
    actor_id = make_actor(site)
    _, secret = make_token(site, actor_id)
    site.store.write(lambda tx: access.disable_actor(tx, site, name="sok", by=operator.id))
    assert "disabled" in refused_as_bad(site, secret)
    assert [entry["subject"] for entry in entries(site, "actor.disabled")] == [actor_id]


def test_the_operator_cannot_be_disabled(site, operator):
    with pytest.raises(Refused) as refused:
        site.store.write(lambda tx: access.disable_actor(tx, site, name="operator", by=operator.id))
    assert refused.value.code == "last_operator"
    assert authenticate(site, make_token(site, operator.id)[1]).id == operator.id


def test_disabling_nobody_is_not_found(site, operator):
    with pytest.raises(NotFound):
        site.store.write(lambda tx: access.disable_actor(tx, site, name="nobody", by=operator.id))


@pytest.mark.parametrize("seconds", [0, -1, 90 * DAY + 1, float("inf"), float("nan")])
def test_a_token_lives_at_most_ninety_days(site, operator, seconds):
    with pytest.raises(Refused) as refused:
        make_token(site, operator.id, seconds=seconds)
    assert refused.value.code == "bad_expiry"
    assert site.store.read(lambda tx: access.tokens_of(tx, operator.id)) == []


def test_a_projects_own_token_works_in_that_project_alone(site, operator, main_project):
    def other(tx):
        project = access.create_project(tx, site, name="other", title="", label=access.INTERNAL, by=operator.id)
        access.set_member(tx, site, project_id=project, actor_id=operator.id, role="owner", by=operator.id)
        return project

    other_project = site.store.write(other)
    _, secret = make_token(site, operator.id, project_id=other_project)
    actor = authenticate(site, secret)
    assert (actor.roles, actor.projects) == ({other_project: "owner"}, {"other"})
    assert site.store.read(lambda tx: access.live_tokens(tx, site.clock.now())) == []
    site.store.write(
        lambda tx: access.set_member(tx, site, project_id=other_project, actor_id=operator.id, role=None, by="system")
    )
    assert authenticate(site, secret).roles == {}


def test_what_may_be_used_at_the_router(site):
    actor_id = make_actor(site)
    live, _ = make_token(site, actor_id)
    soon, _ = make_token(site, actor_id, seconds=5)
    revoked, _ = make_token(site, actor_id)
    make_token(site, actor_id, kind="ses")
    make_token(site, actor_id, kind="lnk")
    sok = site.store.read(lambda tx: access.load_actor(tx, actor_id))
    site.store.write(lambda tx: access.revoke_token(tx, site, token_id=revoked, by=sok))

    def ids():
        return {row.id for row in site.store.read(lambda tx: access.live_tokens(tx, site.clock.now()))}

    assert ids() == {live, soon}
    site.clock.advance(5)
    assert ids() == {live}


def test_one_revokes_ones_own_token_and_anothers_does_not_exist(site, operator):
    sok, dara = (load(site, make_actor(site, name)) for name in ("sok", "dara"))
    token_id, secret = make_token(site, sok.id)
    for by, which in ((dara, token_id), (sok, "k_" + "0" * 26)):
        with pytest.raises(NotFound):
            site.store.write(lambda tx, by=by, which=which: access.revoke_token(tx, site, token_id=which, by=by))
    assert authenticate(site, secret).id == sok.id
    site.store.write(lambda tx: access.revoke_token(tx, site, token_id=token_id, by=sok))
    refused_as_bad(site, secret)
    assert [entry["subject"] for entry in entries(site, "token.revoked")] == [token_id]


def test_the_homes_operator_revokes_any_token_and_another_projects_owner_does_not(site, operator):
    def other(tx):
        project = access.create_project(tx, site, name="other", title="", label=access.INTERNAL, by=operator.id)
        person = access.create_actor(tx, site, name="dara", kind="person", clearance=access.TOP, by=operator.id)
        access.set_member(tx, site, project_id=project, actor_id=person, role="owner", by=operator.id)
        return person

    dara_id = site.store.write(other)
    dara = site.store.read(lambda tx: access.load_actor(tx, dara_id))
    of_operator, _ = make_token(site, operator.id)
    of_sok, secret = make_token(site, make_actor(site))
    for token_id in (of_operator, of_sok):
        with pytest.raises(NotFound):
            site.store.write(lambda tx, token_id=token_id: access.revoke_token(tx, site, token_id=token_id, by=dara))
    site.store.write(lambda tx: access.revoke_token(tx, site, token_id=of_sok, by=operator))
    refused_as_bad(site, secret)


def test_a_sign_in_link_opens_one_session_once(site):
    actor_id = make_actor(site)
    _, link = make_token(site, actor_id, kind="lnk", seconds=access.LINK_SECONDS)
    refused_as_bad(site, link)
    session = site.store.write(lambda tx: access.redeem_link(tx, site, link))
    assert session.startswith("bry_ses_")
    assert authenticate(site, session).id == actor_id
    assert [entry["facts"]["for"] for entry in entries(site, "session.opened")] == [actor_id]
    with pytest.raises(Refused) as refused:
        site.store.write(lambda tx: access.redeem_link(tx, site, link))
    assert (refused.value.code, refused.value.status) == ("bad_link", 401)
    site.clock.advance(access.SESSION_SECONDS)
    refused_as_bad(site, session)


def test_of_many_who_hold_a_link_one_gets_in(site):
    _, link = make_token(site, make_actor(site), kind="lnk", seconds=access.LINK_SECONDS)

    def redeem(_number):
        try:
            return site.store.write(lambda tx: access.redeem_link(tx, site, link))
        except Refused as error:
            return error.code

    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(redeem, range(6)))
    assert sorted(result[:8] for result in results) == ["bad_link"] * 5 + ["bry_ses_"]


def test_a_link_that_is_too_old_or_no_link_opens_nothing(site):
    actor_id = make_actor(site)
    _, link = make_token(site, actor_id, kind="lnk", seconds=access.LINK_SECONDS)
    _, token = make_token(site, actor_id)
    site.clock.advance(access.LINK_SECONDS)
    for secret in (link, token, "", "bry_lnk_" + "0" * 47):
        with pytest.raises(Refused) as refused:
            site.store.write(lambda tx, secret=secret: access.redeem_link(tx, site, secret))
        assert refused.value.code == "bad_link"


@pytest.mark.parametrize("name", ["sok", "operator", "public"])
def test_a_name_is_given_once(site, name):
    make_actor(site)
    with pytest.raises(Refused) as refused:
        make_actor(site, name)
    assert (refused.value.code, refused.value.status) == ("exists", 409)


def test_a_projects_name_is_given_once(site):
    with pytest.raises(Refused) as refused:
        site.store.write(
            lambda tx: access.create_project(tx, site, name="main", title="", label=access.INTERNAL, by="system")
        )
    assert refused.value.code == "exists"
    with pytest.raises(Refused) as refused:
        site.store.write(
            lambda tx: access.create_project(tx, site, name="ក្រសួង", title="", label=access.INTERNAL, by="system")
        )
    assert refused.value.code == "bad_name"


def test_roles_are_given_changed_and_taken(site, main_project):
    actor_id = make_actor(site)

    def give(role):
        site.store.write(
            lambda tx: access.set_member(tx, site, project_id=main_project, actor_id=actor_id, role=role, by="system")
        )
        return site.store.read(lambda tx: access.load_actor(tx, actor_id)).roles.get(main_project)

    assert [give(role) for role in ("viewer", "owner", None)] == ["viewer", "owner", None]
    with pytest.raises(Refused) as refused:
        give("admin")
    assert refused.value.code == "bad_role"
    told = [entry["facts"]["role"] for entry in entries(site, "member.changed") if entry["subject"] == actor_id]
    assert told == ["viewer", "owner", "none"]
    members = site.store.read(lambda tx: access.members(tx, main_project))
    assert [(row.name, row.role) for row in members] == [("operator", "owner")]


def test_no_name_reaches_the_ledger(site):
    make_actor(site, "sok-sophea", role="viewer")
    site.store.write(
        lambda tx: access.create_project(
            tx, site, name="hospital-b", title="មន្ទីរពេទ្យ", label=access.INTERNAL, by="system"
        )
    )
    data = b"".join(entry.data for entry in site.store.read(lambda tx: site.ledger.entries(tx, limit=1000)))
    assert b"sophea" not in data
    assert b"hospital" not in data


def test_a_home_keeps_one_operator(site, operator):
    def role(actor_id, role):
        site.store.write(lambda tx: access.set_site_role(tx, site, actor_id=actor_id, role=role, by="system"))

    with pytest.raises(Refused) as refused:
        role(operator.id, "auditor")
    assert refused.value.code == "last_operator"
    second = make_actor(site)
    role(second, "operator")
    role(operator.id, None)
    assert (load(site, operator.id).site_role, load(site, second).site_role) == ("", "operator")
    with pytest.raises(Refused):
        site.store.write(lambda tx: access.disable_actor(tx, site, name="sok", by=second))
    with pytest.raises(Refused) as refused:
        role(second, "owner")
    assert refused.value.code == "bad_role"


def test_a_session_ends_when_idle_and_stays_while_used(site):
    actor_id = make_actor(site)
    session = site.store.write(lambda tx: access.open_session(tx, site, actor_id=actor_id, way="link"))
    site.clock.advance(29 * 60)
    actor = authenticate(site, session)
    assert site.store.read(lambda tx: access.needs_touch(tx, actor.token_id, site.clock.now()))
    site.store.write(lambda tx: access.touch_token(tx, actor.token_id, site.clock.now()))
    assert not site.store.read(lambda tx: access.needs_touch(tx, actor.token_id, site.clock.now()))
    site.clock.advance(30 * 60)
    authenticate(site, session)
    site.clock.advance(1)
    refused_as_bad(site, session)


def test_a_session_ends_after_twelve_hours_however_busy(site):
    actor_id = make_actor(site)
    session = site.store.write(lambda tx: access.open_session(tx, site, actor_id=actor_id, way="link"))
    token_id = authenticate(site, session).token_id
    for _ in range(12 * 4 - 1):
        site.clock.advance(15 * 60)
        site.store.write(lambda tx: access.touch_token(tx, token_id, site.clock.now()))
        authenticate(site, session)
    site.clock.advance(15 * 60)
    refused_as_bad(site, session)


@pytest.mark.parametrize(
    ("way", "strong"), [("link", True), ("passkey", True), ("password-code", True), ("password", False)]
)
def test_a_proof_is_fresh_for_five_minutes_and_gives_the_session_another_secret(site, way, strong):
    actor_id = make_actor(site)
    first = site.store.write(lambda tx: access.open_session(tx, site, actor_id=actor_id, way=way))
    actor = authenticate(site, first)
    assert (actor.recent, actor.fresh) == (True, strong)
    site.clock.advance(301)
    actor = authenticate(site, first)
    assert (actor.recent, actor.fresh) == (False, False)
    second = site.store.write(lambda tx: access.prove_session(tx, site, actor=actor, way=way))
    refused_as_bad(site, first)
    actor = authenticate(site, second)
    assert (actor.recent, actor.fresh, len(entries(site, "session.proved"))) == (True, strong, 1)
    site.clock.advance(-3600)  # a clock set back does not make an old proof new
    assert not authenticate(site, second).fresh


def test_a_token_holds_its_scopes_and_its_limit(site):
    actor_id = make_actor(site, clearance="secret:health")
    _, secret = make_token(site, actor_id, scopes=frozenset({"ask", "read"}), max_label=parse_label("internal"))
    actor = authenticate(site, secret)
    assert (actor.scopes, str(actor.clearance), actor.fresh) == ({"ask", "read"}, "internal", False)
    with pytest.raises(Refused) as refused:
        access.check_grant(actor, access.ALL_SCOPES)
    assert refused.value.code == "scope_missing"
    assert authenticate(site, make_token(site, actor_id)[1]).fresh
    with pytest.raises(Refused) as refused:
        access.check_scopes(["write"])
    assert refused.value.code == "bad_scope"


def test_only_tokens_that_may_ask_reach_the_router(site):
    actor_id = make_actor(site)
    asking, _ = make_token(site, actor_id, scopes=frozenset({"ask"}))
    make_token(site, actor_id, scopes=frozenset({"read", "run", "admin"}))
    assert [row.id for row in site.store.read(lambda tx: access.live_tokens(tx, site.clock.now()))] == [asking]


def test_a_service_account_has_no_session(site):
    actor_id = site.store.write(
        lambda tx: access.create_actor(tx, site, name="bot", kind="service", clearance=access.PUBLIC, by="system")
    )
    with pytest.raises(Refused) as refused:
        site.store.write(lambda tx: access.open_session(tx, site, actor_id=actor_id, way="link"))
    assert refused.value.code == "not_a_person"

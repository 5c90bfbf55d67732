"""Outside accounts: a provider's honest answer, twelve and more dishonest ones, and what groups give."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from urllib.parse import parse_qs, urlsplit

import pytest
from hostile_provider import Provider, key_set
from joserfc.jwk import RSAKey

from baray import access, signin
from baray.access import parse_label
from baray.core import Refused
from baray.signin import Outside, OutsideSettings, Visitor, read_outside
from baray.signin.outside import Identity

BACK = "http://localhost:8642/sign-in/outside/back"
HERE = Visitor(address="192.0.2.7", agent="Browser")


@pytest.fixture
def provider(site):
    found = Provider(site.clock.now)
    yield found
    found.close()


@pytest.fixture
def reception(site, provider, seal):
    settings = OutsideSettings(
        issuer=provider.issuer,
        client_id="baray",
        client_secret="our secret",
        create=True,
        clearance=parse_label("internal"),
        groups={"clerks": ("main", "viewer"), "heads": ("main", "steward")},
    )
    return signin.open_reception(site, lanes=1, seal=seal, outside=Outside(settings, site.clock))


def go(reception, provider, purpose="sign-in", actor_id="", **answer):
    """A browser's way to the provider and back."""
    address, state = reception.outside.begin(reception.pending, redirect=BACK, purpose=purpose, actor_id=actor_id)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    provider.nonce = asked["nonce"]
    return asked, reception.outside.finish(reception.pending, {"code": "c0de", "state": state} | answer)


def refused(reception, provider, code="bad_outside", **answer):
    with pytest.raises(Refused) as found:
        go(reception, provider, **answer)
    assert found.value.code == code
    assert found.value.fix
    return found.value.message


def test_an_honest_answer_says_who_it_is(site, reception, provider):
    provider.claims = {"preferred_username": "Sok.Dara@office.example", "groups": ["clerks", "admins", 7]}
    asked, (identity, begun) = go(reception, provider)
    assert asked["redirect_uri"] == BACK
    assert asked["code_challenge_method"] == "S256"
    digest = hashlib.sha256(provider.asked["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
    assert provider.asked["redirect_uri"] == BACK
    assert (identity.issuer, identity.subject, identity.groups) == (provider.issuer, "person-7", ("clerks",))
    assert begun["purpose"] == "sign-in"
    secret = signin.sign_in_outside(reception, HERE, identity)
    actor = site.store.read(lambda tx: access.authenticate(tx, secret, site.clock.now()))
    assert (actor.name, str(actor.clearance), set(actor.roles.values())) == ("sok-dara", "internal", {"viewer"})
    assert actor.fresh
    again = signin.sign_in_outside(reception, HERE, identity)
    assert site.store.read(lambda tx: access.authenticate(tx, again, site.clock.now())).id == actor.id


CLAIMS = {
    "another issuer": {"iss": "https://evil.example"},
    "another audience": {"aud": "another-app"},
    "several audiences without azp": {"aud": ["baray", "another-app"]},
    "another party": {"aud": ["baray", "another-app"], "azp": "another-app"},
    "another nonce": {"nonce": "made up"},
    "no nonce": {"nonce": None},
    "expired": {"exp": 1},
    "no expiry": {"exp": None},
    "an expiry that is no number": {"exp": "9999999999"},
    "from the future": {"iat": 99_999_999_999},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a subject that is no text": {"sub": ["person-7"]},
    "a subject without end": {"sub": "x" * 5000},
    "huge claims": {"groups": ["x" * 100] * 500},
}


@pytest.mark.parametrize("claims", CLAIMS.values(), ids=CLAIMS)
def test_claims_that_are_not_for_us_now_are_refused(reception, provider, claims):
    provider.claims = claims
    refused(reception, provider)


def test_a_token_that_nobody_signed_is_refused(reception, provider):
    provider.sign = provider.unsigned
    assert "signed in a way" in refused(reception, provider)


def test_the_public_key_is_no_secret_to_sign_with(reception, provider):
    provider.sign = provider.signed_with_the_public_key
    assert "signed in a way" in refused(reception, provider)


def test_a_key_that_is_not_the_providers_is_refused(reception, provider):
    provider.sign = provider.signed_by_another
    refused(reception, provider)
    provider.sign, provider.header = provider.signed, {"alg": "RS256", "kid": "unheard of"}
    assert "unknown key" in refused(reception, provider)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "e30.e30.", "....", "ឯ.x.y"])
def test_what_is_no_token_is_refused(reception, provider, token):
    provider.sign = lambda claims: token
    refused(reception, provider)


def test_a_new_key_is_fetched_and_a_published_secret_is_refused(reception, provider):
    go(reception, provider)
    provider.key, provider.header = RSAKey.generate_key(2048, {"kid": "second"}), {"alg": "RS256", "kid": "second"}
    provider.published = key_set(provider.key)
    go(reception, provider)
    provider.key = RSAKey.generate_key(2048, {"kid": "third"})
    provider.header = {"alg": "RS256", "kid": "third"}
    provider.published = [*key_set(provider.key), {"kty": "oct", "k": "c2VjcmV0", "kid": "fourth"}]
    assert "not public ones" in refused(reception, provider)


def test_a_state_is_good_once_and_only_for_ten_minutes(site, reception, provider):
    for state in ("made up", ""):
        refused(reception, provider, code="bad_flow", state=state)
    address, state = reception.outside.begin(reception.pending, redirect=BACK, purpose="sign-in")
    provider.nonce = parse_qs(urlsplit(address).query)["nonce"][0]
    reception.outside.finish(reception.pending, {"code": "c", "state": state})
    with pytest.raises(Refused, match="too long ago"):
        reception.outside.finish(reception.pending, {"code": "c", "state": state})
    _, state = reception.outside.begin(reception.pending, redirect=BACK, purpose="sign-in")
    site.clock.advance(601)
    with pytest.raises(Refused, match="too long ago"):
        reception.outside.finish(reception.pending, {"code": "c", "state": state})


def test_another_providers_answer_is_refused(reception, provider):
    assert "another provider" in refused(reception, provider, iss="https://evil.example")
    go(reception, provider, iss=provider.issuer)
    assert "did not let you in" in refused(reception, provider, error="access_denied")


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://evil.example"},
        {"jwks_uri": "file:///etc/passwd"},
        {"token_endpoint": "http://evil.example/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": None},
    ],
)
def test_a_provider_that_leads_elsewhere_is_refused(reception, provider, discovery):
    provider.discovery = discovery
    refused(reception, provider)


def test_redirects_are_not_followed(reception, provider):
    provider.discovery = {"jwks_uri": f"{provider.issuer}/elsewhere"}
    refused(reception, provider, code="outside_away")


def test_an_answer_that_never_ends_is_cut_off(site, reception, provider):
    go(reception, provider)
    provider.slow = lambda: site.clock.advance(1)
    assert "too slow" in refused(reception, provider)


def test_a_provider_that_is_away_is_told(reception, provider):
    provider.close()
    refused(reception, provider, code="outside_away")


def test_nobody_comes_in_as_another_by_a_name(site, reception, provider):
    """Who somebody is comes from issuer and subject alone: the operator's name is just a name."""
    provider.claims = {"sub": "person-8", "preferred_username": "operator", "groups": ["operator", "owner", "heads"]}
    _, (identity, _) = go(reception, provider)
    secret = signin.sign_in_outside(reception, HERE, identity)
    actor = site.store.read(lambda tx: access.authenticate(tx, secret, site.clock.now()))
    assert (actor.name, actor.site_role, set(actor.roles.values())) == ("operator-2", "", {"steward"})
    same_subject_elsewhere = dataclasses.replace(identity, issuer="https://evil.example")
    assert signin.lookup_of(identity) != signin.lookup_of(same_subject_elsewhere)
    moved = [Identity(issuer=a, subject=b, name="", groups=(), authenticated=0) for a, b in (("a", "bc"), ("ab", "c"))]
    assert len({signin.lookup_of(one) for one in moved}) == 2


def test_roles_follow_the_groups_but_an_owner_stays(site, reception, main_project):
    def come(*groups):
        identity = Identity(issuer="i", subject="s", name="sok", groups=groups, authenticated=0)
        secret = signin.sign_in_outside(reception, HERE, identity)
        return site.store.read(lambda tx: access.authenticate(tx, secret, site.clock.now()))

    assert [come(*groups).roles.get(main_project) for groups in (("clerks",), ("clerks", "heads"), ())] == [
        "viewer",
        "steward",
        None,
    ]
    sok = come()
    site.store.write(
        lambda tx: access.set_member(tx, site, project_id=main_project, actor_id=sok.id, role="owner", by="system")
    )
    assert come("clerks").roles[main_project] == "owner"


def test_without_create_an_unknown_person_needs_an_invitation_and_links_the_account(site, reception):
    settings = dataclasses.replace(reception.outside.settings, create=False)
    reception = dataclasses.replace(reception, outside=Outside(settings, site.clock))
    identity = Identity(issuer="i", subject="s", name="sok", groups=(), authenticated=site.clock.now())
    with pytest.raises(Refused) as found:
        signin.sign_in_outside(reception, HERE, identity)
    assert (found.value.code, found.value.status) == ("no_account", 403)
    ids = [
        site.store.write(
            lambda tx, name=name: access.create_actor(
                tx, site, name=name, kind="person", clearance=access.INTERNAL, by="system"
            )
        )
        for name in ("dara", "mallory")
    ]
    dara, mallory = (
        site.store.read(lambda tx, secret=secret: access.authenticate(tx, secret, site.clock.now()))
        for secret in [
            site.store.write(lambda tx, one=one: access.open_session(tx, site, actor_id=one, way="invitation"))
            for one in ids
        ]
    )
    signin.link_identity(reception, dara, identity)
    with pytest.raises(Refused) as found:
        signin.link_identity(reception, mallory, identity)
    assert found.value.code == "exists"
    secret = signin.sign_in_outside(reception, HERE, identity)
    assert site.store.read(lambda tx: access.authenticate(tx, secret, site.clock.now())).id == dara.id
    with pytest.raises(Refused):
        signin.prove_outside(reception, mallory, identity)
    assert signin.prove_outside(reception, dara, identity).startswith("bry_ses_")
    for old in (0.0, site.clock.now() - 400, site.clock.now() + 400):
        with pytest.raises(Refused, match="did not ask again"):
            signin.prove_outside(reception, dara, dataclasses.replace(identity, authenticated=old))


def test_settings_are_read_and_what_would_make_an_administrator_is_refused(tmp_path):
    path = tmp_path / "signin.toml"
    assert read_outside(path) is None
    good = '[outside]\nissuer = "https://id.example"\nclient_id = "baray"\nclient_secret_file = "secret"\n'
    (tmp_path / "secret").write_text("s3cret\n")
    path.write_text(good + 'clearance = "internal"\n[outside.groups]\nclerks = "main:member"\n')
    found = read_outside(path)
    assert (found.client_secret, found.groups, str(found.clearance)) == (
        "s3cret",
        {"clerks": ("main", "member")},
        "internal",
    )
    for bad in (
        good + '[outside.groups]\nheads = "main:owner"\n',
        good + '[outside.groups]\nheads = "operator"\n',
        good.replace("https", "http"),
        good + "surprise = 1\n",
        good + 'clearance = "top"\n',
        good.replace('"secret"', '"nowhere"'),
        "[outside",
        "[outside]\n",
    ):
        path.write_text(bad)
        with pytest.raises(Refused) as refused:
            read_outside(path)
        assert refused.value.code == "bad_setting"

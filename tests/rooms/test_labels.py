"""Labels that change: what a raise reaches, what it takes to lower one, and that nothing ends up below its origins."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from functools import partial

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from baray import access, catalog, runs, serve
from baray.access import parse_label
from baray.catalog import Word
from baray.core import NotFound, Refused
from baray.store import schema
from label_house import DAY, LabelHouse, Signer, lift


@pytest.fixture
def house(site, tmp_path):
    return LabelHouse(site=site, home=tmp_path)


# -- raising


def label_of(house, version):
    return house.version(version.id).label


def chain(house, label="internal"):
    """A Source, a Dataset of it, an Index and a Model of that, and the Services that answer from these."""
    source = house.source("letters", label)
    dataset = house.made("letters", [source])
    index, model = house.made("papers", [dataset], "index"), house.made("router", [dataset], "model")
    house.service("counter", index, ("project",))
    house.service("sorter", model, ("project",))
    return source, dataset, index, model


def test_a_raise_reaches_all_that_was_made_of_it(house):
    house.person("clerk", "internal")
    source, dataset, index, model = chain(house)
    preview = house.site.store.read(lambda tx: catalog.impact(tx, source, parse_label("restricted")))
    assert label_of(house, source) == "internal", "a preview changes nothing"
    reached = lift(house, source, "restricted")
    assert reached == preview
    assert [label_of(house, one) for one in (source, dataset, index, model)] == ["restricted"] * 4
    assert [house.version(one.id).own_label for one in (source, dataset, index, model)] == ["internal"] * 4
    assert {found.kind for found in reached} == {"source", "dataset", "index", "model", "run", "service"}
    assert all(found.loses == ("clerk",) for found in reached)
    assert sorted(found.ref for found in reached if found.kind == "service") == ["service:counter", "service:sorter"]
    told = house.entries("label.raised")
    assert {entry["subject"] for entry in told} == {found.id for found in reached}
    assert len({entry["facts"]["cause"] for entry in told}) == 1
    assert "it names people" not in json.dumps(told)


def test_what_is_raised_is_gone_at_every_gate_for_those_below(house):
    house.person("clerk", "internal")
    source, dataset, _, _ = chain(house)
    paths = ["sources/letters", "datasets/letters", "models/router", f"runs/{dataset.run_id}", "services/sorter"]
    paths += [f"runs/{dataset.run_id}/{part}" for part in ("log", "metrics", "why")]
    paths += ["lineage?ref=dataset:letters", "services/sorter/answers"]
    assert [house.api("GET", path, by="clerk")[0] for path in paths] == [200] * len(paths)
    lift(house, source, "restricted")
    assert [house.api("GET", path, by="clerk")[0] for path in paths] == [404] * len(paths)
    assert house.api("GET", "sources", by="clerk")[1]["items"] == []
    assert house.api("GET", "status", by="clerk")[1]["runs"]["succeeded"] == 0
    status, found = house.api("POST", "datasets", {"name": "x", "source": "letters"}, by="clerk")
    assert (status, found["code"]) == (404, "not_found")


def test_a_new_use_of_what_was_raised_carries_the_new_label(house):
    source = house.source("letters", "internal")
    lift(house, source, "secret:health")
    assert house.submit("later", [house.version(source.id)]).label == "secret:health"


@pytest.mark.parametrize(("rule", "rows"), [("join", ()), ("rows", ("internal", "public"))])
def test_a_label_that_is_raised_while_a_run_is_in_progress_is_the_results(house, rule, rows):
    source = house.source("letters", "internal")
    run = house.submit("made", [source], output_label_rule=rule)
    grant = house.lease()
    lift(house, source, "restricted")
    made = house.finish(grant, labels=rows)
    assert made.label == "restricted"
    assert made.floor == "restricted", "its rows were read under the label of before"
    assert house.site.store.read(lambda tx: runs.get_run(tx, run.id)).label == "restricted"


def test_rows_of_what_is_made_later_are_at_least_what_their_source_was_raised_to(house):
    source = house.source("letters", "internal")
    lift(house, source, "restricted")
    made = house.made("papers", [house.version(source.id)], "index", labels=("public",), output_label_rule="rows")
    assert (made.label, made.floor) == ("restricted", "restricted")
    house.service("counter", made, ("public",))
    (row,) = house.site.store.read(lambda tx: serve.snapshot(tx, house.site))["services"]
    assert (row["label"], row["floor"], row["ceiling"]) == ("restricted", "restricted", None)


def test_the_snapshot_for_routers_carries_a_raise_at_once(house):
    source, *_ = chain(house)
    lift(house, source, "secret")
    rows = house.site.store.read(lambda tx: serve.snapshot(tx, house.site))["services"]
    assert [(row["name"], row["label"], row["floor"]) for row in rows] == [
        ("counter", "secret", "secret"),
        ("sorter", "secret", "secret"),
    ]


def test_a_report_on_mixed_inputs_takes_the_join(house):
    model = house.made("router", [house.source("letters", "internal:land")], "model")
    questions = house.source("questions", "restricted@main,court")
    report = house.made("evaluation", [model, questions])
    assert report.label == "restricted:land@court,main"
    assert label_of(house, model) == "internal:land", "evaluating does not raise what is evaluated"


@pytest.mark.parametrize("to", ["public", "internal"])
def test_a_raise_that_raises_nothing_is_refused(house, to):
    source = house.source("letters", "internal")
    with pytest.raises(Refused) as refused:
        lift(house, source, to)
    assert refused.value.code == "not_higher"


def test_a_raise_that_would_lock_its_own_project_out_is_refused_and_says_whom_to_ask(house):
    source = house.source("letters", "internal")
    with pytest.raises(Refused) as refused:
        lift(house, source, "internal@court")
    assert refused.value.code == "label_blocks_project"
    assert set(refused.value.more) == {"what", "why", "ask", "change"}
    assert "operator" in refused.value.more["ask"]
    assert label_of(house, source) == "internal"


def test_a_machine_is_leased_nothing_above_its_clearance(house):
    source = house.source("letters", "internal:land@main")
    run = house.submit("made", [source])
    assert house.lease(clearance="internal:land").run_id == run.id
    other = house.submit("other", [source])
    house.tell_worker(clearance="internal")
    assert house.lease(clearance="internal") is None
    told = house.site.store.read(lambda tx: runs.why(tx, other.id))
    assert told["reason"] == "Its label is 'internal:land@main', and no machine is cleared for that: w (internal)."
    assert "operator" in told["fix"]


def test_a_machine_is_leased_nothing_that_was_raised_above_its_clearance_while_it_waited(house):
    source = house.source("letters", "internal")
    house.submit("made", [source])
    lift(house, source, "restricted")
    assert house.lease(clearance="internal") is None
    assert house.lease(clearance="restricted") is not None


# -- lowering


@pytest.fixture
def sok(house):
    return Signer(house, "sok")


@pytest.fixture
def dara(house):
    return Signer(house, "dara")


@pytest.fixture
def lin(house):
    return Signer(house, "lin", role="owner")


def refused_with(code, act):
    with pytest.raises(Refused) as refused:
        act()
    assert refused.value.code == code, refused.value
    return refused.value


def pending(house, asked):
    return house.site.store.read(lambda tx: catalog.find_lowering(tx, asked.id)).state


def test_two_people_who_did_not_ask_lower_a_label(house, sok, dara, lin):
    source = house.source("letters", "restricted:land")
    asked = sok.ask(source, "internal")
    assert dara.give(asked)[1] is None
    used, made = lin.give(asked)
    assert (used.state, used.made_version) == ("used", made.id)
    assert (made.ref, made.label, made.ceiling) == ("source:letters@v2", "internal", "internal")
    assert (made.digest, label_of(house, source)) == (source.digest, "restricted:land"), "the original stays"
    (file,) = house.site.store.read(lambda tx: catalog.version_files(tx, house.site, made))
    assert file.label == "internal"
    edges = house.site.store.read(lambda tx: [tuple(row) for row in tx.hot("SELECT child, parent, role FROM edge")])
    assert (made.id, source.id, "lowered-from") in edges
    house.person("clerk", "internal", "viewer")
    assert house.api("GET", "sources/letters", by="clerk")[1]["ref"] == "source:letters@v2"
    kinds = [kind for kind in ("label.asked", "label.approved", "label.lowered") for _ in house.entries(kind)]
    assert kinds == ["label.asked", "label.approved", "label.approved", "label.lowered"]
    (entry,) = house.entries("label.lowered")
    assert entry["facts"]["people"] == sorted([dara.id, lin.id])


def test_an_auditor_checks_each_word_from_the_entry_alone(house, sok, dara):
    asked = sok.ask(house.source("letters", "secret"))
    dara.give(asked)
    (entry,) = house.entries("label.approved")
    shown = catalog.statement(asked)
    assert catalog.check_entry(entry["facts"], shown)
    assert not catalog.check_entry(entry["facts"], shown.replace(b"public", b"secret"))
    assert not catalog.check_entry(entry["facts"] | {"verdict": "refuse"}, shown)
    assert asked.reason.encode() in shown
    assert asked.reason not in json.dumps(entry)


class Passkey(Signer):
    """A person with a passkey: an authenticator in software, P-256, as browsers hand it on."""

    def register(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        numbers = self.key.public_key().public_numbers()
        # A COSE key: {1: 2, 3: -7, -1: 1, -2: x, -3: y}
        cose = bytes.fromhex("a5010203262001215820") + numbers.x.to_bytes(32, "big")
        self.cose = b64(cose + bytes.fromhex("225820") + numbers.y.to_bytes(32, "big"))
        row = {"id": "c_" + "0" * 26, "actor_id": self.id, "kind": "passkey", "name": "k", "created": 1.0}
        row |= {"data": json.dumps({"key": self.cose, "rp": "localhost"}), "lookup": "passkey:x"}
        self.house.site.store.write(lambda tx: tx.execute(schema.credential.insert(), row))

    def sign(self, asked, verdict="approve", flags=5):
        challenge = catalog.challenge_of(catalog.message(verdict, catalog.statement_digest(asked)))
        client = json.dumps(
            {"type": "webauthn.get", "challenge": b64(challenge), "origin": "http://localhost"}
        ).encode()
        authenticator = bytes(32) + bytes([flags]) + bytes(4)
        signed = self.key.sign(authenticator + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        parts = {"authenticatorData": authenticator, "clientDataJSON": client, "signature": signed}
        return catalog.pack({name: b64(data) for name, data in parts.items()})

    def give(self, asked, verdict="approve", signature=None):
        given = signature or self.sign(asked, verdict)
        word = Word(lowering_id=asked.id, verdict=verdict, signature=given, way=catalog.way_of(self.cose))
        return self.house.site.store.write(lambda tx: catalog.give_word(tx, self.house.site, self.actor(), word))


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_passkey_signs_and_an_auditor_checks_it_from_the_entry(house, sok, dara):
    kea = Passkey(house, "kea")
    asked, other = sok.ask(house.source("letters", "secret")), sok.ask(house.source("plans", "secret"))
    refused_with("bad_signature", lambda: kea.give(asked, signature=kea.sign(other)))
    refused_with("bad_signature", lambda: kea.give(asked, signature=kea.sign(asked, "refuse")))
    refused_with("bad_signature", lambda: kea.give(asked, signature=kea.sign(asked, flags=1)))
    refused_with("bad_signature", lambda: kea.give(asked, signature=kea.sign(asked)[:-2] + "00"))
    assert kea.give(asked)[1] is None
    (entry,) = house.entries("label.approved")
    assert catalog.check_entry(entry["facts"], catalog.statement(asked))
    assert not catalog.check_entry(entry["facts"], catalog.statement(other))
    assert dara.give(asked)[1].label == "public"


def test_another_persons_passkey_and_one_that_was_removed_count_for_nothing(house, sok, dara, lin):
    kea = Passkey(house, "kea")
    asked = sok.ask(house.source("letters", "secret"))
    word = Word(lowering_id=asked.id, verdict="approve", signature=kea.sign(asked), way=catalog.way_of(kea.cose))
    act = partial(house.site.store.write, lambda tx: catalog.give_word(tx, house.site, dara.actor(), word))
    refused_with("no_key", act)
    kea.give(asked)
    house.site.store.write(lambda tx: tx.execute(schema.credential.delete()))
    assert dara.give(asked)[1] is None
    assert lin.give(asked)[1] is not None


def test_nobody_approves_their_own_request(house, sok):
    asked = sok.ask(house.source("letters", "secret"))
    error = refused_with("self_approval", lambda: sok.give(asked))
    assert set(error.more) == {"what", "why", "ask", "change"}


def test_one_person_does_not_count_twice(house, sok, dara):
    asked = sok.ask(house.source("letters", "secret"))
    dara.give(asked)
    refused_with("signed_already", lambda: dara.give(asked))
    assert pending(house, asked) == "pending"


def test_a_used_request_is_not_used_again(house, sok, dara, lin):
    kea = Signer(house, "kea")
    asked = sok.ask(house.source("letters", "secret"))
    dara.give(asked)
    lin.give(asked)
    refused_with("not_pending", lambda: kea.give(asked))
    assert len(house.entries("label.lowered")) == 1


def test_an_old_request_has_expired(house, sok, dara, lin):
    asked = sok.ask(house.source("letters", "secret"))
    dara.give(asked)
    house.site.clock.advance(3 * DAY)
    refused_with("expired", lambda: lin.give(asked))


def test_swapped_bytes_are_not_lowered(house, sok, dara, lin):
    source = house.source("letters", "secret")
    asked = sok.ask(source)
    dara.give(asked)
    swapped = schema.version.update().where(schema.version.c.id == source.id).values(digest="sha256:" + "5" * 64)
    house.site.store.write(lambda tx: tx.execute(swapped))
    refused_with("changed_since", lambda: lin.give(asked))


def test_a_signature_counts_for_nothing_but_what_was_signed(house, sok, dara, lin):
    asked = sok.ask(house.source("letters", "secret"))
    other = sok.ask(house.source("plans", "secret"))
    refused_with("bad_signature", lambda: dara.give(asked, signature=dara.sign(other)))
    refused_with("bad_signature", lambda: dara.give(asked, signature=dara.sign(asked, "refuse")))
    refused_with("bad_signature", lambda: dara.give(asked, signature=lin.sign(asked)))
    refused_with("bad_signature", lambda: dara.give(asked, signature="ed25519.00"))


def test_a_request_that_was_changed_in_the_database_loses_its_approvals(house, sok, dara, lin):
    asked = sok.ask(house.source("letters", "secret"), "restricted")
    dara.give(asked)
    lower = schema.lowering.update().values(target_label="public")
    house.site.store.write(lambda tx: tx.execute(lower))
    changed = house.site.store.read(lambda tx: catalog.find_lowering(tx, asked.id))
    assert lin.give(changed)[1] is None, "the first signature was on another statement"
    assert house.entries("label.lowered") == []


@pytest.mark.parametrize("how", ["role", "clearance", "disabled", "key"])
def test_who_was_demoted_since_counts_no_more(house, sok, dara, lin, how):
    kea = Signer(house, "kea")
    asked = sok.ask(house.source("letters", "secret"))
    dara.give(asked)

    def demote(tx):
        if how == "role":
            access.set_member(
                tx, house.site, project_id=house.project, actor_id=dara.id, role="member", by=house.operator
            )
        elif how == "disabled":
            access.disable_actor(tx, house.site, name="dara", by=house.operator)
        elif how == "clearance":
            tx.execute(schema.actor.update().where(schema.actor.c.id == dara.id).values(clearance="internal"))

    if how == "key":
        dara.key = Ed25519PrivateKey.generate()
        dara.register()
    house.site.store.write(demote)
    assert lin.give(asked)[1] is None
    assert pending(house, asked) == "pending"
    assert kea.give(asked)[1].label == "public"


def test_who_lacks_the_role_or_the_clearance_cannot_sign(house, sok):
    member, cleared_less = Signer(house, "member", role="member"), Signer(house, "less", "internal")
    asked = sok.ask(house.source("letters", "secret"))
    refused_with("role_too_weak", lambda: member.give(asked))
    with pytest.raises(NotFound):
        cleared_less.give(asked)
    stale = replace(member.actor(), roles={house.project: "steward"}, fresh=False)
    word = Word(lowering_id=asked.id, verdict="approve", signature=member.sign(asked))
    act = lambda: house.site.store.write(lambda tx: catalog.give_word(tx, house.site, stale, word))  # noqa: E731
    refused_with("proof_needed", act)


def test_a_refusal_ends_a_request(house, sok, dara, lin):
    asked = sok.ask(house.source("letters", "secret"))
    assert dara.give(asked, "refuse")[0].state == "refused"
    refused_with("not_pending", lambda: lin.give(asked))
    assert len(house.entries("label.refused")) == 1


def test_a_raise_in_between_stops_the_lowering(house, sok, dara, lin):
    source = house.source("letters", "restricted")
    asked = sok.ask(source, "internal")
    dara.give(asked)
    lift(house, source, "secret")
    refused_with("changed_since", lambda: lin.give(asked))


def test_a_raise_of_the_original_reaches_what_was_lowered_from_it(house, sok, dara, lin):
    source = house.source("letters", "restricted")
    asked = sok.ask(source, "public")
    dara.give(asked)
    made = lin.give(asked)[1]
    lift(house, source, "secret")
    assert label_of(house, made) == "secret"


@pytest.mark.parametrize("to", ["secret", "restricted", "internal:land"])
def test_only_downwards_is_lowering(house, sok, to):
    source = house.source("letters", "restricted")
    refused_with("not_lower", lambda: sok.ask(source, to))


def test_the_same_files_again_do_not_give_the_lowered_version(house, sok, dara, lin):
    source = house.source("letters", "restricted", b"same")
    asked = sok.ask(source, "public")
    dara.give(asked)
    lin.give(asked)
    again = house.source("letters", "restricted", b"same")
    assert (again.ref, again.label) == ("source:letters@v3", "restricted")


def test_a_model_that_was_lowered_is_signed_with_its_new_label(house, sok, dara, lin):
    model = house.made("router", [house.source("letters", "internal")], "model")
    asked = sok.ask(model)
    dara.give(asked)
    made = lin.give(asked)[1]
    files = house.site.store.read(lambda tx: catalog.version_files(tx, house.site, made))
    checked = catalog.check_signature(house.site, files, [house.site.artifacts.key])
    assert checked.ok, checked.findings
    assert (checked.label, made.label) == ("public", "public")

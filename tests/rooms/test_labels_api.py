"""Labels over HTTP: preview, raise, ask, sign, clearances; and what each block tells."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from baray.core import Refused, digest_bytes
from label_house import LabelHouse

BLOCK = {"what", "why", "ask", "change"}


@pytest.fixture
def house(site, tmp_path):
    house = LabelHouse(site=site, home=tmp_path)
    house.person("clerk", "internal", "viewer")
    for name in ("sok", "dara", "lin"):
        house.person(name, "secret", "steward")
    return house


def test_a_raise_is_previewed_and_then_done(house):
    house.made("letters", [house.source("papers", "internal")])
    asked = {"ref": "source:papers", "to": "restricted", "reason": "names of patients"}
    preview = house.api("GET", "labels/impact?ref=source:papers&to=restricted", by="sok")[1]
    assert {row["kind"] for row in preview["reached"]} == {"source", "run", "dataset"}
    assert all(row["loses"] == ["clerk"] for row in preview["reached"])
    status, done = house.api("POST", "labels/raise", asked, by="sok")
    assert (status, done["reached"], house.pushed) == (200, preview["reached"], 1)
    shown = house.api("GET", "labels/show?ref=dataset:letters", by="sok")[1]
    assert (shown["label"], shown["own_label"]) == ("restricted", "internal")
    assert [(row["to"], row["by"], row["reason"]) for row in shown["raised"]] == [
        ("restricted", "sok", "names of patients")
    ]
    assert house.api("GET", "labels/show?ref=dataset:letters", by="clerk")[0] == 404
    assert house.api("GET", "labels/history", by="clerk")[1]["items"] == []
    assert {row["ref"] for row in house.api("GET", "labels/history", by="sok")[1]["items"]} == {
        "source:papers@v1",
        "dataset:letters@v1",
    }


def test_a_viewer_neither_raises_nor_asks(house):
    house.source("papers", "internal")
    body = {"ref": "source:papers", "to": "secret", "reason": "r"}
    assert house.api("POST", "labels/raise", body, by="clerk")[1]["code"] == "not_found", "not cleared for the target"
    assert house.api("POST", "labels/raise", body | {"to": "internal"}, by="clerk")[1]["code"] == "role_too_weak"
    assert house.api("POST", "labels/lower", body | {"to": "public"}, by="clerk")[1]["code"] == "role_too_weak"


def sign(house, name, keys, request, verdict="approve"):
    statement = house.api("GET", f"labels/requests/{request}", by=name)[1]["statement"]
    message = f"baray-approval-v1\n{verdict}\n{digest_bytes(statement.encode())}\n".encode()
    word = {"verdict": verdict, "signature": "ed25519." + keys[name].sign(message).hex()}
    return house.api("POST", f"labels/requests/{request}/word", word, by=name)


def keys_of(house, *names):
    keys = {name: Ed25519PrivateKey.generate() for name in names}
    for name, key in keys.items():
        public = "ed25519." + key.public_key().public_bytes_raw().hex()
        assert house.api("POST", "labels/key", {"public": public}, by=name)[0] == 201
    return keys


def test_a_label_is_lowered_by_two(house):
    house.source("papers", "restricted")
    keys = keys_of(house, "sok", "dara", "lin")
    body = {"ref": "source:papers", "to": "internal", "reason": "names were taken out"}
    status, asked = house.api("POST", "labels/lower", body, by="sok")
    assert (status, asked["state"], asked["needed"]) == (201, "pending", 2)
    assert house.api("GET", "labels/requests", by="clerk")[1]["items"] == []
    assert house.api("GET", f"labels/requests/{asked['id']}", by="clerk")[0] == 404
    status, refused = sign(house, "sok", keys, asked["id"])
    assert (status, refused["code"]) == (403, "self_approval")
    assert BLOCK <= set(refused)
    assert refused["ask"] == "dara, lin, operator"
    assert sign(house, "dara", keys, asked["id"])[1]["needed"] == 1
    status, done = sign(house, "lin", keys, asked["id"])
    assert (status, done["state"], done["made"]) == (200, "used", "source:papers@v2")
    assert house.api("GET", "labels/show?ref=source:papers", by="clerk")[1]["lowered_to"] == "internal"
    assert house.api("GET", "labels/requests", by="sok")[1]["items"] == []
    assert house.api("GET", "labels/requests?state=all", by="sok")[1]["items"][0]["state"] == "used"


def test_without_a_key_nobody_signs(house):
    house.source("papers", "restricted")
    body = {"ref": "source:papers", "to": "internal", "reason": "r"}
    asked = house.api("POST", "labels/lower", body, by="sok")[1]
    word = {"verdict": "approve", "signature": "ed25519." + "0" * 128}
    assert house.api("POST", f"labels/requests/{asked['id']}/word", word, by="dara")[1]["code"] == "no_key"


def test_a_project_holds_no_more_than_it_is_cleared_for(house):
    source = house.source("papers", "restricted")
    assert house.api("POST", "projects/main/clearance", {"label": "internal"})[1]["clearance"] == "internal"
    body = {"name": "x", "source": "papers"}
    status, refused = house.api("POST", "datasets", body, by="sok")
    assert (status, refused["code"]) == (409, "label_blocks_project")
    assert BLOCK <= set(refused)
    assert "operator" in refused["ask"]
    assert "baray project clear main" in refused["change"]
    assert house.api("POST", "projects/main/clearance", {"label": "internal"}, by="sok")[1]["code"] == "role_too_weak"
    house.api("POST", "projects/main/clearance", {"label": ""})
    assert house.api("POST", "datasets", body, by="sok")[0] == 202
    assert source.label == "restricted"
    assert [entry["facts"] for entry in house.entries("project.changed")] == [
        {"clearance": "internal"},
        {"clearance": "none"},
    ]


def test_an_unexpected_label_says_which_input_and_what_would_change_it(house):
    house.source("papers", "restricted")
    body = {"name": "x", "source": "papers", "expect_label": "internal"}
    status, refused = house.api("POST", "datasets", body, by="sok")
    assert (status, refused["code"]) == (409, "unexpected_label")
    assert BLOCK <= set(refused)
    assert "source:papers@v1" in refused["why"]


def test_what_nobody_of_the_project_could_read_is_refused_before_any_work(house):
    with pytest.raises(Refused) as refused:
        house.source("theirs", "internal@court")
    assert refused.value.code == "label_blocks_project"
    assert refused.value.more["why"].startswith("That is not released to project main")


@pytest.mark.parametrize("language", ["en", "km"])
def test_the_page_shows_what_waits_a_preview_and_what_was_raised(house, language):
    house.made("letters", [house.source("papers", "internal")])
    lower = {"ref": "source:papers", "to": "public", "reason": "the reason given"}
    asked = house.api("POST", "labels/lower", lower, by="sok")[1]
    status, page = house.ask("GET", f"/labels?ref=source:papers&to=restricted&lang={language}", by="dara")
    assert status == 200
    for text in (asked["id"], "the reason given", "dataset:letters@v1", 'action="/labels/raise"'):
        assert text in page
    assert ("Out of sight for" in page) is (language == "en")
    house.api("POST", "labels/raise", lower | {"to": "restricted", "reason": "why raised"}, by="sok")
    assert "why raised" in house.ask("GET", f"/labels?lang={language}", by="dara")[1]
    assert "why raised" not in house.ask("GET", f"/labels?lang={language}", by="clerk")[1]
    assert 'action="/labels/raise"' not in house.ask("GET", "/labels?ref=source:papers&to=secret", by="clerk")[1]


def test_the_pages_forms_raise_and_ask(house):
    house.source("papers", "internal")
    form = {"ref": "source:papers", "to": "public", "reason": "r"}
    assert house.form("/labels/lower", form, by="sok")[0] == 303
    assert len(house.api("GET", "labels/requests", by="sok")[1]["items"]) == 1
    assert house.form("/labels/raise", form | {"to": "secret"}, by="sok")[0] == 303
    assert house.api("GET", "labels/show?ref=source:papers", by="sok")[1]["label"] == "secret"

"""The report on where data is: right figures on a small home, nothing above the reader, one sheet that asks for nothing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from baray import access, runs, serve
from baray import ledger as log
from baray.core import TestClock
from baray.ledger import witness
from baray.runs.queue import tell_egress
from baray.serve.receipts import Line, Receipt, encode_line
from baray.web.console import paper
from baray.web.console.strings import KHMER
from label_house import LabelHouse

REPORT = "reports/sovereignty"


@pytest.fixture
def house(site, tmp_path):
    return LabelHouse(site=site, home=tmp_path)


def auditor(house, name="auditor", clearance="internal"):
    actor_id = house.person(name, clearance, role=None)
    house.site.store.write(
        lambda tx: access.set_site_role(tx, house.site, actor_id=actor_id, role="auditor", by=house.operator)
    )
    return actor_id


def report(house, query="", by="operator"):
    status, document = house.api("GET", REPORT + query, by=by)
    assert status == 200, document
    return document


def test_what_lies_here_is_counted_by_label(house):
    public, secret = house.source("laws", "public"), house.source("plans", "secret:army")
    house.source("laws", "public", b"more than before")
    model = house.made("routing", [public, secret], "model")
    house.service("routing", model)
    rows = {row["label"]: row for row in report(house)["holdings"]}
    assert list(rows) == ["secret:army", "public"]
    high, low = rows["secret:army"], rows["public"]
    assert [high[kind] for kind in ("source", "model", "run", "service", "answer")] == [1, 1, 1, 1, 0]
    assert high["bytes"] == secret.bytes + model.bytes
    assert (low["source"], low["run"], low["service"]) == (2, 0, 0)
    assert low["bytes"] == public.bytes + len(b"more than before")


def test_a_read_at_level_two_shows_with_its_reader_and_a_lower_one_does_not(house):
    house.source("plans", "restricted")
    house.source("notes", "internal")
    house.person("officer", "restricted", "viewer")
    for name in ("plans", "plans", "notes"):
        assert house.api("GET", f"sources/{name}", by="officer")[0] == 200
    house.api("GET", "sources/hidden", by="officer")
    house.submit("study", [house.version(house.source("plans", "restricted").id)])
    house.submit("count", [house.source("notes", "internal")])
    shown = report(house)["reads"]
    assert (shown["total"], shown["runs"]) == (2, 1)
    assert [(row["who"], row["label"], row["times"]) for row in shown["items"]] == [("officer", "restricted", 2)]
    assert shown["items"][0]["what"].startswith("source:plans")


def test_answers_at_level_two_are_reads_of_their_service(house):
    source = house.source("plans", "restricted")
    service = house.service("desk", house.made("desk", [source], "index"))
    officer = house.person("officer", "restricted", "viewer")
    receipts = [
        Receipt(
            id=house.site.ids.new("a"), service_id=service.id, revision_id=service.revision_id, project_id=house.project,
            actor_id=officer, created=house.site.clock.now(), outcome="answered", question="?", language="en",
            label=label, answer="!", citations=(), ms=1.0,
        )
        for label in ("restricted", "restricted", "internal")
    ]  # fmt: skip
    spool = house.home / "spool" / "1-a.jsonl"
    spool.write_bytes(b"".join(encode_line(Line(key_id="key", receipt=one)) for one in receipts))
    assert serve.ingest(house.site, spool.parent).answers == 3
    document = report(house)
    found = [(row["who"], row["what"], row["times"]) for row in document["reads"]["items"]]
    assert found == [("officer", "service:desk", 2)]
    assert {row["label"]: row["answer"] for row in document["holdings"] if row["answer"]} == {
        "restricted": 2,
        "internal": 1,
    }


def test_an_auditor_learns_of_acts_above_their_clearance_but_no_names(house):
    house.source("plan-heron", "secret")
    house.person("chief", "secret", "member")
    house.api("GET", "sources/plan-heron", by="chief")
    house.api("GET", "sources/plan-heron/files/a.txt", by="chief")
    auditor(house)
    document = report(house, by="auditor")
    assert [(row["who"], row["what"], row["label"]) for row in document["reads"]["items"]] == [
        ("chief", "source", "secret")
    ]
    assert [row["what"] for row in document["exports"]["items"]] == ["source"]
    for form in ("json", "html", "text"):
        assert "plan-heron" not in json.dumps(house.api("GET", f"{REPORT}?format={form}", by="auditor")[1])


def test_it_is_for_auditors_and_operators(house):
    house.person("clerk", "secret", "owner")
    for method, path, body in (("GET", REPORT, None), ("POST", "reports/exports/reviewed", {"upto": 0})):
        status, error = house.api(method, path, body, by="clerk")
        assert (status, error["code"]) == (403, "site_role_needed")
    house.site.store.write(lambda _tx: None)  # nobody waits for the denial of a read: the same writer enters it
    assert len(house.entries("access.denied")) == 2
    assert house.entries("export.reviewed") == []


def test_exports_wait_until_somebody_else_has_looked(house):
    house.source("laws", "public")
    auditor(house)
    assert house.api("GET", "sources/laws/files/a.txt")[0] == 200
    found = report(house)["exports"]
    assert (found["total"], found["unreviewed"]) == (1, 1)
    assert found["items"][0]["who"] == "operator"
    for by, left in (("operator", 1), ("auditor", 0)):
        assert house.api("POST", "reports/exports/reviewed", {"upto": found["upto"]}, by=by)[0] == 200
        assert report(house)["exports"]["unreviewed"] == left, by
    assert house.api("GET", "sources/laws/files/a.txt")[0] == 200
    assert report(house)["exports"]["unreviewed"] == 1
    assert house.api("POST", "reports/exports/reviewed", {"upto": 10**6})[0] == 404


def test_the_period_bounds_acts_and_not_holdings(house):
    clock = house.site.clock
    assert isinstance(clock, TestClock)
    house.source("plans", "restricted")
    house.api("GET", "sources/plans")
    clock.advance(40 * 86_400)
    house.tokens["operator"] = house._token(house.operator)
    house.api("GET", "sources/plans")
    assert [report(house, query)["reads"]["total"] for query in ("", "?days=60", "?days=0")] == [1, 2, 2]
    assert report(house)["holdings"][0]["source"] == 1


def test_machines_witnesses_and_the_head(house, tmp_path):
    bell = house.bell
    offer = {"worker": "hall-1", "cpus": 2, "memory_bytes": 10**9, "tier": "none", "limits": "soft"}
    offer |= {"missing": "no user namespaces", "wait_seconds": 0}
    runs.handle_worker(house.site, bell, "/worker/lease", json.dumps(offer).encode())
    document = report(house)
    machine = document["machines"][0]
    assert (machine["worker"], machine["tier"], machine["missing"]) == ("hall-1", "none", "no user namespaces")
    assert (machine["clearance"], machine["says"]) == ("public", None), "nobody assigned anything to it"
    assert document["witnesses"] == []
    head = house.api("GET", "ledger/head")[1]
    assert document["head"]["note"] == head["note"]
    assert "No outside witness" in house.api("GET", f"{REPORT}?format=text")[1]


def test_the_age_of_a_witness_is_told(house, tmp_path):
    clock, ledger, key = house.site.clock, house.site.ledger, tmp_path / "w.key"
    vkey = witness.create_key(key, "district", witness.COSIGNER_KEY, bytes(range(32)))
    assert house.api("POST", "ledger/witnesses", {"name": "district", "vkey": vkey})[0] == 201
    assert "has signed nothing yet" in house.api("GET", f"{REPORT}?format=text")[1]
    asked = house.site.store.read(log.request)
    answer = witness.cosign(asked, key=key, state=tmp_path / "w.json", now=clock.now(), log=ledger.vkey)
    assert house.api("POST", "ledger/cosign", {"note": answer})[0] == 200
    clock.advance(9.5 * 86_400)
    house.source("more", "public")
    row = report(house)["witnesses"][0]
    assert (row["name"], row["days"], row["behind"]) == ("district", 9, 2)
    assert "signed 9 days ago; 2 entries since" in house.api("GET", f"{REPORT}?format=text")[1]


class Outside(HTMLParser):
    """Whatever a page would fetch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [
            (tag, name, value) for name, value in attrs if name in ("src", "href", "srcset", "action", "data")
        ]
        if tag in ("script", "link", "iframe", "img", "object", "embed", "form"):
            self.found.append((tag, "", ""))


@pytest.mark.parametrize("language", ["en", "km"])
def test_the_sheet_asks_for_nothing_and_speaks_both_languages(house, language):
    house.source("plans", "restricted")
    house.api("GET", "sources/plans")
    status, page = house.api("GET", f"{REPORT}?format=html&lang={language}")
    assert status == 200
    outside = Outside()
    outside.feed(page)
    assert outside.found == []
    assert not re.search(r"url\(|@import|https?://", page)
    assert "@page { size: A4" in page
    assert f'<html lang="{language}">' in page
    title = "Where our data is"
    assert (KHMER[title] if language == "km" else title) in page
    text = house.api("GET", f"{REPORT}?format=text&lang={language}")[1]
    assert (KHMER[paper.UNKNOWN[0]] if language == "km" else paper.UNKNOWN[0]) in text


def test_every_sentence_of_the_sheet_is_there_in_khmer():
    folder = paper._HERE / "templates"
    sheets = [*folder.glob("sovereignty*"), *folder.glob("report.html")]
    used = {found for sheet in sheets for found in re.findall(r't\("([^"]+)"\)', sheet.read_text("utf-8"))}
    assert len(used) > 30
    assert sorted((used | set(paper.UNKNOWN)) - KHMER.keys()) == []


def test_what_a_person_typed_cannot_leave_its_place_on_the_sheet(house):
    offer = {"worker": "<script>alert(1)</script>", "cpus": 1, "memory_bytes": 1, "tier": "A", "limits": "soft"}
    runs.handle_worker(house.site, house.bell, "/worker/lease", json.dumps(offer | {"wait_seconds": 0}).encode())
    page = house.api("GET", f"{REPORT}?format=html")[1]
    assert "&lt;script&gt;" in page
    assert "<script" not in page


def test_egress_is_counted_from_its_entries(house):
    """Of what was allowed with the bytes, of what was not the tries."""
    assert report(house)["egress"] == {"attempts": 0, "allowed": 0, "denied": 0, "sent": 0, "received": 0}

    run = house.submit("fetch", [])
    target = {"reason": "", "target": "example.org:443", "sent": 700, "received": 2_000_000}
    tries = (
        target | {"decision": "allowed", "count": 3},
        target | {"decision": "denied", "count": 2, "reason": "it is not in the Run's list", "sent": 0, "received": 0},
    )
    house.site.store.write(lambda tx: tell_egress(tx, house.site, run, house.site.ids.new("t"), tries))
    assert not re.search(
        "example|list", json.dumps([house.entries(f"egress.{word}") for word in ("allowed", "denied")])
    )
    assert report(house)["egress"] == {"attempts": 5, "allowed": 3, "denied": 2, "sent": 700, "received": 2_000_000}
    assert "sent 700 B, received 2.0 MB" in house.api("GET", f"{REPORT}?format=text")[1]


def test_the_console_shows_the_report_and_takes_the_review(house):
    house.source("laws", "public")
    auditor(house)
    house.api("GET", "sources/laws/files/a.txt")
    status, page = house.ask("GET", "/reports/sovereignty?days=365", by="auditor")
    assert status == 200
    assert 'id="print"' in page
    assert "/static/report.css" in page
    upto = re.search(r'name="upto" value="([0-9]+)"', page)
    assert upto
    status, page = house.ask("GET", "/reports/sovereignty?lang=km", by="auditor")
    assert KHMER["Where our data is"] in page
    assert "/reports/sovereignty" in house.ask("GET", "/ledger", by="auditor")[1]
    house.person("clerk", "internal", "owner")
    assert house.ask("GET", "/reports/sovereignty", by="clerk")[0] == 403

"""Services on the control side: Revisions, audiences, labels, the snapshot, and answers taken from the spool."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from baray import access, serve
from baray.access import INTERNAL, PUBLIC
from baray.catalog import lineage
from baray.core import NotFound, Refused, parse_ref
from baray.serve.receipts import Denial, Line, Receipt, decode_line, encode_line
from baray.serve.router.spool import Spool
from serve_house import DOCUMENTS, House, new_house

RECEIPT = Receipt(
    id="a_01m80ahfsne2z4vhj9mwt0nkh0",
    service_id="e_1",
    revision_id="w_1",
    project_id="p_1",
    actor_id="public",
    created=1790000000.25,
    outcome="answered",
    question="តើថ្លៃប៉ុន្មាន? [PHONE]",
    language="km",
    label="public",
    answer="៤០០០ រៀល។",
    citations=({"document": "civil/birth.docx", "span": [0, 33]},),
    ms=1.5,
)


@pytest.fixture
def house(tmp_path):
    made = new_house(tmp_path / "home")
    yield made
    made.close()


def model_folder(house: House):
    folder = house.path / "made" / "model"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"x")
    (folder / "README.md").write_text("card")
    return folder


def test_a_desk_is_made_revised_and_stopped_with_an_entry_each(house):
    index = house.add_index()
    made = house.desk(index, title="ច្រកចេញចូលតែមួយ", office="Front desk", examples=("?",))
    assert (made.revision, made.state, made.audience, made.label) == (1, "ready", ("public",), "internal")
    assert house.desk(index, title="ច្រកចេញចូលតែមួយ", office="Front desk", examples=("?",)) == made
    newer = house.add_index(documents=DOCUMENTS[:2])
    revised = house.desk(newer, audience=("project",))
    assert (revised.id, revised.revision, revised.title) == (made.id, 2, made.title)
    listed = house.site.store.read(lambda tx: serve.list_revisions(tx, revised))
    assert [row["number"] for row in listed] == [2, 1]
    stopped = house.site.store.write(lambda tx: serve.stop_service(tx, house.site, revised, actor_id=house.operator))
    again = house.site.store.write(lambda tx: serve.stop_service(tx, house.site, stopped, actor_id=house.operator))
    assert (stopped.state, again.state) == ("stopped", "stopped")
    kinds = [kind for kind in ("service.created", "service.revised", "service.stopped") for _ in house.entries(kind)]
    assert kinds == ["service.created", "service.revised", "service.stopped"]
    assert house.desk(newer).state == "ready"


def test_a_service_comes_from_its_index(house):
    index = house.add_index()
    house.desk(index)
    found = house.site.store.read(
        lambda tx: lineage(tx, house.project, parse_ref("service:counter"), lambda label: True)
    )
    assert [node["id"] for node in found.nodes if node["kind"] == "index"] == [index.id]


def test_a_public_model_must_be_made_of_public_letters(house):
    model = house.publish("model", "router", model_folder(house), INTERNAL, "sha256:" + "1" * 64)
    with pytest.raises(Refused) as caught:
        house.model(model)
    assert caught.value.code == "label_blocks_audience"
    assert "internal" in caught.value.message
    assert "--audience project" in caught.value.fix
    assert house.entries("service.created") == []
    assert house.model(model, audience=("project",)).label == "internal"


def test_a_public_desk_over_internal_documents_is_allowed(house):
    assert house.desk(house.add_index(), audience=("public",)).label == "internal"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"audience": ("nobody",)}, "bad_audience"),
        ({"audience": ()}, "bad_audience"),
        ({"name": "Bad Name"}, "bad_name"),
        ({"kind": "model"}, "bad_artefact"),
    ],
)
def test_what_cannot_be_a_service_is_refused(house, values, code):
    index = house.add_index()
    request = replace(house.request(index, "counter"), **values)
    with pytest.raises(Refused) as caught:
        house.site.store.write(lambda tx: serve.create_desk(tx, house.site, request))
    assert caught.value.code == code


def test_a_name_belongs_to_one_kind(house):
    house.desk(house.add_index(), name="counter")
    model = house.publish("model", "router", model_folder(house), PUBLIC, "sha256:" + "1" * 64)
    with pytest.raises(Refused) as caught:
        house.model(model, name="counter")
    assert caught.value.code == "wrong_kind"


def test_an_unknown_service_is_not_found(house):
    with pytest.raises(NotFound):
        house.site.store.read(lambda tx: serve.get_service(tx, house.project, "counter"))


def test_the_snapshot_names_what_is_live_and_nothing_secret(house):
    service = house.desk(house.add_index())
    secret = house.token(house.officer)
    value = house.site.store.read(lambda tx: serve.snapshot(tx, house.site, control="c" * 64))
    assert [row["id"] for row in value["services"]] == [service.id]
    assert secret not in json.dumps(value)
    assert [row["actor"] for row in value["tokens"]] == [house.officer]
    assert all(Path(place).is_absolute() for place in value["services"][0]["files"].values())
    house.site.store.write(lambda tx: access.disable_actor(tx, house.site, name="officer", by=house.operator))
    house.site.store.write(lambda tx: serve.stop_service(tx, house.site, service, actor_id=house.operator))
    value = house.site.store.read(lambda tx: serve.snapshot(tx, house.site))
    assert value["services"] == []
    assert "officer" not in {row["name"] for row in value["actors"]}


def test_a_receipt_has_known_bytes():
    written = (
        '{"actor_id":"public","answer":"៤០០០ រៀល។","citations":[{"document":"civil/birth.docx","span":[0,33]}],'
        '"created":1790000000.25,"id":"a_01m80ahfsne2z4vhj9mwt0nkh0","label":"public","language":"km","ms":1.5,'
        '"outcome":"answered","project_id":"p_1","question":"តើថ្លៃប៉ុន្មាន? [PHONE]","revision_id":"w_1",'
        '"service_id":"e_1","v":1}'
    )
    assert RECEIPT.canonical() == written.encode()
    assert RECEIPT.digest() == "sha256:91365a2dffb9c837498bae09c69c580c8accb24b23efa227622ab5723eb111f8"
    line = Line(key_id="public", receipt=RECEIPT)
    assert decode_line(encode_line(line)) == line


def test_the_root_over_receipts_is_that_of_rfc_6962():
    # A tree of three leaves, written out: H(1, H(1, a, b), c).
    assert (
        serve.receipts_root(["a", "b", "c"])
        == "sha256:36642e73c2540ab121e3a6bf9545b0a24982cd830eb13d3cd19de3ce6c021ec1"
    )
    assert serve.receipts_root([]) == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def lines_for(house: House, number: int) -> list[Line]:
    service = house.desk(house.add_index())
    return [
        Line(
            key_id="public",
            receipt=replace(
                RECEIPT,
                id=answer_id,
                service_id=service.id,
                revision_id=service.revision_id,
                project_id=house.project,
            ),
        )
        for answer_id in sorted(house.site.ids.new("a") for _ in range(number))
    ]


def write_spool(house: House, name: str, lines: list[Line], tail: bytes = b"") -> None:
    (house.path / "spool" / name).write_bytes(b"".join(map(encode_line, lines)) + tail)


def test_receipts_become_answers_once(house):
    lines = lines_for(house, 3)
    write_spool(house, "1-q.jsonl", lines)
    kept = (house.path / "spool" / "1-q.jsonl").read_bytes()
    assert house.ingest() == serve.Ingested(answers=3, files=1, lost_bytes=0)
    assert list((house.path / "spool").iterdir()) == []
    # As after a kill between COMMIT and unlink: the file is there again.
    (house.path / "spool" / "1-q.jsonl").write_bytes(kept)
    assert house.ingest().answers == 0
    (entry,) = house.entries("answers.batch")
    digests = [line.receipt.digest() for line in lines]
    assert entry.facts == {"count": 3, "root": serve.receipts_root(digests)}
    rows = house.site.store.read(lambda tx: serve.list_answers(tx, lines[0].receipt.service_id))
    assert [row["id"] for row in rows] == [line.receipt.id for line in reversed(lines)]
    assert [serve.receipt_of(row).digest() for row in rows] == [row["receipt_digest"] for row in rows]
    assert house.site.store.read(lambda tx: serve.usage(tx, house.project)) == [
        {"service": lines[0].receipt.service_id, "requests": 3, "tokens_in": 0, "tokens_out": 0, "ms": 4.5}
    ]


def test_answers_are_listed_in_pages_and_by_outcome(house):
    lines = lines_for(house, 5)
    lines[2] = replace(lines[2], receipt=replace(lines[2].receipt, outcome="out-of-scope"))
    write_spool(house, "1-q.jsonl", lines)
    house.ingest()
    service_id = lines[0].receipt.service_id

    def page(**values):
        return [row["id"] for row in house.site.store.read(lambda tx: serve.list_answers(tx, service_id, **values))]

    ids = [line.receipt.id for line in reversed(lines)]
    assert page(limit=2) == ids[:2]
    assert page(limit=9, after=ids[1]) == ids[2:]
    assert page(outcome="out-of-scope") == [lines[2].receipt.id]
    counts = house.site.store.read(lambda tx: serve.count_answers(tx, service_id))
    assert counts == {"answered": 4, "out-of-scope": 1}
    found = house.site.store.read(lambda tx: serve.get_answer(tx, ids[0]))
    assert found["citations"] == [{"document": "civil/birth.docx", "span": [0, 33]}]
    with pytest.raises(NotFound):
        house.site.store.read(lambda tx: serve.get_answer(tx, "a_nothing"))


def test_a_torn_last_line_is_told_and_costs_no_other(house):
    lines = lines_for(house, 2)
    torn = encode_line(lines[0])[:50]
    write_spool(house, "1-q.jsonl", lines, tail=torn)
    assert house.ingest() == serve.Ingested(answers=2, files=1, lost_bytes=50)
    (entry,) = house.entries("answers.lost")
    assert entry.facts["bytes"] == 50
    assert list((house.path / "spool").iterdir()) == []


def test_damage_in_the_middle_is_told_and_kept(house):
    lines = lines_for(house, 2)
    whole = [encode_line(line) for line in lines]
    (house.path / "spool" / "1-q.jsonl").write_bytes(whole[0] + b"\xff garbage\n" + whole[1])
    assert house.ingest().answers == 2
    assert [path.name for path in (house.path / "spool").iterdir()] == ["1-q.damaged"]
    assert house.ingest().files == 0


def test_a_receipt_of_no_service_is_told_and_does_not_stop_the_others(house):
    lines = lines_for(house, 2)
    strange = replace(lines[0], receipt=replace(lines[0].receipt, id=house.site.ids.new("a"), revision_id="w_gone"))
    write_spool(house, "1-q.jsonl", [*lines, strange])
    assert house.ingest().answers == 2
    (entry,) = house.entries("answers.lost")
    assert entry.facts["unknown_service"] == 1


def test_denials_are_told_once_a_batch(house):
    service = house.desk(house.add_index(), audience=("project",))
    denial = Denial(service_id=service.id, project_id=house.project, actor_id="public", rule="audience", created=1.0)
    missing = replace(denial, service_id="", project_id="", rule="missing")
    write_spool(house, "1-q.jsonl", [Line(key_id="public", denial=one) for one in [denial, denial, missing]])
    house.ingest()
    (entry,) = house.entries("access.denied")
    assert (entry.subject, entry.decision) == ("services", "refuse")
    assert entry.facts == {"action": "ask", "count": 3, "services": [service.id]}


def test_what_is_missing_lengthens_the_ledger_as_what_is_hidden_does(house):
    missing = Denial(service_id="", project_id="", actor_id="public", rule="missing", created=1.0)
    write_spool(house, "1-q.jsonl", [Line(key_id="public", denial=missing)])
    house.ingest()
    (entry,) = house.entries("access.denied")
    assert entry.facts == {"action": "ask", "count": 1, "services": []}


def test_a_living_routers_file_is_left_and_a_dead_ones_is_taken(house):
    lines = lines_for(house, 2)
    spool = Spool(house.path / "spool", clock=_StillClock(), ids=house.site.ids)
    spool.append(lines[0])
    write_spool(house, "9-q.jsonl.part", lines[1:])
    assert house.ingest().answers == 1
    assert [path.suffix for path in (house.path / "spool").iterdir()] == [".part"]
    spool.close()
    assert house.ingest().answers == 1


class _StillClock:
    """A clock that stands still: the spool never thinks a file old."""

    def now(self) -> float:
        return 1_790_000_000.0

    def monotonic(self) -> float:
        return 1.0

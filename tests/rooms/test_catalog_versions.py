"""Publishing, finding again, manifests, lineage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from catalog_things import ACTOR, add, digest_of, entries, made, new_run

from baray import access
from baray.access import INTERNAL, PUBLIC, parse_label
from baray.catalog import all_versions, by_id, lineage, newest, read_manifest, resolve, version_files
from baray.catalog.records import children, parents
from baray.core import Fault, NotFound, Refused, parse_ref
from baray.store import schema

VECTORS = Path(__file__).parents[1] / "vectors" / "catalog"
PAPERS = {"fee.txt": b"5000 riel"}


@pytest.fixture
def project(main_project):
    return main_project


@pytest.fixture
def source(site, project):
    return add(site, project, PAPERS)


@pytest.fixture
def run(site, project, source):
    return new_run(site, project, [source.id])


def find(site, project, ref):
    return site.store.read(lambda tx: resolve(tx, project, parse_ref(ref)))


def test_a_manifest_is_frozen(site, project, run):
    vector = json.loads((VECTORS / "manifest.json").read_text(encoding="utf-8"))
    version = made(
        site,
        project,
        run,
        digest=vector["digest"],
        label=parse_label("internal:health"),
        inputs=tuple(vector["inputs"]),
        data=vector["part"].encode(),
        summary={"rows": 9, "kept": 9, "share": 0.5},
    )
    assert version.manifest_digest == vector["manifest_digest"]
    assert site.blobs.path(version.manifest_digest).read_bytes() == vector["manifest"].encode()
    assert read_manifest(site, version) == json.loads(vector["manifest"])


def test_what_a_run_made_is_a_version_with_an_entry_and_its_maker(site, project, run):
    version = made(site, project, run)
    assert (version.ref, version.kind, version.label, version.run_id) == (
        "dataset:letters@v1",
        "dataset",
        "internal",
        run,
    )
    assert (version.bytes, version.summary, version.created) == (4, {"rows": 9}, site.clock.now())
    assert [(row.parent, row.role) for row in site.store.read(lambda tx: parents(tx, version.id))] == [(run, "made-by")]
    (entry,) = entries(site, "version.published")
    assert (entry["actor"], entry["subject"], entry["label"]) == (ACTOR, version.id, "internal")
    assert entry["facts"] == {"digest": version.digest, "manifest": version.manifest_digest, "run": run}


def test_the_same_identity_gives_the_version_that_is_there_with_one_more_maker(site, project, source, run):
    first = made(site, project, run)
    again = new_run(site, project, [source.id])
    assert made(site, project, again, data=b"other bytes, same rows", summary={"rows": 10}) == first
    assert {row.parent for row in site.store.read(lambda tx: parents(tx, first.id))} == {run, again}
    assert len(entries(site, "version.published")) == 1


def test_another_identity_is_the_next_version(site, project, run):
    first = made(site, project, run)
    second = made(site, project, run, digest=digest_of("other rows"))
    assert (second.number, second.id) == (2, find(site, project, "dataset:letters").id)
    assert second.id != first.id
    assert made(site, project, run).id == first.id, "an older identity is still the older version"


def test_another_label_is_another_version_of_the_same_identity(site, project, run):
    low = made(site, project, run)
    high = made(site, project, run, label=parse_label("restricted"))
    assert [(v.number, v.label, v.digest) for v in (low, high)] == [
        (1, "internal", low.digest),
        (2, "restricted", low.digest),
    ]
    assert made(site, project, run) == low
    assert made(site, project, run, label=parse_label("restricted")) == high


def test_the_same_identity_under_another_kind_or_name_is_another_thing(site, project, run):
    refs = [
        made(site, project, run, **more).ref for more in ({}, {"name": "more"}, {"kind": "index"}, {"kind": "model"})
    ]
    assert refs == ["dataset:letters@v1", "dataset:more@v1", "index:letters@v1", "model:letters@v1"]


def test_a_bad_name_publishes_nothing(site, project, run):
    with pytest.raises(Refused) as refused:
        made(site, project, run, name="../letters")
    assert refused.value.code == "bad_name"
    assert site.store.read(lambda tx: newest(tx, project, "dataset")) == []
    assert entries(site, "version.published") == []


def test_resolving(site, project, run):
    first = made(site, project, run)
    second = made(site, project, run, digest=digest_of("other rows"))
    assert find(site, project, "dataset:letters@v1") == first
    assert find(site, project, "dataset:letters@v2") == find(site, project, "dataset:letters") == second
    assert site.store.read(lambda tx: by_id(tx, first.id)) == first
    assert site.store.read(lambda tx: by_id(tx, "v_" + "0" * 26)) is None
    assert site.store.read(lambda tx: all_versions(tx, project, "dataset", "letters")) == [second, first]
    assert site.store.read(lambda tx: newest(tx, project, "dataset")) == [second]


@pytest.mark.parametrize(
    "ref",
    ["dataset:letters@v2", "dataset:nothing", "model:letters", "source:letters", "run:letters", "service:letters"],
)
def test_what_is_not_there_is_not_found(site, project, run, ref):
    made(site, project, run)
    with pytest.raises(NotFound) as missing:
        find(site, project, ref)
    kind, name = ref.split(":")
    assert missing.value.message == f"There is no {kind} '{name}'."
    assert missing.value.status == 404


def test_another_projects_version_is_not_found(site, project, run):
    made(site, project, run)
    other = site.store.write(
        lambda tx: access.create_project(tx, site, name="other", title="", label=INTERNAL, by="system")
    )
    with pytest.raises(NotFound):
        find(site, other, "dataset:letters@v1")
    assert site.store.read(lambda tx: newest(tx, other, "dataset")) == []


def test_files_of_a_made_version_carry_its_label(site, project, run):
    version = made(site, project, run, label=parse_label("restricted:health"))
    (file,) = site.store.read(lambda tx: version_files(tx, site, version))
    assert (file.path, file.bytes, file.label) == ("data/part-00000.parquet", 4, "restricted:health")
    assert site.blobs.path(file.digest).read_bytes() == b"rows"


def test_a_damaged_manifest_is_a_fault_and_no_files(site, project, run):
    version = made(site, project, run)
    place = site.blobs.path(version.manifest_digest)
    place.chmod(0o644)
    place.write_bytes(place.read_bytes().replace(b"part-00000", b"part-00001"))
    for read in (lambda: read_manifest(site, version), lambda: version_files(None, site, version)):
        with pytest.raises(Fault) as fault:
            read()
        assert fault.value.code == "damaged"
        assert "dataset:letters@v1" in fault.value.message
        assert "baray ledger verify" in fault.value.fix


def test_a_manifest_that_is_gone_is_not_found(site, project, run):
    version = made(site, project, run)
    site.blobs.path(version.manifest_digest).unlink()
    with pytest.raises(NotFound, match=version.manifest_digest):
        read_manifest(site, version)


@pytest.fixture
def town(site, project):
    """A public Source, an internal one, a Dataset of both, an Index of it, a Desk on that, and an Answer."""
    fees, rota = add(site, project, PAPERS, name="fees", label=PUBLIC), add(site, project, {"r": b"1"}, name="rota")
    ids = {"fees": fees.id, "rota": rota.id}
    ids["reading"] = new_run(site, project, [fees.id, rota.id])
    ids["letters"] = made(site, project, ids["reading"]).id
    ids["indexing"] = new_run(site, project, [ids["letters"]])
    ids["index"] = made(site, project, ids["indexing"], kind="index", name="desk").id
    ids |= {"service": site.ids.new("e"), "revision": site.ids.new("w"), "answer": site.ids.new("a")}
    site.store.write(lambda tx: serve(tx, project, ids))
    return ids


def serve(tx, project, ids):
    service = {
        "id": ids["service"],
        "project_id": project,
        "kind": "desk",
        "name": "town",
        "title": "Town",
        "state": "ready",
    }
    tx.execute(
        schema.service.insert(), service | {"audience": "[]", "created": 1.0, "current_revision": ids["revision"]}
    )
    revision = {"id": ids["revision"], "service_id": ids["service"], "number": 4, "spec": "{}", "label": "internal"}
    tx.execute(schema.revision.insert(), revision | {"created": 1.0})
    tx.execute(schema.edge.insert(), {"child": ids["revision"], "parent": ids["index"], "role": "serves"})
    answer = {"id": ids["answer"], "service_id": ids["service"], "revision_id": ids["revision"], "project_id": project}
    answer |= {"actor_id": "public", "created": 1.0, "outcome": "answered", "question": "How much?", "language": "en"}
    answer |= {"label": "public", "answer": "5000 riel", "citations": '[{"path":"fee.txt"}]', "ms": 1.0}
    tx.execute(schema.answer.insert(), answer | {"receipt_digest": digest_of("receipt")})


def walk(site, project, ref, readable=lambda _label: True):
    return site.store.read(lambda tx: lineage(tx, project, parse_ref(ref), readable))


def edges_of(graph, ids):
    names = {node_id: name for name, node_id in ids.items()}
    return {(names[edge["child"]], edge["role"], names[edge["parent"]]) for edge in graph.edges}


WHOLE = {
    ("answer", "answered-by", "revision"),
    ("revision", "serves", "index"),
    ("index", "made-by", "indexing"),
    ("indexing", "input", "letters"),
    ("letters", "made-by", "reading"),
    ("reading", "input", "fees"),
    ("reading", "input", "rota"),
}


def test_an_answer_leads_back_to_the_files(site, project, town):
    graph = walk(site, project, f"answer:{town['answer']}")
    assert edges_of(graph, town) == WHOLE
    assert graph.chain == ("answer", "service", "index", "dataset", "run", "source")
    assert len(graph.edges) == len(WHOLE)
    assert graph.nodes[0] | {"citations": None} == {
        "id": town["answer"],
        "kind": "answer",
        "ref": f"answer:{town['answer']}",
        "title": "How much?",
        "label": "public",
        "digest": digest_of("receipt"),
        "citations": None,
    }
    assert graph.nodes[0]["citations"] == [{"path": "fee.txt"}]
    assert [node["ref"] for node in graph.nodes][1:4:2] == ["service:town", f"run:{town['indexing']}"]


@pytest.mark.parametrize(
    ("ref", "chain"),
    [
        ("service:town", ("service", "index", "dataset", "run", "source")),
        ("index:desk", ("index", "dataset", "run", "source")),
        ("dataset:letters@v1", ("dataset", "run", "source")),
        ("source:fees", ("source",)),
    ],
)
def test_lineage_starts_anywhere_on_the_way(site, project, town, ref, chain):
    assert walk(site, project, ref).chain == chain


def test_lineage_of_a_run_is_what_it_read(site, project, town):
    graph = walk(site, project, f"run:{town['reading']}")
    assert edges_of(graph, town) == {edge for edge in WHOLE if edge[0] == "reading"}


def test_what_may_not_be_read_is_not_there_and_nothing_points_at_it(site, project, town):
    graph = walk(site, project, f"answer:{town['answer']}", readable=lambda label: label == "public")
    assert [node["id"] for node in graph.nodes] == [town["answer"]]
    assert graph.edges == ()


def test_only_the_hidden_part_is_left_out(site, project, source):
    secret = add(site, project, {"s": b"s"}, name="secrets", label=parse_label("secret"))
    run_id = new_run(site, project, [source.id, secret.id])
    version = made(site, project, run_id)
    graph = walk(site, project, version.ref, readable=lambda label: label != "secret")
    assert {node["id"] for node in graph.nodes} == {version.id, run_id, source.id}
    assert secret.id not in json.dumps([*graph.nodes, *graph.edges])


def test_a_start_that_may_not_be_read_is_not_found(site, project, town):
    with pytest.raises(NotFound):
        walk(site, project, "dataset:letters", readable=lambda label: label == "public")


def test_nothing_of_another_project_is_a_start(site, town):
    other = site.store.write(
        lambda tx: access.create_project(tx, site, name="other", title="", label=INTERNAL, by="system")
    )
    refs = ["dataset:letters", "service:town", f"run:{town['reading']}", f"answer:{town['answer']}", "entry:1"]
    for ref in refs:
        with pytest.raises(NotFound):
            walk(site, other, ref)


def test_a_thing_that_two_runs_made_has_both_and_each_edge_once(site, project, source, run):
    version = made(site, project, run)
    again = new_run(site, project, [source.id])
    made(site, project, again)
    graph = walk(site, project, version.ref)
    names = {"version": version.id, "first": run, "second": again, "source": source.id}
    assert edges_of(graph, names) == {
        ("version", "made-by", "first"),
        ("version", "made-by", "second"),
        ("first", "input", "source"),
        ("second", "input", "source"),
    }
    assert len(graph.edges) == 4
    assert {row.child for row in site.store.read(lambda tx: children(tx, source.id))} == {run, again}

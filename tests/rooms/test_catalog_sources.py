"""Adding Sources: identity, documents.csv, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from catalog_things import ACTOR, add, digest_of, entries, request_of

from baray import access
from baray.access import INTERNAL, PUBLIC, parse_label
from baray.catalog import FileEntry, add_source, all_versions, known_digests, newest, read_manifest, version_files
from baray.core import NotFound, Refused
from baray.store import schema

VECTORS = Path(__file__).parents[1] / "vectors" / "catalog"
FILES = {"fee.txt": b"5000 riel", "sub/hours.txt": b"8 to 5"}


@pytest.fixture
def project(main_project):
    return main_project


def files_of(site, version):
    return {file.path: file for file in site.store.read(lambda tx: version_files(tx, site, version))}


def with_csv(csv, files=FILES):
    return {**files, "documents.csv": csv if isinstance(csv, bytes) else csv.encode()}


def refused(site, project, files, **more):
    with pytest.raises(Refused) as error:
        add(site, project, files, **more)
    assert site.store.read(lambda tx: newest(tx, project, "source")) == []
    assert entries(site, "source.added") == []
    return error.value


def test_identity_and_manifest_of_a_source_are_frozen(site, project):
    vector = json.loads((VECTORS / "source.json").read_text(encoding="utf-8"))
    files = {path: text.encode() for path, text in vector["files"].items()}
    files["documents.csv"] = vector["documents_csv"].encode()
    version = add(site, project, files, label=parse_label(vector["label"]), licence=vector["licence"])
    assert digest_of(vector["rows"]) == vector["digest"]
    assert (version.digest, version.manifest_digest) == (vector["digest"], vector["manifest_digest"])
    assert site.blobs.path(version.manifest_digest).read_bytes() == vector["manifest"].encode()


def test_a_source_is_a_version_with_an_entry(site, project):
    version, new = add_source(site, request_of(site, project, FILES, title="ឯកសារ", licence="CC0-1.0"))
    assert new
    assert (version.ref, version.number, version.title, version.label) == ("source:papers@v1", 1, "ឯកសារ", "internal")
    assert (version.bytes, version.summary) == (15, {"files": 2, "bytes": 15})
    assert (version.project_id, version.run_id, version.created) == (project, None, site.clock.now())
    assert read_manifest(site, version)["licence"] == "CC0-1.0"
    (entry,) = entries(site, "source.added")
    assert entry == {
        "index": entry["index"],
        "time": site.clock.now(),
        "kind": "source.added",
        "actor": ACTOR,
        "subject": version.id,
        "project": project,
        "label": "internal",
        "facts": {"digest": version.digest, "manifest": version.manifest_digest},
    }


def test_the_same_files_give_the_version_that_is_there(site, project):
    first = add(site, project, FILES)
    turned = dict(reversed(FILES.items()))
    again, new = add_source(site, request_of(site, project, turned))
    assert (again, new) == (first, False)
    assert len(entries(site, "source.added")) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"files": {**FILES, "fee.txt": b"6000 riel"}},
        {"files": {"fees.txt": b"5000 riel", "sub/hours.txt": b"8 to 5"}},
        {"files": {"fee.txt": b"5000 riel"}},
        {"files": with_csv("path,office\nfee.txt,Registry\n")},
        {"files": FILES, "label": parse_label("restricted")},
    ],
    ids=["bytes", "path", "fewer", "office", "label"],
)
def test_anything_else_gives_the_next_version(site, project, change):
    first = add(site, project, FILES)
    second = add(site, project, **change)
    assert (second.number, second.ref) == (2, "source:papers@v2")
    assert second.digest != first.digest
    assert [version.id for version in site.store.read(lambda tx: all_versions(tx, project, "source", "papers"))] == [
        second.id,
        first.id,
    ]
    assert files_of(site, first)["fee.txt"].label == "internal"


def test_the_same_files_under_another_name_or_project_are_another_source(site, project):
    other_project = site.store.write(
        lambda tx: access.create_project(tx, site, name="other", title="", label=INTERNAL, by="system")
    )
    versions = [add(site, project, FILES), add(site, project, FILES, name="more"), add(site, other_project, FILES)]
    assert [version.ref for version in versions] == ["source:papers@v1", "source:more@v1", "source:papers@v1"]
    assert len({version.id for version in versions}) == 3
    assert len({version.digest for version in versions}) == 1


def test_documents_csv_says_more_of_single_files_and_is_none_itself(site, project):
    csv = "path,label,valid_from,valid_until,office\nfee.txt,restricted:land,2024-01-01,2026-12-31,Civil registry\n"
    version = add(site, project, with_csv(csv))
    found = files_of(site, version)
    assert set(found) == set(FILES)
    fee, hours = found["fee.txt"], found["sub/hours.txt"]
    assert (fee.label, fee.valid_from, fee.valid_until) == ("restricted:land", "2024-01-01", "2026-12-31")
    assert fee.office == "Civil registry"
    assert (hours.label, hours.valid_from, hours.valid_until, hours.office) == ("internal", None, None, None)
    assert version.label == "restricted:land", "the version is as sensitive as its most sensitive file"


@pytest.mark.parametrize(
    ("own", "said", "label"),
    [
        ("internal", "public", "internal"),
        ("internal", "", "internal"),
        ("public", "internal", "internal"),
        ("internal:health", "restricted:land", "restricted:health,land"),
        ("internal@main,court", "internal@main", "internal@main"),
        ("internal@main", "internal", "internal@main"),
    ],
)
def test_a_row_raises_a_label_and_never_lowers_it(site, project, own, said, label):
    csv = f'path,label\nfee.txt,"{said}"\n'
    version = add(site, project, with_csv(csv), label=parse_label(own))
    assert files_of(site, version)["fee.txt"].label == label


def test_a_row_that_would_hide_its_file_from_the_whole_project_is_refused(site, project):
    with pytest.raises(Refused) as refused:
        add(site, project, with_csv('path,label\nfee.txt,"internal@court"\n'), label=parse_label("internal@main"))
    assert refused.value.code == "label_blocks_project"


@pytest.mark.parametrize(
    "csv",
    [
        "\ufeffpath,label\r\nfee.txt,restricted\r\n",
        "label,path\nrestricted,fee.txt\n",
        "path,label\n\n fee.txt , restricted \n,\n",
        'path,label,office\n"fee.txt","restricted"\n',
        " path , label \nfee.txt,restricted",
    ],
    ids=["spreadsheet", "other order", "spaces and empty lines", "quoted, short", "spaced header"],
)
def test_the_file_may_come_as_people_write_it(site, project, csv):
    assert files_of(site, add(site, project, with_csv(csv)))["fee.txt"].label == "restricted"


@pytest.mark.parametrize("day", ["2026-11-21", "២០២៦-១១-២១", "20261121"])
def test_days_may_be_written_in_khmer_digits(site, project, day):
    version = add(site, project, with_csv(f"path,valid_from\nfee.txt,{day}\n"))
    assert files_of(site, version)["fee.txt"].valid_from == "2026-11-21"


@pytest.mark.parametrize(
    ("csv", "line", "told"),
    [
        ("path,label\nfee.txt,public\nnowhere.txt,public\n", 3, "nowhere.txt"),
        ("path,label\n\nfee.txt,Restricted\n", 3, "'Restricted' is not a label"),
        ("path,valid_from\nfee.txt,21/11/2026\n", 2, "21/11/2026"),
        ("path,valid_until\nfee.txt,2026-02-30\n", 2, "2026-02-30"),
        ("path,valid_from,valid_until\nfee.txt,2026-02-02,2026-02-01\n", 2, "from 2026-02-02 until 2026-02-01"),
        ("path,label\nfee.txt,public\nsub/hours.txt,public\nfee.txt,public\n", 4, "twice"),
        ("path,label\n,restricted\n", 2, "names no path"),
        ("path,office\nfee.txt,Phnom Penh, Daun Penh\n", 2, "3 cells"),
        ("label\nrestricted\n", 1, "columns label"),
        ("path,labels\nfee.txt,restricted\n", 1, "labels"),
        ("path,label,label\nfee.txt,restricted,public\n", 1, "each once"),
        ("path;label\nfee.txt;restricted\n", 1, "path;label"),
        ("", 1, "columns"),
        ('path,office\nfee.txt,"never closed\n', 2, "not CSV"),
        (b"path,office\nfee.txt,\xe1\x9e\n", 1, "UTF-8"),
        ("path,office\nfee.txt," + "x" * 140_000 + "\n", 2, "not CSV"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_added(site, project, csv, line, told):
    error = refused(site, project, with_csv(csv))
    assert error.code == "bad_documents_csv"
    assert f"documents.csv line {line} " in error.message
    assert told in error.message + error.fix
    assert error.fix


def test_a_documents_csv_that_is_too_large_is_refused(site, project):
    csv = b"path,office\n" + b"\n" * (8 << 20)
    assert refused(site, project, with_csv(csv)).code == "bad_documents_csv"


@pytest.mark.parametrize(
    "path", ["../etc/passwd", "a/../b", "/etc/passwd", "a//b", "./a", "a/", "", "..", "a\x00b", "documents.csv/.."]
)
def test_a_path_that_leaves_the_folder_is_refused(site, project, path):
    assert refused(site, project, {path: b"bytes"}).code == "bad_path"


def test_a_path_twice_is_refused(site, project):
    request = request_of(site, project, FILES)
    with pytest.raises(Refused) as error:
        add_source(site, replace(request, files=(*request.files, request.files[0])))
    assert error.value.code == "bad_path"


@pytest.mark.parametrize("files", [{}, {"documents.csv": b"path\n"}])
def test_a_source_of_no_files_is_refused(site, project, files):
    assert refused(site, project, files).code == "no_files"


def test_a_bad_name_is_refused(site, project):
    assert refused(site, project, FILES, name="My Papers").code == "bad_name"


def test_files_that_were_not_sent_are_counted_and_the_first_is_named(site, project):
    request = request_of(site, project, {"here.txt": b"here"})
    missing = [FileEntry(path=f"lost-{number}.txt", digest=digest_of(str(number)), bytes=1) for number in range(3)]
    held = request.held | {entry.digest for entry in missing}
    with pytest.raises(Refused, match=r"3 files were not sent, first 'lost-0\.txt'") as error:
        add_source(site, replace(request, files=(*request.files, *missing), held=held))
    assert (error.value.code, error.value.status) == ("missing_blobs", 409)


def test_naming_another_projects_digest_gives_nothing(site, project):
    other = site.store.write(
        lambda tx: access.create_project(tx, site, name="other", title="", label=PUBLIC, by="system")
    )
    secret = add(site, project, {"secret.txt": b"what the other project must not read"}, label=parse_label("secret"))
    digest = files_of(site, secret)["secret.txt"].digest
    assert site.blobs.has(digest)
    entry = FileEntry(path="mine.txt", digest=digest, bytes=36)
    absent = replace(entry, digest=digest_of("nobody has this"))
    told = []
    for named in (entry, absent):
        request = replace(request_of(site, other, {}), files=(named,))
        with pytest.raises(Refused) as error:
            add_source(site, request)
        told.append(str(error.value))
    assert told[0] == told[1], "a digest that others hold looks like one that nobody has"
    assert site.store.read(lambda tx: known_digests(tx, other, [digest])) == set()
    assert site.store.read(lambda tx: known_digests(tx, project, [digest, absent.digest])) == {digest}


def test_a_size_that_is_not_the_bytes_is_refused(site, project):
    request = request_of(site, project, FILES)
    wrong = replace(request.files[0], bytes=3)
    with pytest.raises(Refused, match=r"'fee\.txt' has 9 bytes, not 3") as error:
        add_source(site, replace(request, files=(wrong, request.files[1])))
    assert error.value.code == "bad_size"


def test_a_text_that_is_no_digest_is_refused(site, project):
    request = request_of(site, project, {})
    entry = FileEntry(path="a.txt", digest="../../secret", bytes=1)
    with pytest.raises(Refused) as error:
        add_source(site, replace(request, files=(entry,), held=frozenset({"../../secret"})))
    assert error.value.code == "bad_digest"


def test_digests_are_known_by_the_thousand(site, project):
    digests = [file.digest for file in files_of(site, add(site, project, FILES)).values()]
    absent = [digest_of(str(number)) for number in range(1200)]
    asked = [digests[0], *absent, digests[1]]
    assert site.store.read(lambda tx: known_digests(tx, project, asked)) == set(digests)
    assert site.store.read(lambda tx: known_digests(tx, project, absent)) == set()


def test_the_newest_of_every_source_by_name(site, project):
    add(site, project, FILES, name="b-papers")
    add(site, project, FILES, name="a-papers")
    add(site, project, {"x": b"y"}, name="b-papers", title="Newer")
    found = site.store.read(lambda tx: newest(tx, project, "source"))
    assert [(version.ref, version.title) for version in found] == [
        ("source:a-papers@v1", "a-papers"),
        ("source:b-papers@v2", "Newer"),
    ]
    with pytest.raises(NotFound):
        site.blobs.path(digest_of("never"))
    assert site.store.read(lambda tx: len(tx.execute(schema.source.select()).all())) == 2

"""The main job, as `baray demo` does it, and the commands on the home that it leaves behind."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import urllib.request
from importlib import resources
from xml.etree import ElementTree

import pytest
from homes import Home, wait_for

SAMPLE = resources.files("baray") / "samples" / "one-window"
KEYS = {
    "documents",
    "dataset",
    "index",
    "routing",
    "desk",
    "questions",
    "lab",
    "certificate",
    "tamper",
    "lineage",
    "ledger",
    "train",
    "seconds",
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A home after a tiny demo, and the demo's document."""
    home = Home(tmp_path_factory.mktemp("demo") / "home")
    document = home.path.parent / "demo.json"
    try:
        out, err = home.run("demo", "--size", "tiny", "--json", str(document), BARAY_INSTALL_SECONDS="1.5")
        yield home, json.loads(document.read_text(encoding="utf-8")), out + err
    finally:
        home.stop()


def test_the_document_has_every_key_and_its_sums_add_up(demo):
    _, document, _ = demo
    assert set(document) == KEYS
    counts = document["documents"]
    assert counts["in"] == counts["kept"] + sum(counts["dropped"].values()) + sum(counts["refused"].values())
    assert counts["redacted"] > 0
    assert min(len(counts["dropped"]), len(counts["refused"])) >= 2
    assert re.fullmatch(r"dataset:one-window@v1", document["dataset"])
    assert re.fullmatch(r"index:one-window@v1", document["index"])
    routing = document["routing"]
    assert routing["interval"][0] <= routing["score"] <= routing["interval"][1]
    assert isinstance(routing["beats_baseline"], bool)
    assert (document["lab"], document["certificate"], document["train"]) == (None, None, None)
    seconds = document["seconds"]
    assert set(seconds) == {"install", "process", "train", "host", "ask", "teach", "prove", "total"}
    assert seconds["install"] == 1.5
    assert (
        seconds["total"] >= sum(seconds[name] for name in ("install", "process", "train", "host", "ask", "prove")) - 0.1
    )


def test_five_questions_show_answered_expired_out_of_scope_and_hidden(demo):
    _, document, _ = demo
    rows = document["questions"]
    assert [(row["as"], row["outcome"]) for row in rows] == [
        ("public", "answered"),
        ("public", "expired"),
        ("public", "out-of-scope"),
        ("public", "hidden"),
        ("officer", "answered"),
    ]
    cited = [{citation["document"] for citation in row["citations"]} for row in rows]
    assert "civil-registry/birth-certificate.docx" in cited[0]
    assert cited[1:4] == [set(), set(), set()]
    assert cited[4] == {"internal/safe-and-cash.docx"}
    assert all(row["id"].startswith("answer:a_") for row in rows)
    assert not any(found["document"].startswith("internal/") for row in rows[:4] for found in row["found"])
    assert all(len({found["document"] for found in row["found"]}) == len(row["found"]) <= 5 for row in rows)


def test_the_proof_goes_back_to_the_file_and_finds_a_flipped_byte(demo):
    home, document, _ = demo
    assert document["lineage"] == ["answer", "service", "index", "dataset", "run", "source"]
    assert document["ledger"]["verified"]
    assert document["ledger"]["witnessed"]
    assert document["ledger"]["entries"] > 10
    assert document["tamper"]["found"]
    assert "civil-registry/birth-certificate.docx" in document["tamper"]["named"]
    leftover = [path.name for path in home.path.parent.iterdir() if "copy" in path.name]
    assert leftover == []


def test_the_story_ends_with_the_console_and_the_own_folder(demo):
    _, document, story = demo
    assert "/sign-in?link=bry_lnk_" in story
    assert "baray desk create NAME --documents FOLDER" in story
    assert document["desk"]["url"] in story


def test_the_desks_page_answers_without_an_account(demo):
    _, document, _ = demo
    with urllib.request.urlopen(document["desk"]["url"], timeout=10) as response:
        assert response.status == 200


def test_a_second_run_reuses_what_did_not_change_and_says_so(demo):
    home, document, _ = demo
    out, err = home.run("demo", "--size", "tiny", "--json")
    again = json.loads(out)
    assert err.count("Nothing changed: reusing") >= 5
    for key in ("documents", "dataset", "index", "routing", "desk", "lineage"):
        assert again[key] == document[key]


def test_every_list_and_show_prints_one_document(demo):
    home, _, _ = demo
    for noun in ("source", "dataset", "model", "service", "run", "project", "user", "token"):
        assert home.json(noun, "list")["items"], noun
    for argv in (
        ["source", "show", "one-window"],
        ["dataset", "show", "one-window@v1"],
        ["model", "show", "letters-router"],
    ):
        assert home.json(*argv)["files"]
    assert home.json("desk", "show", "one-window")["kind"] == "desk"
    assert home.json("dataset", "head", "one-window", "-n", "2")["items"][1]["text"]
    dropped = home.json("dataset", "dropped", "one-window", "--reason", "near_duplicate")["items"]
    assert {row["reason"] for row in dropped} == {"near_duplicate"}
    assert home.json("whoami")["role"] == "owner"
    assert home.json("status")["router_url"].startswith("http://")
    assert {recipe["name"] for recipe in home.json("recipes")["items"]} >= {"text", "desk", "text-classifier"}
    assert home.json("recipes", "text")["options"]
    assert home.json("label", "show", "dataset:one-window")["level"] == "internal"
    assert home.json("usage")["items"]
    assert home.json("dataset", "diff", "one-window@v1", "one-window")["same"]


def test_asking_as_the_public_and_as_an_officer(demo):
    home, document, _ = demo
    question = document["questions"][4]["asked"]
    hidden = home.json("desk", "ask", "one-window", question, "--as", "public")
    outside = home.json("desk", "ask", "one-window", "តើភពព្រះអង្គារនៅឆ្ងាយប៉ុនណា?", "--as", "public")
    assert hidden["outcome"] == outside["outcome"] == "out-of-scope"
    same = {"answer", "citations", "outcome", "label"}
    assert {key: hidden[key] for key in same} == {key: outside[key] for key in same}
    assert not any(one["document"].startswith("internal/") for one in hidden["found"])
    assert home.json("desk", "ask", "one-window", question, "--as", "officer")["outcome"] == "answered"
    assert home.json("desk", "ask", "no-such-desk", question, code=1)["error"]["code"] == "not_found"


def test_desk_test_counts(demo, tmp_path):
    home, document, _ = demo
    rows = [
        {
            "question": document["questions"][0]["asked"],
            "language": "km",
            "answer_in": ["civil-registry/birth-certificate.docx"],
        },
        {"question": document["questions"][2]["asked"], "language": "en", "answer_in": None},
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    figures = home.json("desk", "test", "one-window", str(path))
    assert (figures["questions"], figures["hit_at_1"], figures["refused_right"]) == (2, 1.0, 1.0)
    assert set(figures["by_language"]) == {"km", "en"}
    assert figures["p50_ms"] > 0


def test_lineage_in_every_form(demo):
    home, document, _ = demo
    answer = document["questions"][0]["id"]
    graph = home.json("lineage", answer)
    assert graph["chain"] == document["lineage"]
    assert json.loads(home.run("lineage", answer, "--format", "json")[0]) == graph
    assert home.run("lineage", answer)[0].startswith("answer:a_")
    assert home.run("lineage", answer, "--format", "dot")[0].startswith("digraph")
    picture = ElementTree.fromstring(home.run("lineage", answer, "--format", "svg")[0])
    assert picture.tag.endswith("svg")


def test_ledger_commands(demo, tmp_path):
    home, _, _ = demo
    head = home.json("ledger", "head")
    assert head["witnessed"]
    entries = home.json("ledger", "show", "--limit", "1000")["items"]
    assert [entry["index"] for entry in entries] == list(range(len(entries)))
    proof = tmp_path / "claim.baray-proof"
    home.run("ledger", "prove", "dataset:one-window@v1", "--out", str(proof))
    assert home.json("ledger", "verify", str(proof))["ok"]
    export = tmp_path / "ledger.tar"
    home.run("ledger", "export", "--out", str(export))
    assert home.json("ledger", "verify", str(export))["entries"] >= len(entries)
    kept = tmp_path / "head.txt"
    kept.write_text(head["note"], encoding="utf-8")
    assert home.json("ledger", "verify", "--head", str(kept))["ok"]
    request = tmp_path / "request.txt"
    home.run("ledger", "request", "--out", str(request))
    assert request.read_text().startswith("old ")
    assert home.json("ledger", "witness", "list")["items"][0]["name"] == "demo-witness-1"


def test_export_checks_digests(demo, tmp_path):
    home, _, _ = demo
    out = tmp_path / "out"
    document = home.json("dataset", "export", "one-window", str(out))
    assert document["files"] == len([path for path in out.rglob("*") if path.is_file()])
    assert (out / "report.json").exists()
    assert home.json("dataset", "export", "one-window", str(out), code=1)["error"]["code"] == "not_empty"


def test_people_tokens_and_keys(demo):
    home, _, _ = demo
    home.json("user", "create", "sophea", "--clearance", "internal", "--role", "member")
    token = home.json("token", "create", "laptop", "--for", "sophea")["token"]
    server = json.loads((home.path / "endpoint.json").read_text())["url"]
    mine = home.json("whoami", BARAY_SERVER=server, BARAY_TOKEN=token)
    assert (mine["name"], mine["role"], mine["clearance"]) == ("sophea", "member", "internal")
    assert (
        home.json("user", "list", BARAY_SERVER=server, BARAY_TOKEN=token, code=1)["error"]["code"] == "site_role_needed"
    )
    key = home.json("key", "create", "website")
    assert key["token"].startswith("bry_")
    home.json("user", "disable", "sophea")
    assert home.json("whoami", BARAY_SERVER=server, BARAY_TOKEN=token, code=1)["error"]["fix"]
    home.json("project", "create", "health", "--title", "សុខាភិបាល")
    home.json("project", "member", "add", "officer", "viewer", "--in", "health")
    members = home.json("project", "show", "health")["members"]
    assert {(row["name"], row["role"]) for row in members} == {("operator", "owner"), ("officer", "viewer")}
    assert home.json("source", "list", "--project", "health")["items"] == []


def test_a_desk_from_a_folder_in_one_command(demo, tmp_path):
    home, _, _ = demo
    folder = tmp_path / "papers"
    folder.mkdir()
    for name in ("announcements/office-hours.md", "transport/goods-transport-permit.md"):
        shutil.copy(SAMPLE / "documents" / name, folder)
    (folder / ".hidden").write_text("x")
    made = home.start("desk", "create", "counter", "--documents", str(folder), "--json")
    out, err = made.communicate(timeout=60)
    assert made.returncode == 0, err
    document = json.loads(out)
    assert document["dataset"] == "dataset:counter@v1"
    assert "Left out: .hidden (hidden)" in err
    out, err = home.run("desk", "create", "counter", "--documents", str(folder))
    assert err.count("Nothing changed: reusing") == 4
    answer = home.json("desk", "ask", "counter", "When is the office open?")
    assert answer["citations"][0]["document"] == "office-hours.md"
    assert home.json("service", "stop", "counter")["state"] == "stopped"
    assert "one_input" not in home.run("desk", "create", "counter", code=2)[1]


def test_runs_from_start_to_end_and_interrupted(demo):
    home, _, _ = demo
    first = next(run for run in home.json("run", "list")["items"] if run["kind"] == "dataset")
    assert home.json("run", "show", first["id"])["outputs"][0]["ref"].startswith("dataset:")
    assert home.json("run", "wait", f"run:{first['id']}")["state"] == "succeeded"
    assert home.json("run", "why", first["id"])["state"] == "succeeded"
    assert home.json("run", "compare", first["id"], first["id"])["different"] == {}
    assert home.json("run", "logs", first["id"])["id"] == first["id"]
    assert home.json("run", "show", "r_00000000000000000000000000", code=1)["error"]["code"] == "not_found"


def test_a_command_in_the_sandbox(demo, need):
    home, _, _ = demo
    need("bwrap")
    out, err = home.run("run", "start", "--name", "hello", "--follow", "--", "sh", "-c", "echo សួស្តី; exit 3", code=1)
    assert "សួស្តី" in err
    assert "exit code 3" in err
    assert out == ""
    started = home.start("run", "start", "--follow", "--", "sh", "-c", "echo begun; sleep 60")
    wait_for(lambda: started.stderr.readline() == "begun\n")
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130
    run = re.search(r"Cancel: baray run cancel (r_\w+)\.", err)[1]
    assert home.json("run", "show", run)["state"] == "running"
    home.json("run", "cancel", run)
    assert home.json("run", "wait", run, code=1)["error"]["code"] == "run_cancelled"


def test_stdout_is_results_and_stderr_is_prose(demo):
    home, _, _ = demo
    out, err = home.run("dataset", "build", "text", "--name", "one-window", "--source", "one-window")
    assert out == "Nothing changed: reusing dataset:one-window@v1.\n"
    assert err == ""


def test_the_demos_witness_lies_outside_the_home(demo):
    home, _, _ = demo
    folder = home.path.parent / "home-witness"
    assert (folder / "witness.key").stat().st_mode & 0o077 == 0
    with sqlite3.connect(f"file:{home.path / 'baray.db'}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT vkey FROM witness").fetchall()
    assert rows == [((folder / "witness.vkey").read_text().strip(),)]

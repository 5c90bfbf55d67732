"""What a newcomer is told by a real server: a public desk of internal papers, a project above one's clearance."""

from __future__ import annotations

import json

import pytest
from homes import Home

PAPER = "The office is open from 8 to 12. A birth certificate costs 5000 riel and takes three days to make.\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("words") / "home")
    folder = home.path.parent / "papers"
    folder.mkdir()
    (folder / "hours.txt").write_text(PAPER)
    yield home
    home.stop()


def test_a_desk_for_the_public_without_a_public_document_says_so(home):
    create = ("desk", "create", "counter", "--documents", "papers")
    out, err = home.run(*create, "--audience", "public", "--json")
    warning = json.loads(out)["warnings"][0]
    assert warning in err
    assert "source:counter@v1" in warning
    assert "--label public" in warning
    assert home.json(*create, "--audience", "project")["warnings"] == []
    assert home.json(*create, "--label", "public", "--audience", "public")["warnings"] == []
    assert home.json("desk", "ask", "counter", "When is the office open?", "--as", "public")["outcome"] == "answered"


def test_a_desk_that_is_not_there(home):
    error = home.json("desk", "ask", "nosuch", "When?", code=1)["error"]
    assert "baray service list" in error["fix"]


def test_a_member_below_the_projects_label_is_told_what_they_may_do(home):
    home.run("user", "create", "low", "--clearance", "public", "--role", "member")
    token = home.run("token", "create", "low-first", "--for", "low")[0].strip()
    url = json.loads((home.path / "endpoint.json").read_text())["url"]
    theirs = {"BARAY_SERVER": url, "BARAY_TOKEN": token}
    for command in (("run", "start", "--", "true"), ("source", "add", "mine", "papers")):
        error = home.json(*command, code=1, **theirs)["error"]
        assert error["code"] == "clearance_too_low"
        assert "'internal' in project 'main'" in error["detail"]
        assert "'public'" in error["detail"]
        assert "baray project list" in error["fix"]
    assert home.json("source", "add", "mine", "papers", "--label", "public", **theirs)["ref"] == "source:mine@v1"
    error = home.json("dataset", "show", "nosuch", code=1, **theirs)["error"]
    assert error["code"] == "not_found"


def test_a_source_whose_label_is_not_the_one_asked_for_says_why(home):
    folder = home.path.parent / "mixed"
    folder.mkdir()
    (folder / "hours.txt").write_text(PAPER)
    (folder / "rota.txt").write_text("Dara works on Monday.\n")
    (folder / "documents.csv").write_text("path,label\nrota.txt,internal\n")
    out, _ = home.run("source", "add", "mixed", "mixed", "--label", "public")
    assert "label internal. That is the highest label of its files: internal 1, public 1." in out


def test_status_tells_addresses_and_processes_in_words(home):
    out, _ = home.run("status")
    url = json.loads((home.path / "endpoint.json").read_text())["url"]
    assert f"console_url  {url}" in out
    assert "control (pid " in out
    assert "{" not in out
    assert home.json("status")["running"] is True
    assert home.run("dataset", "dropped", "counter")[0] == "Nothing was dropped or refused.\n"


def test_status_of_a_home_that_may_only_be_read_is_not_running(home, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    lock = other / "lock"
    lock.write_text("")
    lock.chmod(0o444)
    other.chmod(0o555)
    try:
        assert home.json("status", "--home", str(other))["running"] is False
        assert [path.name for path in other.iterdir()] == ["lock"]
    finally:
        other.chmod(0o755)

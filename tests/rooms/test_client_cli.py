"""The command line without a server: help, wrong usage, languages, drawing, counting; and how fast it starts."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest

from baray.client import Timing, read_settings, run_command
from baray.client.catalogue import COMMANDS, GROUPS, PEOPLES_WORDS
from baray.client.cli import Leaf
from baray.client.commands.dataset import settings_of
from baray.client.commands.desk import service_lines
from baray.client.commands.lineage import dot_lines, svg_lines, text_lines
from baray.client.commands.testing import Result, figures, read_questions
from baray.client.demo.sample import TINY_DOCUMENTS, material
from baray.client.output import Screen, clean, table, width
from baray.client.strings import KHMER
from baray.core import Refused, SystemClock

CLIENT = Path(importlib.import_module("baray.client").__file__).parent
GRAPH = {
    "nodes": [
        {"id": "a", "ref": "answer:a_1", "kind": "answer", "title": "តើ <ថ្លៃ>?", "label": "public", "digest": ""},
        {"id": "w", "ref": "service:counter", "kind": "service", "title": "", "label": "public", "digest": ""},
        {
            "id": "v",
            "ref": "index:counter@v1",
            "kind": "index",
            "title": "",
            "label": "public",
            "digest": "sha256:" + "a" * 64,
        },
        {
            "id": "s",
            "ref": "source:papers@v1",
            "kind": "source",
            "title": "",
            "label": "internal",
            "digest": "sha256:" + "b" * 64,
        },
    ],
    "edges": [
        {"child": "a", "parent": "w", "role": "answered-by"},
        {"child": "w", "parent": "v", "role": "index"},
        {"child": "a", "parent": "s", "role": "cites"},
        {"child": "v", "parent": "s", "role": "source"},
    ],
    "chain": ["answer", "service", "index", "source"],
}


def run(*argv, **environ):
    out, err = io.StringIO(), io.StringIO()
    settings = read_settings({"BARAY_HOME": "/nonexistent", **environ}, is_root=False)
    code = run_command(list(argv), settings, out=out, err=err, timing=Timing())
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_has_help_options_and_an_example_of_itself(path, capsys):
    module, _, name = COMMANDS[path].target.partition(":")
    leaf = getattr(importlib.import_module(f"baray.client.{module}"), name)
    assert isinstance(leaf, Leaf)
    if not path.startswith(("key ", "token ")):
        assert leaf.example.startswith(f"baray {path}")
    assert all(param.help for param in leaf.params if isinstance(param, click.Option))
    code, _, _ = run(*path.split(), "--help")
    said = capsys.readouterr().out
    assert code == 0
    assert COMMANDS[path].help in " ".join(said.split())
    assert "--json" in said


def test_the_command_list_names_every_group_and_command(capsys):
    code, _, _ = run()
    said = capsys.readouterr().out
    assert code == 0
    for path in [*COMMANDS, *GROUPS]:
        if " " not in path:
            assert f"  {path} " in said


def test_groups_and_words_point_at_commands():
    assert {path.rpartition(" ")[0] for path in COMMANDS if " " in path} == set(GROUPS)
    assert not set(PEOPLES_WORDS) & (set(COMMANDS) | set(GROUPS))
    assert set(PEOPLES_WORDS.values()) <= set(COMMANDS) | set(GROUPS)


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["job", "list"], "baray run"),
        (["deployment"], "baray service"),
        (["bucket", "ls"], "baray source"),
        (["datset", "list"], "baray dataset"),
        (["run", "lst"], "baray run list"),
        (["run", "kill", "r_1"], "baray run cancel"),
    ],
)
def test_peoples_words_and_typing_errors_lead_to_ours(argv, meant):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert f"`{meant}`" in err


def test_wrong_usage_is_2_and_says_how_to_get_help():
    code, out, err = run("run", "show")
    assert (code, out) == (2, "")
    assert "baray run show --help" in err
    code, out, _ = run("run", "show", "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "wrong_usage"


def test_refusals_are_1_with_the_fix_and_a_document_where_asked():
    code, out, err = run("run", "show", "not a ref")
    assert (code, out) == (1, "")
    assert "'not a ref'" not in out
    assert "is not a ref" in err
    assert "To mend it: Write KIND:NAME@vN" in err
    code, out, _ = run("run", "show", "model:x", "--json")
    assert code == 1
    assert json.loads(out)["error"]["fix"] == "Write run:NAME."


def test_an_unreachable_server_is_1_and_soon():
    started = time.monotonic()
    code, out, err = run("whoami", "--server", "http://127.0.0.1:9")
    assert (code, out) == (1, "")
    assert "baray up" in err
    assert time.monotonic() - started < 5


def test_khmer_help_and_headings(capsys):
    run("desk", "create", "--help", BARAY_LANG="km")
    said = capsys.readouterr().out
    assert "របៀបប្រើ" in said
    assert KHMER["From documents to a desk that answers, in one command."] in said
    _, _, err = run("run", "show", "model:x", BARAY_LANG="km_KH.UTF-8")
    assert "វិធីដោះស្រាយ" in err


def test_every_translation_is_of_words_that_are_used():
    used = "\n".join(path.read_text(encoding="utf-8") for path in CLIENT.rglob("*.py"))
    unused = [text for text in KHMER if used.count(text) < 2 and not text.startswith("error.")]
    assert unused == ["Show this message and exit."]  # click's own
    for english, khmer in KHMER.items():
        names = [sorted(part.partition("}")[0] for part in text.split("{")[1:]) for text in (english, khmer)]
        assert names[0] == names[1], english


def test_settings_come_from_the_environment_given(tmp_path):
    settings = read_settings(
        {"BARAY_SERVER": "http://h:1/", "BARAY_TOKEN": "t", "BARAY_INSTALL_SECONDS": "2.5"}, is_root=True
    )
    assert (settings.server, settings.token, settings.install_seconds) == ("http://h:1", "t", 2.5)
    assert str(settings.home) == "/var/lib/baray"
    assert "token" not in repr(settings).replace("token_file", "")
    own = read_settings({"XDG_DATA_HOME": str(tmp_path), "BARAY_LANG": "fr"}, is_root=False)
    assert (own.home, own.language) == (tmp_path / "baray", "en")


def test_options_are_read_as_json_where_they_are():
    assert settings_of(("a=3", "b=true", "c=ខ្មែរ", "d=[1,2]", "e=")) == {
        "a": 3,
        "b": True,
        "c": "ខ្មែរ",
        "d": [1, 2],
        "e": "",
    }
    with pytest.raises(Refused, match="KEY=VALUE"):
        settings_of(("three",))


def test_tables_line_up_under_khmer():
    assert width("ខ្មែរ") == 4  # as terminals count: the coeng sign takes no cell
    lines = table(("ឈ្មោះ", "n"), [("a", 1), ("ស្រុក", 22)])
    assert len({width(line.rpartition(line.split()[-1])[0]) for line in lines}) == 1


def test_a_service_with_replicas_shows_them_its_revisions_and_what_is_at_the_gate():
    spec = {"artefact": {"ref": "model:reader@v1"}}
    shown = {
        "name": "chat", "state": "ready", "reason": "", "replicas": "1:2", "wanted": 1, "revision": 1,
        "revision_id": "v_1",
        "next": {"revision_id": "v_2", "number": 2, "ready": 0, "needed": 1, "failed": 2, "reason": "No memory."},
        "processes": [
            {"id": "p_1", "state": "ready", "revision_id": "v_1", "run": "r_1", "reason": ""},
            {"id": "p_2", "state": "failed", "revision_id": "v_2", "run": "r_2", "reason": "No memory."},
        ],
        "revisions": [
            {"id": "v_2", "number": 2, "created": "2026-01-02", "spec": spec},
            {"id": "v_1", "number": 1, "created": "2026-01-01", "spec": spec},
        ],
    }  # fmt: skip
    rows = [line.split() for line in service_lines(shown)]
    assert ["at", "the", "gate", *"revision 2, 0 of 1 ready, 2 failed: No memory.".split()] in rows
    assert ["p_1", "ready", "1", "run:r_1"] in rows
    assert ["p_2", "failed", "2", "run:r_2", "No", "memory."] in rows
    assert ["2", "starting", "model:reader@v1", "2026-01-02"] in rows
    assert ["1", "ready", "model:reader@v1", "2026-01-01"] in rows
    assert not [line for line in rows if line[:1] == ["reason"]]


def test_documents_cannot_steer_the_terminal():
    assert clean("a\x1b]0;title\x07b\x9bc\rd\x1b[2Je") == "a]0;titlebcd[2Je"
    assert clean("\x1b[31mred\x1b[0m\tok") == "\x1b[31mred\x1b[0m\tok"


def test_progress_in_a_pipe_is_a_line_now_and_then():
    err = io.StringIO()
    clock = SteppingClock()
    screen = Screen(out=io.StringIO(), err=err, clock=clock)
    with screen.progress("Indexing") as progress:
        for done in range(100):
            clock.seconds += 0.1
            progress.update(done, 100, "documents")
    assert err.getvalue().splitlines() == ["Indexing: 50% 50/100 documents"]


class SteppingClock(SystemClock):
    seconds = 0.0

    def monotonic(self):
        return self.seconds


def test_lineage_drawings_hold_every_node_and_edge():
    text = "\n".join(text_lines(GRAPH))
    assert text.splitlines()[0].startswith("answer:a_1")
    assert text.count("source:papers@v1") == 2
    assert "(above)" in text
    dot = "\n".join(dot_lines(GRAPH))
    assert dot.count("->") == 4
    assert '"answer:a_1\\npublic"' in dot
    root = ElementTree.fromstring("\n".join(svg_lines(GRAPH)))
    name = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{name}g")) == 4
    assert len(root.findall(f"{name}path")) == 4
    columns = [float(box.find(f"{name}rect").get("x")) for box in root.findall(f"{name}g")]
    assert columns == sorted(columns)
    assert len(set(columns)) == 4


def test_figures_of_a_desk_test():
    def result(language, rank, *, answerable, refused, ms=2.0):
        return Result(language=language, rank=rank, answerable=answerable, refused=refused, ms=ms)

    results = [
        result("km", 1, answerable=True, refused=False, ms=1.0),
        result("km", 4, answerable=True, refused=True, ms=3.0),
        result("en", None, answerable=True, refused=False),
        result("en", None, answerable=False, refused=True),
        result("en", None, answerable=False, refused=False),
    ]
    document = figures(results)
    assert document["questions"] == 5
    assert (document["hit_at_1"], document["hit_at_5"]) == (0.3333, 0.6667)
    assert (document["refused_right"], document["refused_wrong"]) == (0.5, 0.3333)
    assert document["p50_ms"] == 2.0
    assert document["by_language"]["km"]["refused_right"] is None
    assert document["by_language"]["km"]["hit_at_5"] == 1.0


def test_a_bad_question_is_named_by_its_line(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "q", "language": "km", "answer_in": null}\n\n{"question": "q"}\n', encoding="utf-8")
    with pytest.raises(Refused, match="Line 3 of"):
        read_questions(path)
    path.write_text("", encoding="utf-8")
    with pytest.raises(Refused, match="no questions"):
        read_questions(path)


def test_the_tiny_sample_shows_every_trouble():
    with material("tiny", None) as given:
        files = {path.relative_to(given.documents).as_posix() for path in given.documents.rglob("*") if path.is_file()}
        assert files == {*TINY_DOCUMENTS, "documents.csv"}
        rows = (given.documents / "documents.csv").read_text(encoding="utf-8").splitlines()
        assert len(rows) == len(TINY_DOCUMENTS) + 1
        letters = given.letters.read_text(encoding="utf-8").splitlines()
        assert 100 <= len(letters) - 1 <= 130
        assert [asked.expect for asked in given.questions] == ["answered", "expired", "out-of-scope", "hidden"]
        assert given.public


def test_an_own_folder_is_public_only_where_every_file_says_so(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    for text, public in (
        ("a.txt,public\nb.txt,public\n", True),
        ("a.txt,public\n", False),
        ("a.txt,public\nb.txt,\n", False),
    ):
        (tmp_path / "documents.csv").write_text("path,label\n" + text)
        with material("normal", tmp_path) as given:
            assert given.public is public
    with pytest.raises(Refused, match="no folder"), material("normal", tmp_path / "none"):
        pass


def test_the_demo_refuses_what_it_does_not_do():
    code, _, err = run("demo", "--train", BARAY_SERVER="http://127.0.0.1:9")
    assert code == 1
    assert "demo_is_local" in err


def test_a_list_starts_within_150_ms():
    """Best of five, in processor time: no server takes part, and other work on the machine does not count."""
    command = [sys.executable, "-m", "baray", "run", "list", "--server", "nowhere"]
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    times = []
    for _ in range(5):
        process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 1
        times.append(usage.ru_utime + usage.ru_stime)
    assert min(times) < 0.15, times


def test_a_command_loads_only_what_it_needs():
    code = "import sys; import baray.client; import baray.client.commands.run; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"httpx", "rich", "typer", "fastapi", "sqlalchemy", "sqlite3", "asyncio", "cryptography", "baray.store"}
    assert loaded & heavy == set()
    assert not any(name.startswith(("baray.app", "baray.client.demo")) for name in loaded)

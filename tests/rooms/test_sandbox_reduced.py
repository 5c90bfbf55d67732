"""Reduced isolation: what it holds, what it does not, and that it is given only where it may be."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import baray
from baray import access
from baray.access import INTERNAL, PUBLIC, parse_label
from baray.core import Refused
from baray.runs import sandbox
from baray.runs.sandbox.corpus.main import PROBES
from baray.runs.sandbox.launch import LEAST_LANDLOCK, landlock_abi
from baray.runs.sandbox.plan import Bind
from baray.runs.sandbox.probe import Shown, traps
from baray.runs.sandbox.reduced import or_reduced, reduced_probe_plan, run_reduced_probes
from baray.runs.sandbox.survey import survey
from runs_home import open_home, wait_until

RESTRICTED = parse_label("restricted")
# What the whole sandbox holds and this one does not: names of what stands on the machine, and the machine's own.
NOT_COVERED = {
    "host_name",
    "list_homes",
    "temporary_files",
    "sockets_of_the_system",
    "session_of_others",
    "capability_bound",
    "more_processes",  # counted with the others of the same user
}


@pytest.fixture(scope="module", autouse=True)
def landlock():
    if landlock_abi() < LEAST_LANDLOCK:
        pytest.skip(f"Landlock {LEAST_LANDLOCK} is missing")


def reached(change=lambda plan: plan):
    """What gets out of reduced isolation, by the corpus of the whole sandbox."""

    def reduce(plan):
        folder = Path(plan["log"]).parent
        facts = json.loads(plan["argv"][-1]) | {"input": str(folder / "input.txt"), "job": str(folder / "work")}
        source = Path(baray.__file__).parent.parent
        start = next(word for word in plan["argv"] if word.startswith("import sys")).replace("/in/lib", str(source))
        for part in ("work", "out"):
            (folder / part).rmdir()
        binds = (Bind(under=source, path=".", to=""), Bind(under=folder, path="input.txt", to=""))
        shown = Shown(binds=binds, arguments=("-c", start, json.dumps(facts)))
        return change(reduced_probe_plan(folder, sandbox.NO_CGROUPS, 92, shown))

    probes, _ = survey("/nonexistent", sandbox.NO_CGROUPS, slot=92, change=reduce)
    assert len(probes) == len(PROBES)
    # Not even a look was allowed, or a socket.
    refused = tuple(f"it broke: [Errno {number}]" for number in (errno.EPERM, errno.EACCES, errno.EAFNOSUPPORT))
    return {one.name: one.reached for one in probes if not one.contained and not one.reached.startswith(refused)}


def test_the_twelve_are_contained():
    probes, _ = run_reduced_probes(sandbox.NO_CGROUPS, slot=92)
    assert [probe for probe in probes if not probe.contained] == []
    assert len(probes) == 12


def test_what_is_covered_and_what_is_not():
    assert {name: why for name, why in reached().items() if name not in NOT_COVERED} == {}


@pytest.mark.parametrize(
    ("layer", "change", "noticed"),
    [
        (
            "Landlock over files",
            lambda p: p | {"reduced": p["reduced"] | {"paths": [["/", True]]}},
            {"read_baray_db", "read_ledger_key", "passwords", "dots_out", "other_devices"},
        ),
        (
            "the filter",
            lambda p: p | {"reduced": p["reduced"] | {"filter": "06000000" + "0000ff7f"}},
            {"udp_to_control", "call_keyctl", "host_segment"},
        ),
        ("limits", lambda p: p | {"reduced": p["reduced"] | {"limits": {}}}, {"more_files"}),
    ],
)
def test_a_layer_taken_away_lets_its_probes_out(layer, change, noticed):
    assert noticed - reached(change).keys() == set(), layer


def test_signals_to_others_are_held(tmp_path):
    """By Landlock, for the uid is the same."""
    out = reached(lambda p: p | {"reduced": p["reduced"] | {"filter": "06000000" + "0000ff7f", "paths": [["/", True]]}})
    assert "victim_signal" not in out
    assert "abstract_stream" not in out


def test_it_is_offered_only_where_it_is_allowed():
    none = sandbox.probe(folders="/nonexistent")
    refused = or_reduced(none, sandbox.NO_CGROUPS, slot=92, allow=False)
    assert (refused.tier, refused.missing) == ("none", "bubblewrap is not installed")
    assert "BARAY_SANDBOX_ALLOW_REDUCED=1" in refused.fix
    allowed = or_reduced(none, sandbox.NO_CGROUPS, slot=92, allow=True)
    assert (allowed.tier, allowed.missing) == ("B", "bubblewrap is not installed")


def test_the_whole_sandbox_goes_first(need):
    need("bwrap")
    assert or_reduced(sandbox.probe(), sandbox.NO_CGROUPS, slot=92, allow=True).tier == "A"


def test_it_is_never_given_to_root(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with traps() as (folder, _):
        plan = reduced_probe_plan(folder, sandbox.NO_CGROUPS, 92, Shown(binds=(), arguments=("-c", "print('ran')")))
        (folder / "supervisor.json").write_text(json.dumps(plan | {"uid": 0, "gid": 0}))
        subprocess.run(
            [sys.executable, "-I", "-S", str(sandbox.probe.__globals__["SUPERVISOR"]), str(folder)], check=True
        )
        state = json.loads((folder / "state.json").read_text())
        assert state["reason"] == "root_refused"
        assert "ran" not in (folder / "log.txt").read_text()


@pytest.fixture
def home():
    """A home that an ordinary user owns, with a worker that finds no bwrap."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        with open_home(Path(name) / "home") as home:
            if os.geteuid() == 0:
                home.path.chmod(0o755)
                for place in (home.path, *(home.path / part for part in ("runs", "run", "blobs"))):
                    os.chown(place, 61092, 61092)
            home.serve()
            program = "import sys, functools; from pathlib import Path; from baray.runs import worker;"
            program += "worker.isolation = functools.partial(worker.isolation, folders='/nonexistent');"
            program += "worker.main(Path(sys.argv[1]), Path(sys.argv[2]), 2, allow_reduced=True)"
            argv = [sys.executable, "-c", program, str(home.path), str(home.socket)]
            with (home.path / "worker.log").open("ab") as log:
                home.workers.append(subprocess.Popen(argv, start_new_session=True, stdout=log, stderr=log))
            wait_for_worker(home)
            yield home


def give(home):
    """What the test made as root is the home's owner's."""
    if os.geteuid() == 0:
        for place in (home.path / "blobs").rglob("*"):
            os.chown(place, 61092, 61092)


def wait_for_worker(home):
    wait_until(
        lambda: home.site.store.read(lambda tx: tx.hot("SELECT value FROM meta WHERE key = 'worker:local'").scalar()),
        "",
    )


def test_a_command_runs_and_the_ledger_says_how(home):
    source = home.add_source("letters", {"a.txt": b"hello"})
    give(home)
    script = 'cat "$BARAY_IN/letters/a.txt"; mkdir "$BARAY_OUT/counts"; echo 1 > "$BARAY_OUT/counts/n.txt"; cat ' + str(
        home.path / "baray.db"
    )
    run = home.submit(command=("sh", "-c", script + " || exit 0"), inputs={"letters": source}, outputs=("counts",))
    ended = home.wait(run.id)
    assert ended.state == "succeeded", (ended.error, home.log(run.id))
    assert home.log(run.id).startswith("hello")
    assert "Permission denied" in home.log(run.id)
    assert [output["ref"] for output in ended.outputs] == ["dataset:counts@v1"]
    assert home.entries().count(("sandbox.reduced", run.id)) == 1
    assert "tier B" in home.why(run.id)["attempts"][0]["sandbox"]


def metrics(home, run):
    path = home.path / "runs" / run.id / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(one["step"], one["name"], one["value"]) for one in map(json.loads, lines)]


def test_metrics_come_by_a_file_for_it_has_no_sockets(home):
    lines = ['{"step":1,"name":"loss","value":0.5}', "no number", '{"step":2,"name":"loss","value":0.25}', '{"step":3']
    script = "".join(f"echo '{line}' >> \"$BARAY_METRICS\";" for line in lines) + 'test -z "$BARAY_API_SOCKET"'
    run = home.submit(command=("sh", "-c", script))
    assert home.wait(run.id).state == "succeeded", (home.get(run.id).error, home.log(run.id))
    assert metrics(home, run) == [(1, "loss", 0.5), (2, "loss", 0.25)]
    assert "2 lines of metrics.jsonl were left out" in home.log(run.id)


@pytest.mark.parametrize(
    "script", ['ln -s /etc/passwd "$BARAY_METRICS"', 'mkfifo "$BARAY_METRICS"', 'mkdir "$BARAY_METRICS"']
)
def test_a_file_of_metrics_that_is_none_is_left_alone(home, script):
    run = home.submit(command=("sh", "-c", script + "; exit 0"))
    assert home.wait(run.id).state == "succeeded", (home.get(run.id).error, home.log(run.id))
    assert metrics(home, run) == []


def test_what_is_above_it_is_refused(home):
    with pytest.raises(Refused, match="restricted") as caught:
        home.submit(command=("true",), label=RESTRICTED)
    assert (caught.value.code, caught.value.status) == ("reduced_sandbox", 503)
    assert "bubblewrap" in caught.value.fix
    with pytest.raises(Refused, match="no way to give out egress"):
        home.submit(command=("true",), label=PUBLIC, egress=("example.org:443",))


def test_a_second_project_ends_it(home):
    request = {"name": "second", "title": "", "label": INTERNAL, "by": home.actor}
    home.site.store.write(lambda tx: access.create_project(tx, home.site, **request))
    with pytest.raises(Refused, match="more than one project"):
        home.submit(command=("true",))

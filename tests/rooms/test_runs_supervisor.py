"""The supervisor alone, started as a worker starts it, on plain child processes."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from baray.runs import sandbox, supervisor
from runs_home import alive_with, wait_until


class Attempt:
    """An ATTEMPT_DIR with a plan of its own."""

    def __init__(self, folder, script, number=1, **limits):
        self.folder = folder / "attempt-1"
        self.folder.mkdir()
        for name in ("work", "out"):
            (self.folder / name).mkdir()
        self.log = folder / "log.txt"
        base = sandbox.supervisor_plan(
            attempt_dir=self.folder,
            log=self.log,
            number=number,
            limits=sandbox.Limits(**{"grace_seconds": 0.4} | limits),
            owner=sandbox.Owner(),
            cgroups=[],
        )
        plan = sandbox.trusted_plan(base, [sys.executable, "-S", "-c", script], {"PATH": "/usr/bin:/bin"})
        (self.folder / "supervisor.json").write_text(json.dumps(plan))

    def start(self):
        argv = [sys.executable, "-I", "-S", supervisor.__file__, str(self.folder)]
        return subprocess.Popen(argv, start_new_session=True)

    def run(self):
        assert self.start().wait(timeout=20) == 0
        return self.state()

    def state(self):
        path = self.folder / "state.json"
        return json.loads(path.read_text()) if path.exists() else {}


@pytest.fixture
def attempt(tmp_path):
    return lambda script, **limits: Attempt(tmp_path, script, **limits)


@pytest.mark.parametrize(
    ("script", "reason", "code"),
    [
        ("print('hi')", "exited", 0),
        ("import sys; sys.exit(7)", "exited", 7),
        ("import os; os.kill(os.getpid(), 9)", "signalled", -9),
    ],
)
def test_how_a_child_ended_is_told(attempt, script, reason, code):
    state = attempt(script).run()
    assert (state["phase"], state["reason"], state["exit_code"], state["message"]) == ("ended", reason, code, "")


def test_the_form_of_the_state(attempt):
    """Adoption by another version of the worker rests on these words."""
    state = attempt("").run()
    assert sorted(state) == [
        "boot",
        "child",
        "child_start",
        "cpu_seconds",
        "exit_code",
        "message",
        "peak_bytes",
        "phase",
        "pid",
        "reason",
        "seconds",
        "start",
        "v",
    ]
    assert state["v"] == 1
    assert state["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_the_log_is_appended_marked_and_limited(attempt):
    one = attempt("import sys; print('x' * 50); sys.stderr.write('err')", number=2, log_bytes=52)
    one.log.write_text("before\n")
    one.run()
    told = one.log.read_text()
    assert told.startswith("before\n[baray] attempt 2\n")
    assert told.endswith("[baray] the log of this attempt reached its limit; the rest is not kept\n")
    assert len(told) < 200


def test_what_cannot_be_started_says_why(attempt):
    one = attempt("")
    plan = json.loads((one.folder / "supervisor.json").read_text())
    (one.folder / "supervisor.json").write_text(json.dumps(plan | {"argv": ["/nonexistent"]}))
    state = one.run()
    assert (state["reason"], state["exit_code"]) == ("start_failed", 126)
    assert "No such file" in state["message"]
    assert "start_failed" in one.log.read_text()


def test_the_whole_tree_ends_with_its_first_process(attempt):
    mark = f"mark-{os.getpid()}-tree"
    script = "import os, subprocess, sys\n"
    script += f"subprocess.Popen(['/bin/sh', '-c', 'sleep 600 # {mark}'], start_new_session=True)\n"
    script += "if os.fork() == 0:\n  os.setsid()\n  os.execv('/bin/sh', ['sh', '-c', 'sleep 600 # " + mark + "'])"
    assert attempt(script).run()["reason"] == "exited"
    assert alive_with(mark) == []


def test_time_ends_it_after_a_grace(attempt):
    polite = "import signal, sys, time\nsignal.signal(15, lambda *_: (print('bye', flush=True), sys.exit(0)))\n"
    # Long enough for Python to start and to hear of SIGTERM on a busy machine too.
    one = attempt(polite + "time.sleep(600)", time_seconds=1.5, grace_seconds=10)
    assert one.run()["reason"] == "time"
    assert "bye\n" in one.log.read_text()


def test_who_ignores_sigterm_is_killed(attempt):
    stubborn = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('on', flush=True)\ntime.sleep(600)"
    one = attempt(stubborn)
    process = one.start()
    wait_until(lambda: one.log.exists() and "on" in one.log.read_text(), "the child ignores SIGTERM")
    (one.folder / "cancel").touch()
    assert process.wait(timeout=20) == 0
    assert (one.state()["reason"], one.state()["exit_code"]) == ("cancelled", -9)


def test_a_signal_to_the_supervisor_is_no_cancel(attempt):
    one = attempt("import time; time.sleep(600)")
    process = one.start()
    wait_until(lambda: one.state().get("phase") == "running", "it runs")
    process.terminate()
    assert process.wait(timeout=20) == 0
    assert one.state()["reason"] == "terminated"


def test_memory_is_watched_where_there_is_no_cgroup(attempt):
    eater = "import os, time\nfor _ in range(3):\n  if os.fork() == 0: data = b'x' * 2**25; time.sleep(600)\ntime.sleep(600)"
    one = attempt(eater, memory_bytes=2**26)
    assert one.run()["reason"] == "memory"
    assert "the memory limit of 67108864 bytes was reached" in one.log.read_text()


def test_disk_is_watched(attempt, tmp_path):
    script = f"import time\nopen({str(tmp_path / 'attempt-1' / 'work' / 'big')!r}, 'wb').write(b'x' * 2**23)\ntime.sleep(600)"
    one = attempt(script, disk_bytes=2**22)
    assert one.run()["reason"] == "disk"


def test_the_child_dies_with_its_supervisor(attempt):
    one = attempt("import time; time.sleep(600)")
    process = one.start()
    state = wait_until(one.state, "it runs")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: supervisor.process_start(state["child"]) == 0, "the child ends by its death signal")


def test_an_attempt_given_up_never_starts(attempt):
    one = attempt("print('started')")
    (one.folder / "void").touch()
    assert one.start().wait(timeout=20) == 3
    assert not one.log.exists()


def test_an_attempt_is_supervised_once(attempt):
    one = attempt("print('started')")
    with (one.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert one.start().wait(timeout=20) == 3
    assert one.run()["reason"] == "exited"
    assert one.start().wait(timeout=20) == 3
    assert one.log.read_text() == "started\n"

"""Runs on real workers, supervisors and sandboxes: what they do, and what is left when any of them is killed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest

from baray.access import INTERNAL
from baray.runs.protocol import MAX_WAIT_SECONDS, RENEW_SECONDS
from runs_home import alive_with, open_home, wait_until

SLEEP = ("/bin/sh", "-c", "echo begun; sleep 600")


@pytest.fixture
def home(tmp_path, need):
    need("bwrap")
    with open_home(tmp_path / "home") as opened:
        opened.serve()
        yield opened


def begun(home, run_id, number=1):
    """The supervisor's state once the Attempt's child runs."""
    path = home.attempt_dir(run_id, number) / "state.json"
    wait_until(lambda: path.exists() and "begun" in home.log(run_id), f"attempt {number} of {run_id} begins")
    return json.loads(path.read_text())


def no_orphans(home, mark=""):
    """Nothing of the home's Attempts is alive, supervisors included."""
    wait_until(lambda: not alive_with(mark or str(home.path / "runs")), "every process of the attempts has ended")


def test_a_command_reads_inputs_and_its_outputs_become_a_version(home):
    home.start_worker()
    source = home.add_source("letters", {"a.txt": b"one\n", "sub/b.txt": "ខ្មែរ\n".encode()}, INTERNAL)
    script = "cat /in/letters/a.txt /in/letters/sub/b.txt; mkdir -p /out/made/x; cp -r /in/letters/* /out/made/x"
    run = home.submit(command=("/bin/sh", "-c", script), inputs={"letters": source}, outputs=("made",))
    done = home.wait(run.id)
    assert (done.state, home.log(run.id)) == ("succeeded", "one\nខ្មែរ\n")
    (made,) = done.outputs
    assert (made["ref"], made["kind"], made["label"], made["summary"]["files"]) == (
        "dataset:made@v1",
        "dataset",
        "internal",
        2,
    )
    again = home.wait(home.submit(command=("/bin/sh", "-c", script), inputs={"letters": source}, outputs=("made",)).id)
    assert again.outputs[0]["digest"] == made["digest"]
    assert sorted(path.name for path in home.attempt_dir(run.id).iterdir() if path.is_dir()) == []
    no_orphans(home)


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("exit 3", "exit_code", "exit code 3"),
        ("ln -s /etc/passwd /out/made/x", "bad_output", "a symbolic link"),
        ("true", "no_output", "wrote nothing"),
        ("mkfifo /out/made/pipe", "bad_output", "a FIFO"),
        ("truncate -s 4T /out/made/big", "exit_code", "exit code"),
    ],
)
def test_a_command_that_goes_wrong_says_how(home, script, code, said):
    home.start_worker()
    run = home.submit(command=("/bin/sh", "-c", f"mkdir -p /out/made; {script}"), outputs=("made",))
    done = home.wait(run.id)
    assert (done.state, done.error["code"]) == ("failed", code)
    assert said in done.error["message"]
    assert done.outputs == []


def test_a_trusted_handler_makes_a_version(home):
    home.start_worker()
    source = home.add_source("letters", {"a.txt": b"one"}, INTERNAL)
    run = home.submit(handler="drill_handlers:copy", name="copied", inputs={"source": source}, output_label_rule="rows")
    done = home.wait(run.id)
    assert (done.state, done.error) == ("succeeded", None), home.log(run.id)
    assert done.outputs[0]["ref"] == "dataset:copied@v1"
    assert done.progress == {"done": 1, "total": 1, "unit": "files"}
    assert home.log(run.id) == f"copied 1 files on {done.spec['today']}\n"
    (metric,) = (home.path / "runs" / run.id / "metrics.jsonl").read_text().splitlines()
    assert {"step": 0, "name": "files", "value": 1}.items() <= json.loads(metric).items()


@pytest.mark.parametrize(
    ("handler", "state", "attempts", "code"),
    [
        ("refuse", "failed", 1, "bad_letters"),
        ("crash_once", "succeeded", 2, None),
        ("lie", "failed", 1, "bad_output"),
        ("missing", "failed", 1, "handler_failed"),
    ],
)
def test_a_trusted_handlers_errors(home, handler, state, attempts, code):
    home.start_worker()
    run = home.submit(handler=f"drill_handlers:{handler}", name="x", max_attempts=attempts)
    done = home.wait(run.id)
    assert (done.state, done.attempts, (done.error or {}).get("code")) == (state, attempts, code)
    if attempts == 2:
        assert "[baray] attempt 2\n" in home.log(run.id)


def test_a_killed_supervisor_takes_its_tree_along_and_the_run_is_tried_again(home):
    home.start_worker()
    run = home.submit(command=("/bin/sh", "-c", "echo begun; test -e /out/x && exit 0; sleep 600"))
    state = begun(home, run.id)
    os.kill(state["pid"], signal.SIGKILL)
    begun(home, run.id, 2)
    wait_until(lambda: len(alive_with("sleep\0" + "600")) == 1, "the first attempt's sleep has ended")
    assert [attempt["state"] for attempt in home.why(run.id)["attempts"]] == ["lost", "running"]
    home.cancel(run.id)
    assert home.wait(run.id).state == "cancelled"
    assert [kind for kind, subject in home.entries() if subject == run.id] == [
        "run.submitted",
        "run.started",
        "run.retried",
        "run.started",
        "run.cancelled",
    ]
    no_orphans(home)


def test_a_killed_supervisor_of_a_trusted_handler_leaves_no_grandchild(home, tmp_path):
    home.start_worker()
    options = {"mark": f"mark-{os.getpid()}-a", "until": str(tmp_path / "go")}
    run = home.submit(handler="drill_handlers:hold", name="x", options=options)
    wait_until(lambda: alive_with(options["mark"]), "the grandchild runs")
    path = home.attempt_dir(run.id) / "state.json"
    (first,) = alive_with(options["mark"])
    os.kill(json.loads(path.read_text())["pid"], signal.SIGKILL)
    second = wait_until(lambda: [pid for pid in alive_with(options["mark"]) if pid != first], "the next attempt runs")
    assert first not in alive_with(options["mark"])
    (tmp_path / "go").touch()
    assert (home.wait(run.id).state, home.get(run.id).attempts) == ("succeeded", 2)
    no_orphans(home, options["mark"])
    assert second


def test_a_killed_workers_attempt_is_adopted_and_not_run_twice(home, tmp_path):
    worker = home.start_worker()
    options = {"mark": f"mark-{os.getpid()}-b", "until": str(tmp_path / "go")}
    trusted = home.submit(handler="drill_handlers:hold", name="x", options=options)
    command = home.submit(
        command=("/bin/sh", "-c", "echo begun; while ! test -e /in/go; do sleep 0.05; done; echo done")
    )
    begun(home, command.id)
    wait_until(lambda: alive_with(options["mark"]), "the handler runs")
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert alive_with(options["mark"]), "the supervisor and its tree go on"
    home.start_worker()
    (tmp_path / "go").touch()
    (home.attempt_dir(command.id) / "in" / "go").touch()
    for run in (trusted, command):
        assert (home.wait(run.id).state, home.get(run.id).attempts) == ("succeeded", 1)
    assert len(list((home.path / "runs" / trusted.id).glob("started-*"))) == 1
    assert home.log(command.id) == "begun\ndone\n"
    no_orphans(home)


def test_what_ended_while_no_worker_was_there_counts(home, tmp_path):
    worker = home.start_worker()
    run = home.submit(
        command=("/bin/sh", "-c", "echo begun; sleep 0.3; mkdir -p /out/x; echo 1 >/out/x/y"), outputs=("x",)
    )
    begun(home, run.id)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    path = home.attempt_dir(run.id) / "state.json"
    wait_until(lambda: json.loads(path.read_text())["phase"] == "ended", "the supervisor ends by itself")
    assert home.get(run.id).state == "running"
    home.start_worker()
    done = home.wait(run.id)
    assert (done.state, done.attempts, done.outputs[0]["ref"]) == ("succeeded", 1, "dataset:x@v1")


def test_worker_and_supervisor_killed_together(home):
    worker = home.start_worker()
    run = home.submit(command=SLEEP)
    state = begun(home, run.id)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    os.kill(state["pid"], signal.SIGKILL)
    home.start_worker()
    begun(home, run.id, 2)
    home.cancel(run.id)
    assert home.wait(run.id).state == "cancelled"
    no_orphans(home)


def test_results_wait_while_control_is_down(home, tmp_path):
    home.start_worker()
    run = home.submit(command=("/bin/sh", "-c", "echo begun; while ! test -e /in/go; do sleep 0.02; done"))
    begun(home, run.id)
    home.silence()
    (home.attempt_dir(run.id) / "in" / "go").touch()
    path = home.attempt_dir(run.id) / "state.json"
    wait_until(lambda: json.loads(path.read_text())["phase"] == "ended", "it ends without control")
    assert home.get(run.id).state == "running"
    home.serve()
    assert (home.wait(run.id).state, home.get(run.id).attempts) == ("succeeded", 1)


def test_a_worker_told_to_stop_leaves_its_attempts_running(home):
    worker = home.start_worker()
    run = home.submit(command=("/bin/sh", "-c", "echo begun; while ! test -e /in/go; do sleep 0.02; done"))
    state = begun(home, run.id)
    began = time.monotonic()
    worker.terminate()
    assert worker.wait(timeout=20) == 0
    assert time.monotonic() - began < MAX_WAIT_SECONDS / 2, "neither its long poll nor its Attempts held it"
    os.kill(state["pid"], 0)
    home.start_worker()
    (home.attempt_dir(run.id) / "in" / "go").touch()
    assert (home.wait(run.id).state, home.get(run.id).attempts) == ("succeeded", 1)


def test_cancel_is_heard_at_once(home):
    home.start_worker()
    run = home.submit(command=SLEEP)
    begun(home, run.id)
    began = time.monotonic()
    home.cancel(run.id)
    done = home.wait(run.id)
    assert (done.state, done.error["code"]) == ("cancelled", "cancelled")
    assert time.monotonic() - began < RENEW_SECONDS * 0.8, "it was told, and did not hear of it when it renewed"
    no_orphans(home)


def test_limits_of_time_and_memory(home):
    home.start_worker()
    slow = home.submit(command=SLEEP, resources={"time_seconds": 0.3})
    eater = "import time; data = []\nwhile True: data.append(bytearray(2**22))"
    fat = home.submit(command=("/usr/bin/python3", "-c", eater), resources={"memory_bytes": 2**26})
    assert home.wait(slow.id).error["code"] == "time_limit"
    assert home.wait(fat.id).error["code"] == "memory_limit"
    assert "the memory limit of 67108864 bytes was reached" in home.log(fat.id)
    no_orphans(home)


def test_a_fork_bomb_is_contained(home):
    home.start_worker()
    bomb = "import os, time\nfor _ in range(5000):\n  try: pid = os.fork()\n  except OSError: print('held'); break\n"
    bomb += "  if pid == 0: time.sleep(600)\n"
    run = home.submit(command=("/usr/bin/python3", "-c", bomb), resources={"time_seconds": 20.0})
    done = home.wait(run.id)
    assert (done.state, home.log(run.id)) == ("succeeded", "held\n")
    no_orphans(home)


def test_two_workers_share_the_work_and_nothing_runs_twice(home):
    source = home.add_source("s", {"a": b"a"})
    runs = [home.submit(command=("/bin/sh", "-c", f"echo {n}"), inputs={"s": source}) for n in range(12)]
    home.start_worker(name="one", slots=2)
    home.start_worker(name="two", slots=2)
    for number, run in enumerate(runs):
        assert (home.wait(run.id).state, home.get(run.id).attempts, home.log(run.id)) == ("succeeded", 1, f"{number}\n")
    read = home.site.store.read(lambda tx: list(tx.hot("SELECT DISTINCT worker FROM attempt")))
    assert {row.worker for row in read} == {"one", "two"}


def test_work_is_taken_while_submits_go_on(home):
    """Submits from several threads while the worker leases: every one is accepted, and every one ends once."""
    home.start_worker(slots=4)
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.extend(home.submit(command=("/bin/true",)).id for _ in range(5)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20
    assert {(home.wait(run_id).state, home.get(run_id).attempts) for run_id in made} == {("succeeded", 1)}

"""A training that is killed anywhere, or finds its disk full, ends with the bytes of one that was left alone."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from lm_tokens import documents, kill, lm_context, start_attempt, weights_of, write_tokens

from baray.core import Refused, digest_bytes
from baray.train.config import Lm, read_options
from baray.train.lm.checkpoint import Keeper, write_tensors
from baray.train.lm.handler import train
from baray.train.lm.plan import make_plan, state_bytes

LIMIT_SECONDS = 120.0
KILLS = 3
STEPS = {"steps": "120", "checkpoint_every": "3"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, source):
    """The folder of a Run that nobody disturbed."""
    run = tmp_path_factory.mktemp("undisturbed")
    train(lm_context(run, source, **STEPS))
    return run


def wait_for_lines(process: subprocess.Popen[str], word: str) -> list[str]:
    """What a process printed up to a line with `word`."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return lines
    raise AssertionError(lines)


def kill_at_random(run: Path, source, times: int, chance: random.Random, *, longest: float, **options: str) -> int:
    """Start Attempts and kill each at a random instant after its first step; how many resumed."""
    resumed = 0
    for _ in range(times):
        process = start_attempt(run, source, **options)
        lines = wait_for_lines(process, "step ")
        resumed += any(line.startswith("resumed at step") for line in lines)
        time.sleep(chance.uniform(0, longest))  # the instant is the point
        kill(process)
    return resumed


def finish(run: Path, source, **options: str) -> str:
    """The log of an Attempt that is left alone."""
    process = start_attempt(run, source, **options)
    output, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, output
    return output


def test_kills_at_random_instants_change_no_bit(undisturbed, source, tmp_path):
    seed = random.SystemRandom().randrange(1 << 32)
    kill_at_random(tmp_path, source, KILLS, random.Random(seed), longest=0.4, **STEPS)
    assert "resumed at step" in finish(tmp_path, source, **STEPS), seed
    assert weights_of(tmp_path) == weights_of(undisturbed), seed
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
        if json.loads(line)["name"] == "loss"
    ]
    assert steps == list(range(1, 121)), seed


@pytest.mark.soak
def test_train_kills_change_no_bit(undisturbed, source, tmp_path):
    """`scripts/soak -k train_kills`: each training is killed until it was BARAY_SOAK_COUNT times in all."""
    left = int(os.environ.get("BARAY_SOAK_COUNT", "50"))
    chance = random.Random(left)
    number = 0
    while left > 0:
        run = tmp_path / f"run-{number}"
        times = min(left, chance.randint(1, 6))
        kill_at_random(run, source, times, chance, longest=1.0, **STEPS)
        finish(run, source, **STEPS)
        assert weights_of(run) == weights_of(undisturbed)
        shutil.rmtree(run)
        left, number = left - times, number + 1


@pytest.mark.slow
def test_a_compiled_training_that_was_killed_ends_with_the_same_bytes(source, tmp_path, need):
    need("g++")
    options = {"steps": "30", "checkpoint_every": "3", "compile": "yes", "precision": "bf16"}
    before = ("env", f"TORCHINDUCTOR_CACHE_DIR={tmp_path / 'compiled'}")
    whole = start_attempt(tmp_path / "whole", source, *before, **options)
    output, _ = whole.communicate(timeout=600)
    assert "torch.compile on" in output, output
    cut = start_attempt(tmp_path / "cut", source, *before, **options)
    wait_for_lines(cut, "step 1 of")
    kill(cut)
    again = start_attempt(tmp_path / "cut", source, *before, **options)
    output, _ = again.communicate(timeout=600)
    assert again.returncode == 0, output
    assert weights_of(tmp_path / "cut") == weights_of(tmp_path / "whole")


def test_sigterm_keeps_what_was_done(undisturbed, source, tmp_path):
    options = STEPS | {"checkpoint_every": "1h"}
    process = start_attempt(tmp_path, source, **options)
    wait_for_lines(process, "step ")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped after step" in output
    assert "resumed at step" in finish(tmp_path, source, **options)
    assert weights_of(tmp_path) == weights_of(undisturbed)


@pytest.mark.parametrize("name", ["digest", "state.json", "state.safetensors"])
def test_whatever_byte_of_a_checkpoint_is_damaged_the_one_before_stands(tmp_path, name):
    told = []
    keeper = Keeper(folder=tmp_path / "checkpoints", tell=told.append)
    for step in (1, 2):
        keeper.keep(step, {"weight": torch.full((4,), float(step))}, {"seed": 1})
    keeper.wait()
    path = tmp_path / "checkpoints" / "step-00000002" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x80
    path.write_bytes(data)
    kept = keeper.newest()
    assert kept is not None
    assert kept.step == 1
    assert told == ["The Checkpoint step-00000002 is damaged and is passed over."]


def test_a_damaged_checkpoint_is_passed_over(undisturbed, source, tmp_path):
    shutil.copytree(undisturbed / "checkpoints", tmp_path / "checkpoints")
    earlier, newest = sorted((tmp_path / "checkpoints").iterdir())
    data = bytearray((newest / "state.safetensors").read_bytes())
    data[-100] ^= 1
    (newest / "state.safetensors").write_bytes(data)
    lines: list[str] = []
    train(lm_context(tmp_path, source, lines=lines, **STEPS))
    assert lines[:2] == [
        f"The Checkpoint {newest.name} is damaged and is passed over.",
        f"resumed at step {int(earlier.name[5:])}",
    ]
    assert weights_of(tmp_path) == weights_of(undisturbed)


def test_another_machine_is_told(undisturbed, source, tmp_path):
    shutil.copytree(undisturbed / "checkpoints", tmp_path / "checkpoints")
    *_, newest = sorted((tmp_path / "checkpoints").iterdir())
    facts = json.loads((newest / "state.json").read_bytes())
    facts["made_with"]["torch"] = "1.0"
    text = json.dumps(facts).encode()
    (newest / "state.json").write_bytes(text)
    (newest / "digest").write_text(digest_bytes(text) + "\n")
    lines: list[str] = []
    (output,) = train(lm_context(tmp_path, source, lines=lines, **STEPS))
    assert any("NOT exact from here on: the Checkpoint was made with torch 1.0, now" in line for line in lines)
    assert output.summary["exact"] is False


def test_a_checkpoint_of_older_arithmetic_is_told(undisturbed, source, tmp_path):
    """What was kept before there was a number for it counts as the first."""
    shutil.copytree(undisturbed / "checkpoints", tmp_path / "checkpoints")
    *_, newest = sorted((tmp_path / "checkpoints").iterdir())
    facts = json.loads((newest / "state.json").read_bytes())
    assert facts["made_with"].pop("arithmetic") == 2
    text = json.dumps(facts).encode()
    (newest / "state.json").write_bytes(text)
    (newest / "digest").write_text(digest_bytes(text) + "\n")
    lines: list[str] = []
    (output,) = train(lm_context(tmp_path, source, lines=lines, **STEPS))
    assert "NOT exact from here on: the Checkpoint was made with arithmetic 1, now 2." in lines
    assert output.summary["exact"] is False


def test_a_full_disk_keeps_the_earlier_checkpoint(undisturbed, source, tmp_path, need, missing):
    """On a real file system of 1.5 MB: one Checkpoint fits beside what is being written of the next, and no second."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    program = 'mount -t tmpfs -o size=1500k none "$0" && exec "$@"'
    before = (need("unshare"), "--user", "--map-root-user", "--mount", "sh", "-c", program, str(folder))
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        missing("a mount namespace")
    process = start_attempt(tmp_path, source, *before, **STEPS)
    output, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, output
    assert "could not be written: No space left on device; the one of step" in output
    assert weights_of(tmp_path) == weights_of(undisturbed)


@pytest.mark.parametrize("sharding", ["none", "full"])
@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_two_processes_give_the_curve_of_one(source, tmp_path, killed, sharding):
    """Sums in another order: losses agree within 2e-4 over 24 steps in fp32, also in shares, also after a resume."""
    options = STEPS | {"processes": "2", "sharding": sharding, "steps": "24"}
    train(lm_context(tmp_path / "one", source, **STEPS | {"steps": "24"}))
    if killed:
        process = start_attempt(tmp_path / "two", source, **options)
        wait_for_lines(process, "step 1 of")
        kill(process)
    assert "done" in finish(tmp_path / "two", source, **options)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 24
    assert max(abs(a - b) for a, b in zip(one, two, strict=True)) < 2e-4
    if killed:
        finish(tmp_path / "calm", source, **options)
        assert weights_of(tmp_path / "two") == weights_of(tmp_path / "calm")


_ENDS = """
import sys
from pathlib import Path
from baray.train.lm import ranks
ranks.main(Path(sys.argv[1]))
print(*sorted(task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()))
"""


def test_no_thread_of_the_group_is_left_when_a_process_ends(undisturbed, source, tmp_path):
    """One that lets go of tensors while the interpreter ends aborts the process."""
    shutil.copytree(undisturbed / "checkpoints", tmp_path / "checkpoints")
    context = lm_context(tmp_path, source, **STEPS)
    told = {"run_id": context.run_id, "spec": dict(context.spec), "run_dir": str(tmp_path), "work": str(context.work)}
    told |= {"cpus": 1, "memory_bytes": context.memory_bytes}
    told |= {"files": {file.path: str(file.blob) for file in source.files}}
    (tmp_path / "processes.json").write_text(json.dumps(told))
    group = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    argv = [sys.executable, "-c", _ENDS, str(tmp_path / "processes.json")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=os.environ | group)
    assert done.returncode == 0, done.stderr
    assert "python" in done.stdout
    assert "gloo" not in done.stdout


@pytest.mark.slow
def test_a_checkpoint_of_shares_is_that_of_a_whole_network(source, tmp_path):
    """Three processes share 32 rows unevenly; a Checkpoint has the names and shapes of one process's, its numbers nearly."""
    options = STEPS | {"batch_tokens": "288", "steps": "12"}
    train(lm_context(tmp_path / "one", source, **options))
    finish(tmp_path / "three", source, **options | {"processes": "3", "sharding": "full"})
    whole, shared = (
        safetensors.torch.load_file(tmp_path / run / "checkpoints" / "step-00000012" / "state.safetensors")
        for run in ("one", "three")
    )
    assert {name: tensor.shape for name, tensor in whole.items()} == {n: t.shape for n, t in shared.items()}
    for name, tensor in whole.items():
        torch.testing.assert_close(shared[name], tensor, atol=2e-4, rtol=2e-3, msg=name)


def test_shares_need_processes_to_hold_them():
    with pytest.raises(Refused, match="there is one"):
        read_options(Lm, {"sharding": "full"})
    whole, shared = (
        make_plan(
            read_options(Lm, {"params": "1b", "processes": "8", "steps": "9", "batch_tokens": "16384"} | more),
            vocab=8192,
            memory_bytes=400 * 2**30,
        )
        for more in ({}, {"sharding": "full"})
    )
    assert (shared.micro_rows, shared.shape) == (whole.micro_rows, whole.shape)
    assert whole.memory_bytes - shared.memory_bytes > 0.8 * state_bytes(whole.shape), (
        "activations are no state: each has its own"
    )


def test_a_budget_stays_what_the_first_attempt_measured(source, tmp_path):
    options = {"steps": "0", "budget": "4s", "checkpoint_every": "3"}
    process = start_attempt(tmp_path, source, **options)
    (planned,) = [line for line in wait_for_lines(process, "step ") if line.startswith("training: ")]
    kill(process)
    output = finish(tmp_path, source, **options)
    assert "resumed at step" in output
    assert "training: " not in output
    assert f"training: {len(losses(tmp_path)):,} steps" in planned


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_a_budget_of_several_processes_is_measured_by_all_of_them(source, tmp_path, sharding):
    options = {"steps": "0", "budget": "20s", "checkpoint_every": "3", "processes": "2", "sharding": sharding}
    output = finish(tmp_path, source, **options)
    assert json.loads((tmp_path / "attempt-1" / "work" / "measured.json").read_text()) > 0
    assert f"training: {len(losses(tmp_path)):,} steps" in output


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["value"] for line in lines if line["name"] == "loss"]


def test_the_writer_writes_what_the_safetensors_package_reads(tmp_path):
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(3, dtype=torch.bfloat16)}
    digest = write_tensors(tmp_path / "x", tensors, {"format": "pt"}, durable=True)
    assert all(torch.equal(tensors[name], found) for name, found in safetensors.torch.load_file(tmp_path / "x").items())
    # A known answer: the format is kept by people who read it elsewhere.
    assert digest == "sha256:ede83a4a43cf442cbacebd9eaaa1a96c63d8ea10613c295fe962b3975b644eaf"


def test_the_two_latest_checkpoints_are_kept_and_what_was_half_written_goes(tmp_path):
    (tmp_path / "new-00000003").mkdir()
    told: list[str] = []
    keeper = Keeper(folder=tmp_path, tell=told.append)
    for step in (1, 2, 3):
        keeper.keep(step, {"x": torch.full((4,), float(step))}, {"a": 1})
    keeper.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]
    kept = Keeper(folder=tmp_path, tell=told.append).newest()
    assert (kept.step, kept.facts["a"], kept.tensors()["x"].tolist()) == (3, 1, [3.0] * 4)
    assert told == []

"""A build of text goes on behind the files that were read: killed at any instant, and when the disk was full."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from data_papers import context_of, source_of

from baray.data.pipeline.handler import build
from baray.runs import AttemptContext

DRIVER = Path(__file__).parents[1] / "handlers" / "text_attempt.py"
SYLLABLES = [f"{first}{second}" for first in "bcdfghklmnprst" for second in "aeiou"]
MEMORY = 2_000_000_000


def write_source(folder: Path, *, megabytes: float, file_kilobytes: int) -> Path:
    """JSONL files of Documents, of which some are equal, some alike, some too short, and one line is broken."""
    folder.mkdir()
    chance, at, files = random.Random(5), 0, max(2, round(megabytes * 1000 / file_kilobytes))
    known: list[str] = []
    pool = ["".join(chance.choices(SYLLABLES, k=chance.randrange(1, 4))) for _ in range(20_000)]
    for number in range(files):
        lines, size = ["{broken"] if number == 1 else [], 0
        while size < file_kilobytes * 1000:
            at += 1
            words = " ".join(chance.choices(pool, k=250))
            text = words if at % 9 or not known else chance.choice(known) + (" again" if at % 2 else "")
            if at % 50 == 1:
                known = [*known[-200:], words]
            lines.append(json.dumps({"text": "no" if at % 31 == 0 else text}))
            size += len(lines[-1])
        (folder / f"{number:04d}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def attempt(run: Path, source: Path, *, cpus: int, shard_bytes: int, memory: int = MEMORY) -> subprocess.Popen[bytes]:
    run.mkdir(exist_ok=True)
    command = [sys.executable, str(DRIVER), *map(str, (run, source, cpus, shard_bytes, memory))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def finished(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, error = process.communicate(timeout=3600)
    assert process.returncode == 0, error.decode()
    return dict(json.loads(out))


def killed(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Kill an Attempt with all its processes after some time; False where it had ended."""
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    return False


def drill(place: Path, source: Path, *, kills: int, shard_bytes: int, seed: int) -> tuple[dict[str, Any], int]:
    """Kill Attempts until there were `kills`, on as many Runs as it takes; the last ends. Returns its result."""
    whole = attempt(place / "whole", source, cpus=1, shard_bytes=shard_bytes)
    began = time.monotonic()
    told = finished(whole)
    seconds = time.monotonic() - began
    chance, done, run, resumed = random.Random(seed), 0, 0, 0
    while done < kills:
        folder = place / f"run-{run}"
        run += 1
        while done < kills and killed(
            attempt(folder, source, cpus=chance.choice([1, 2]), shard_bytes=shard_bytes),
            chance.uniform(0.2, 1) * seconds,
        ):
            done += 1
        again = finished(attempt(folder, source, cpus=1, shard_bytes=shard_bytes))
        assert again["digest"] == told["digest"]
        resumed += (folder / "log.txt").read_text().count("were read by an earlier Attempt")
    return told, resumed


def stopping(context: AttemptContext, *, calls: int) -> AttemptContext:
    """The same Attempt, which finds the disk full after a number of Documents."""
    left = [calls]

    def now() -> float:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return 0.0

    return replace(context, now=now)


@pytest.mark.parametrize("calls", [4, 9, 23])
def test_what_was_read_is_not_read_again(tmp_path, monkeypatch, calls):
    papers = {f"{at:02d}.txt": " ".join(random.Random(at % 9).choices(SYLLABLES, k=60)).encode() for at in range(12)}
    papers["05.bin"] = bytes(range(256))
    monkeypatch.setattr("baray.data.pipeline.sieve.SHARD_BYTES", 1)
    spec = {"name": "letters", "options": {}}
    whole, _ = context_of(tmp_path / "whole", spec, {"source": source_of(tmp_path, papers)})
    (expected,) = build(whole)
    source = source_of(tmp_path / "again", papers)
    context, log = context_of(tmp_path / "again", spec, {"source": source})
    with pytest.raises(OSError, match="No space"):
        build(stopping(context, calls=calls))
    done = len(list((context.checkpoints / "text").glob("*/done.json")))
    assert done >= 1
    for file in sorted(source.files, key=lambda one: (one.digest, one.path))[:done]:
        if sum(other.digest == file.digest for other in source.files) == 1:
            file.blob.unlink()  # whoever read it again would fail
    (output,) = build(context)
    assert any(line == f"{done} of 13 files were read by an earlier Attempt." for line in log)
    assert output.digest == expected.digest
    for name in ("data", "dropped", "bands"):
        assert pl.read_parquet(context.out / "letters" / name).equals(pl.read_parquet(whole.out / "letters" / name))
    report, first = (json.loads((one.out / "letters/report.json").read_text()) for one in (context, whole))
    assert report == first


@pytest.mark.parametrize("change", ["options", "label"])
def test_shards_of_other_work_are_not_taken(tmp_path, monkeypatch, change):
    monkeypatch.setattr("baray.data.pipeline.sieve.SHARD_BYTES", 1)
    papers = {f"{at}.txt": " ".join(random.Random(at).choices(SYLLABLES, k=60)).encode() for at in range(4)}
    source = source_of(tmp_path, papers)
    context, log = context_of(tmp_path, {"name": "letters", "options": {}}, {"source": source})
    with pytest.raises(OSError, match="No space"):
        build(stopping(context, calls=6))
    if change == "options":
        context = replace(context, spec={**context.spec, "options": {"min_letters": 13}})
    else:
        files = tuple(replace(file, label="secret") for file in source.files)
        context = replace(context, inputs={"source": replace(source, files=files)})
    (output,) = build(context)
    assert not any("earlier Attempt" in line for line in log)
    assert output.labels == (("secret",) if change == "label" else ("public",))


def test_a_shard_that_was_not_finished_is_written_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("baray.data.pipeline.sieve.SHARD_BYTES", 1)
    papers = {f"{at}.txt": " ".join(random.Random(at).choices(SYLLABLES, k=60)).encode() for at in range(4)}
    context, log = context_of(tmp_path, {"name": "letters", "options": {}}, {"source": source_of(tmp_path, papers)})
    (first,) = build(context)
    second = context.checkpoints / "text" / "00001"
    (second / "done.json").write_text('{"finger')
    (second / "survivors.arrow").write_bytes(b"half")
    (again,) = build(context)
    assert "1 of 4 files were read by an earlier Attempt." in log
    assert again.digest == first.digest


def test_the_log_tells_the_pace(tmp_path):
    papers = {f"{at}.txt": " ".join(random.Random(at).choices(SYLLABLES, k=60)).encode() for at in range(6)}
    context, log = context_of(
        tmp_path, {"name": "letters", "options": {}}, {"source": source_of(tmp_path, {**papers, "b.bin": b"\0\1\2"})}
    )
    clock = iter(range(0, 10_000, 4))
    build(replace(context, now=lambda: float(next(clock))))
    told = [line for line in log if " a second, " in line]
    assert told
    assert "MB/s" in told[-1]
    assert "left" in told[-1]
    assert any("dropped: read 1" in line for line in told)
    names = {json.loads(line)["name"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()}
    assert {"documents.per_second", "megabytes.per_second"} <= names


def test_killed_at_random_instants(tmp_path):
    source = write_source(tmp_path / "source", megabytes=1.2, file_kilobytes=100)
    _, _ = drill(tmp_path, source, kills=2, shard_bytes=100_000, seed=1)


@pytest.mark.soak
def test_two_hundred_megabytes_by_one_two_and_eight_and_after_kills(tmp_path, capsys):
    """BARAY_TEXT_MEGABYTES says how much (200)."""
    megabytes = float(os.environ.get("BARAY_TEXT_MEGABYTES", "200"))
    source = write_source(tmp_path / "source", megabytes=megabytes, file_kilobytes=2000)
    shard = 16_000_000 if megabytes >= 100 else 2_000_000
    found = {
        cpus: finished(attempt(tmp_path / f"cpus-{cpus}", source, cpus=cpus, shard_bytes=shard)) for cpus in (1, 2, 8)
    }
    assert len({one["digest"] for one in found.values()}) == 1
    told, resumed = drill(tmp_path, source, kills=20, shard_bytes=shard, seed=7)
    assert told["digest"] == found[1]["digest"]
    assert resumed >= 1
    with capsys.disabled():
        print(f"\n{megabytes:.0f} MB, {told['kept']} kept, {resumed} of 20 killed Attempts went on; {found}")


@pytest.mark.soak
def test_a_full_disk_and_then_more_space(tmp_path, capsys):
    """BARAY_TEXT_MEGABYTES says how much (200). The Run's folder is a tmpfs that only root can mount."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a tmpfs")
    megabytes = float(os.environ.get("BARAY_TEXT_MEGABYTES", "200"))
    source = write_source(tmp_path / "source", megabytes=megabytes, file_kilobytes=2000)
    expected = finished(attempt(tmp_path / "whole", source, cpus=1, shard_bytes=2_000_000))
    run = tmp_path / "run"
    run.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={int(megabytes * 0.4)}m", "tmpfs", run], check=True)
    try:
        full = attempt(run, source, cpus=1, shard_bytes=2_000_000)
        _, error = full.communicate(timeout=3600)
        assert full.returncode != 0
        assert b"No space left" in error
        subprocess.run(["mount", "-o", f"remount,size={int(megabytes * 6)}m", run], check=True)
        again = finished(attempt(run, source, cpus=1, shard_bytes=2_000_000))
        told = (run / "log.txt").read_text().count("were read by an earlier Attempt")
    finally:
        subprocess.run(["umount", run], check=True)
    assert again["digest"] == expected["digest"]
    assert told == 1
    with capsys.disabled():
        print(f"\n{megabytes:.0f} MB, disk of {megabytes * 0.4:.0f} MB, then more: the same digest")


@pytest.mark.soak
def test_memory_stays_flat(tmp_path, capsys):
    """BARAY_TEXT_MEGABYTES (10000) through BARAY_TEXT_MEMORY megabytes (1000): the peak of the process's own pages."""
    megabytes = float(os.environ.get("BARAY_TEXT_MEGABYTES", "10000"))
    memory = int(float(os.environ.get("BARAY_TEXT_MEMORY", "1000")) * 1e6)
    source = write_source(tmp_path / "source", megabytes=megabytes, file_kilobytes=20_000)
    told = finished(attempt(tmp_path / "run", source, cpus=1, shard_bytes=16_000_000, memory=memory))
    with capsys.disabled():
        print(f"\n{megabytes:.0f} MB of input, {memory / 1e6:.0f} MB of memory: {told}")
    assert told["anonymous_bytes"] <= memory

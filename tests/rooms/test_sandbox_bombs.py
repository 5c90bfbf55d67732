"""What a command may use is all it gets, and the machine answers meanwhile: forks, memory, disk, files, processors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from baray.runs import sandbox, supervisor
from baray.runs.sandbox.disk import make_image, why_no_images
from baray.runs.sandbox.launch import DISK

MIB = 2**20
LIMITS = sandbox.Limits(memory_bytes=128 * MIB, processes=48, time_seconds=6.0, disk_bytes=64 * MIB, grace_seconds=0.2)

FORKS = """
import os, time
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
except BlockingIOError:
    print("stopped", len([name for name in os.listdir("/proc") if name.isdigit()]), flush=True)
"""
MEMORY = "data = []\nwhile True: data.append(b'x' * 2**22)"
MANY = """
import os, time
for _ in range(16):
    if os.fork() == 0:
        data = b'x' * (40 * 2**20)
        time.sleep(60)
time.sleep(60)
"""
DISK_FILL = """
import os
piece = b'x' * 2**20
file = open('/job/big', 'wb', buffering=0)
while True:
    file.write(piece)
"""
INODES = """
import os
try:
    for number in range(10**7):
        os.close(os.open(f'/job/{number}', os.O_CREAT))
except OSError as error:
    print('stopped', number, error.strerror, flush=True)
    raise
"""
SCRATCH = """
try:
    with open('/tmp/big', 'wb') as file:
        while True: file.write(b'x' * 2**20)
except OSError as error:
    print('stopped', error.strerror, flush=True)
"""
DEVICES = "open('/dev/kept', 'wb')"
SPIN = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"


@pytest.fixture(scope="module", autouse=True)
def bwrap(need):
    need("bwrap")
    need("prlimit")
    return sandbox.find_bwrap()


class Bomb:
    """A command that takes all it can get, under a supervisor, as a worker would start it."""

    def __init__(self, folder, script, *, limits=LIMITS, image=False, slot=95, devices=()):
        self.folder = folder / f"bomb-{slot}"
        owner = sandbox.slot_owner(slot)
        for name in ("work", "out"):
            (self.folder / name).mkdir(parents=True)
            if owner.uid is not None:
                os.chown(self.folder / name, owner.uid, owner.gid)
        cgroups = sandbox.find_cgroups()
        self.groups = sandbox.make_group(cgroups, f"bomb-{os.getpid()}-{slot}", limits)
        base = sandbox.supervisor_plan(
            attempt_dir=self.folder,
            log=self.folder / "log.txt",
            number=1,
            limits=limits,
            owner=owner,
            cgroups=self.groups,
        )
        environment, program = sandbox.environment_bind()
        writes = Path(DISK) if image else self.folder
        if image:
            make_image(self.folder / "disk.img", self.folder, limits.disk_bytes)
        binds = (*environment, sandbox.Bind(under=writes, path="work", to="/job", write=True))
        command = sandbox.Command(
            argv=(program, "-I", "-S", "-c", script),
            binds=binds,
            environment={},
            bwrap=sandbox.find_bwrap(),
            devices=devices,
            image=str(self.folder / "disk.img") if image else "",
        )
        (self.folder / "supervisor.json").write_text(json.dumps(sandbox.sandbox_plan(base, command, limits)))

    def start(self):
        self.process = subprocess.Popen([sys.executable, "-I", "-S", supervisor.__file__, str(self.folder)])
        return self

    def end(self):
        assert self.process.wait(timeout=60) == 0
        return json.loads((self.folder / "state.json").read_text())

    def log(self):
        return (self.folder / "log.txt").read_text()


@pytest.fixture
def hard_limits():
    if sandbox.find_cgroups().version == 0:
        pytest.skip("no cgroups here: limits are soft")


@pytest.fixture
def images(tmp_path):
    why = why_no_images(tmp_path)
    if why:
        pytest.skip(why)


@pytest.fixture
def memory_folder():
    """A folder that lies in memory: there every byte that is written is memory of the command for good."""
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("no folder in memory that may be written")
    folder = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="bombs-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_forks_stop_at_their_limit(tmp_path):
    bomb = Bomb(tmp_path, FORKS).start()
    assert bomb.end()["reason"] == "exited"
    assert 10 < int(bomb.log().split()[1]) <= LIMITS.processes


@pytest.mark.parametrize("script", [MEMORY, MANY], ids=["one process", "many processes"])
def test_memory_stops_at_its_limit(tmp_path, script, hard_limits):
    state = Bomb(tmp_path, script).start().end()
    assert state["reason"] in ("memory", "time")  # of many processes the kernel may leave the first one, that sleeps
    assert state["peak_bytes"] <= LIMITS.memory_bytes * 1.05


def test_memory_is_stopped_where_there_is_no_cgroup(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "find_cgroups", lambda: sandbox.NO_CGROUPS)
    assert Bomb(tmp_path, MANY).start().end()["reason"] == "memory"


def test_a_disk_of_its_own_ends_at_its_size(tmp_path, images):
    bomb = Bomb(tmp_path, DISK_FILL, image=True).start()
    state = bomb.end()
    assert (state["reason"], state["exit_code"]) == ("disk", 1)
    assert "No space left on device" in bomb.log()
    assert (bomb.folder / "disk.img").stat().st_blocks * 512 <= LIMITS.disk_bytes


def test_a_watched_disk_is_stopped_soon_after_its_limit(tmp_path):
    bomb = Bomb(tmp_path, DISK_FILL).start()
    assert bomb.end()["reason"] == "disk"
    assert (bomb.folder / "work" / "big").stat().st_blocks * 512 < 40 * LIMITS.disk_bytes


def test_what_is_written_into_memory_is_told_as_disk_though_memory_ends_it_first(memory_folder, hard_limits):
    bomb = Bomb(memory_folder, DISK_FILL).start()
    assert bomb.end()["reason"] == "disk"
    assert f"the disk limit of {LIMITS.disk_bytes} bytes was reached" in bomb.log()


def test_memory_is_told_as_memory_where_less_was_written_than_may_be(memory_folder, hard_limits):
    little = "open('/job/little', 'wb').write(b'x' * 2**20)\n"
    bomb = Bomb(memory_folder, little + MEMORY).start()
    assert bomb.end()["reason"] == "memory"
    assert "the disk limit" not in bomb.log()


def test_files_without_end_stop_with_the_disk(tmp_path, images):
    bomb = Bomb(tmp_path, INODES, image=True).start()
    assert bomb.end()["exit_code"] == 1
    assert "No space left on device" in bomb.log()
    assert int(bomb.log().split()[1]) < 10_000


def test_the_home_keeps_a_reserve(tmp_path):
    """However much a command was promised: what others filled counts too."""
    disk = os.statvfs(tmp_path)
    all_of_it = sandbox.Limits(disk_bytes=2**50, reserve_bytes=disk.f_bavail * disk.f_frsize + 2**40)
    bomb = Bomb(tmp_path, "import time; time.sleep(60)", limits=all_of_it).start()
    assert bomb.end()["reason"] == "disk"
    assert "the reserve of" in bomb.log()


def test_scratch_space_ends(tmp_path):
    bomb = Bomb(tmp_path, SCRATCH).start()
    assert bomb.end()["reason"] in ("exited", "memory")
    assert "stopped No space left on device" in bomb.log()


def test_nothing_is_kept_between_the_device_nodes(tmp_path):
    bomb = Bomb(tmp_path, DEVICES).start()
    assert bomb.end()["exit_code"] == 1
    assert "Read-only file system" in bomb.log()


def test_a_device_that_was_given_is_there_and_can_be_used(tmp_path):
    device = next((path for path in ("/dev/fuse", "/dev/kvm", "/dev/net/tun") if Path(path).is_char_device()), None)
    if device is None:
        pytest.skip("no device to give")
    look = f"import os, stat\nprint(stat.S_ISCHR(os.stat({device!r}).st_mode), len(os.listdir('/dev')))"
    given, none = Bomb(tmp_path, look, devices=(device,)).start(), Bomb(tmp_path, look, slot=94).start()
    assert (given.end()["exit_code"], none.end()["exit_code"]) == (0, 1)
    assert given.log().startswith("True")


def test_processors_are_shared_out(tmp_path, hard_limits):
    limits = sandbox.Limits(cpus=1, time_seconds=2.0, grace_seconds=0.1, processes=48)
    state = Bomb(tmp_path, SPIN, limits=limits).start().end()
    assert state["reason"] == "time"
    assert state["cpu_seconds"] <= state["seconds"] * 1.25 + 0.2


def test_many_runs_do_not_leave_loop_devices_behind(tmp_path, images):
    for turn in range(3):
        Bomb(tmp_path / str(turn), "pass", image=True).start().end()
    end = time.monotonic() + 10
    while any(str(tmp_path) in text.read_text() for text in Path("/sys/block").glob("loop*/loop/backing_file")):
        assert time.monotonic() < end, "a loop device still shows an image"
        time.sleep(0.02)

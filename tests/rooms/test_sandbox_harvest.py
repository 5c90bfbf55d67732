"""Outputs are taken as plain files or not at all: every trap is refused by its name."""

from __future__ import annotations

import os
import socket
from hashlib import sha256
from pathlib import Path

import pytest

from baray.core import Refused
from baray.runs.sandbox import find_cgroups, harvest, make_group
from baray.runs.sandbox.cgroups import Cgroups
from baray.runs.sandbox.harvest import MAX_DEPTH
from baray.runs.sandbox.plan import Command, Limits, Owner, sandbox_plan, supervisor_plan


def keep(handle):
    return "sha256:" + sha256(os.read(handle, 1 << 20)).hexdigest()


def take(folder, *, limit_bytes=10**9, owner=None):
    return harvest(folder, "out", limit_bytes=limit_bytes, owner=owner, keep=keep)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path


def test_plain_files_are_taken_by_path(folder):
    (folder / "out" / "b").mkdir()
    (folder / "out" / "b" / "ក.txt").write_bytes(b"two")
    (folder / "out" / "a.txt").write_bytes(b"one")
    (folder / "out" / "empty").mkdir()
    taken = take(folder)
    assert [(file.path, file.bytes) for file in taken] == [("a.txt", 3), ("b/ក.txt", 3)]
    assert taken[0].digest == "sha256:" + sha256(b"one").hexdigest()


def make_symlink(place):
    place.symlink_to("/etc/passwd")


def make_device_like_socket(place):
    here = Path.cwd()
    os.chdir(place.parent)  # a socket's path may be long under a temporary folder
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(place.name)
    os.chdir(here)


def make_sparse(place):
    with place.open("wb") as file:
        file.truncate(1 << 42)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (make_symlink, "a symbolic link"),
        (lambda place: place.mkdir() or (place / "x").symlink_to(".."), "a symbolic link"),
        (os.mkfifo, "a FIFO"),
        (make_device_like_socket, "a socket"),
        (make_sparse, "past the limit"),
    ],
    ids=["symlink", "link to a folder", "fifo", "socket", "sparse"],
)
def test_traps_are_refused_by_name(folder, make, said):
    (folder / "out" / "good.txt").write_text("good")
    make(folder / "out" / "trap")
    with pytest.raises(Refused, match=said) as caught:
        take(folder)
    assert caught.value.code == "bad_output"
    assert "trap" in caught.value.message


def test_a_device_is_refused(folder):
    if os.geteuid() != 0:
        pytest.skip("only root makes devices")
    os.mknod(folder / "out" / "zero", 0o20666, os.makedev(1, 5))
    with pytest.raises(Refused, match="'out/zero' is a device"):
        take(folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (b"a\nb", "control characters"),
        (b"a\x1b[31m", "control characters"),
        ("invoice\u202efdp.exe".encode(), "control characters"),
        (b"\xff\xfe", "broken UTF-8"),
    ],
)
def test_bad_names_are_refused(folder, name, said):
    os.close(os.open(os.fsencode(folder / "out") + b"/" + name, os.O_CREAT))
    with pytest.raises(Refused, match=said):
        take(folder)


def test_khmer_joiners_are_good_names(folder):
    (folder / "out" / "ក\u200bខ\u200d.txt").write_text("x")  # zero-width signs are part of Khmer writing
    assert len(take(folder)) == 1


def test_depth_is_bounded(folder):
    place = folder / "out"
    for _ in range(MAX_DEPTH):
        place /= "d"
    place.mkdir(parents=True)
    (place / "last").write_text("x")
    assert len(take(folder)) == 1
    (place / "d").mkdir()
    with pytest.raises(Refused, match="deeper than 32"):
        take(folder)


def test_the_folder_itself_may_not_be_a_link(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("x")
    (tmp_path / "out").symlink_to(tmp_path / "secret")
    with pytest.raises(NotADirectoryError):
        take(tmp_path)


def test_another_owners_file_is_refused(folder):
    (folder / "out" / "file").write_text("x")
    assert len(take(folder, owner=os.geteuid())) == 1
    with pytest.raises(Refused, match="belongs to another"):
        take(folder, owner=os.geteuid() + 1)


def test_v2_groups_get_their_limits(tmp_path):
    """The files that are written; that a v2 kernel obeys them is not shown on a machine with v1."""
    for name in ("memory.max", "pids.max", "cpu.max", "cgroup.procs"):
        (tmp_path / "t_1").mkdir(exist_ok=True)
        (tmp_path / "t_1" / name).touch()
    made = make_group(Cgroups(version=2, folders=(tmp_path,)), "t_1", Limits(cpus=2, memory_bytes=1000, processes=7))
    assert made == [str(tmp_path / "t_1")]
    told = {name: (tmp_path / "t_1" / name).read_text() for name in ("memory.max", "pids.max", "cpu.max")}
    assert told == {"memory.max": "1000", "pids.max": "7", "cpu.max": "200000 100000"}


def test_no_cgroups_where_none_are_prepared(tmp_path):
    (tmp_path / "own").write_text("0::/\n")
    found = find_cgroups(tmp_path, tmp_path / "own")
    assert (found.version, found.name) == (0, "soft")


def test_a_delegated_unit_gets_groups_of_its_own(tmp_path, monkeypatch):
    """The files and folders of a systemd unit with Delegate=yes; no v2 kernel obeys them here."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids io\n")
    unit = tmp_path / "system.slice" / "baray.service"
    unit.mkdir(parents=True)
    (unit / "cgroup.procs").write_text("17\n18\n")
    (unit / "cgroup.subtree_control").touch()
    (tmp_path / "own").write_text("0::/system.slice/baray.service\n")
    monkeypatch.setattr(os, "getxattr", lambda path, name: b"1" if Path(path) == unit else b"0")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = find_cgroups(tmp_path, tmp_path / "own")
    assert (found.version, found.folders) == (2, (unit / "runs",))
    assert (unit / "platform" / "cgroup.procs").read_text() == "18"  # each was moved: v2 allows none beside subgroups
    assert (unit / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (unit / "runs" / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    (tmp_path / "own").write_text("0::/system.slice/baray.service/platform\n")  # a restarted worker of the same unit
    assert find_cgroups(tmp_path, tmp_path / "own").folders == (unit / "runs",)


def test_a_unit_that_was_not_delegated_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "user.slice").mkdir()
    (tmp_path / "user.slice" / "cgroup.subtree_control").touch()
    (tmp_path / "own").write_text("0::/user.slice\n")
    monkeypatch.setattr(os, "getxattr", lambda _path, _name: b"0")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert find_cgroups(tmp_path, tmp_path / "own").version == 0
    assert [path.name for path in (tmp_path / "user.slice").iterdir()] == ["cgroup.subtree_control"]


def test_devices_of_a_lease_are_shown_and_no_others(tmp_path):
    limits = Limits()
    base = supervisor_plan(
        attempt_dir=tmp_path, log=tmp_path / "log", number=1, limits=limits, owner=Owner(), cgroups=[]
    )
    devices = ("/dev/nvidia1", "/dev/nvidiactl", "/dev/nvidia-uvm")
    words = {}
    for given in ((), devices):
        command = Command(argv=("true",), binds=(), environment={}, bwrap="bwrap", devices=given)
        words[given] = sandbox_plan(base, command, limits)["sandbox"]["middle"]
    shown = words[devices]
    assert [shown[at + 1 : at + 3] for at, word in enumerate(shown) if word == "--dev-bind"] == [
        [d, d] for d in devices
    ]
    assert "--dev-bind" not in words[()]
    # The nodes come after the folder was made, and before it is closed.
    assert shown.index("--dev") < shown.index("/dev/nvidia1")
    assert shown[-2:] == ["--remount-ro", "/dev"]

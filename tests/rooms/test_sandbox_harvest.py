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
from baray.runs.sandbox.plan import Limits


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

"""The contract of the port Blobs, run on every adapter; then what is promised of blobs on disk alone."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from baray.core import Fault, NotFound, Refused
from baray.store import DiskBlobs

LIMIT_SECONDS = 20.0
HELLO = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
NO_DIGESTS = ["", "sha256:", HELLO[7:], HELLO.upper(), HELLO + "\n", HELLO[:-1], "md5:" + HELLO[7:], "../../etc/passwd"]


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def files_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "blobs"


@pytest.fixture(params=[DiskBlobs])
def blobs(request, root):
    return request.param(root)


def test_bytes_are_kept_under_their_digest(blobs):
    assert blobs.put_bytes(b"hello") == HELLO
    assert blobs.path(HELLO).read_bytes() == b"hello"
    assert blobs.has(HELLO)


def test_an_empty_blob_is_a_blob(blobs):
    assert blobs.put_bytes(b"") == EMPTY
    assert blobs.path(EMPTY).read_bytes() == b""


def test_a_file_is_copied(blobs, tmp_path):
    file = tmp_path / "mine"
    file.write_bytes(b"hello")
    assert blobs.put_file(file) == HELLO
    file.write_bytes(b"changed")
    assert blobs.path(HELLO).read_bytes() == b"hello"
    assert blobs.path(HELLO).stat().st_ino != file.stat().st_ino


def test_a_large_file_goes_in_pieces(blobs, tmp_path):
    data = os.urandom(3_000_001)
    file = tmp_path / "large"
    file.write_bytes(data)
    assert blobs.put_file(file) == digest_of(data)
    assert blobs.path(digest_of(data)).read_bytes() == data


def test_a_stream_is_kept_if_its_digest_is_the_one_that_was_said(blobs):
    assert blobs.put_stream(iter([b"he", b"", b"llo"]), HELLO) == 5
    assert blobs.path(HELLO).read_bytes() == b"hello"


def test_a_stream_of_other_bytes_is_refused_and_leaves_nothing(blobs, root):
    with pytest.raises(Refused) as refused:
        blobs.put_stream([b"other"], HELLO)
    assert (refused.value.code, refused.value.status) == ("bad_digest", 400)
    assert digest_of(b"other") in refused.value.message
    assert HELLO in refused.value.message
    assert not blobs.has(HELLO)
    assert not blobs.has(digest_of(b"other"))
    assert files_below(root) == set()


def test_a_stream_that_breaks_leaves_nothing(blobs, root):
    def pieces():
        yield b"hel"
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        blobs.put_stream(pieces(), HELLO)
    assert not blobs.has(HELLO)
    assert files_below(root) == set()


def broken(*pieces):
    yield from pieces
    raise ConnectionResetError("gone")


def test_a_stream_that_breaks_is_gone_on_with_where_it_broke(blobs, root):
    with pytest.raises(ConnectionResetError):
        blobs.put_stream(broken(b"h", b"el"), HELLO, part="mine")
    assert (blobs.begun("mine"), blobs.begun("yours")) == (3, 0)
    assert not blobs.has(HELLO)
    with pytest.raises(Refused) as refused:
        blobs.put_stream([b"o"], HELLO, part="mine", start=4)
    assert (refused.value.code, blobs.begun("mine")) == ("bad_start", 3)
    with pytest.raises(ConnectionResetError):
        blobs.put_stream(broken(b"ll"), HELLO, part="mine", start=2)  # bytes that came before are sent again
    assert blobs.begun("mine") == 4
    assert blobs.put_stream([b"o"], HELLO, part="mine", start=4) == 5
    assert blobs.path(HELLO).read_bytes() == b"hello"
    assert (blobs.begun("mine"), len(files_below(root))) == (0, 1)


def test_a_part_with_other_bytes_is_forgotten(blobs, root):
    with pytest.raises(ConnectionResetError):
        blobs.put_stream(broken(b"hul"), HELLO, part="mine")
    with pytest.raises(Refused) as refused:
        blobs.put_stream([b"lo"], HELLO, part="mine", start=3)
    assert (refused.value.code, blobs.begun("mine"), files_below(root)) == ("bad_digest", 0, set())


def test_one_at_a_time_writes_a_part_and_none_cuts_off_what_became_a_blob(blobs):
    def pieces():
        yield b"hel"
        with pytest.raises(Fault) as busy:
            blobs.put_stream([b"hello"], HELLO, part="mine")
        assert (busy.value.code, busy.value.status) == ("upload_busy", 503)
        yield b"lo"

    assert blobs.put_stream(pieces(), HELLO, part="mine") == 5
    assert blobs.put_stream([b"hello"], HELLO, part="mine") == 5
    assert blobs.path(HELLO).read_bytes() == b"hello"


def test_repeating_is_free(blobs):
    blobs.put_bytes(b"hello")
    before = blobs.path(HELLO).stat()
    assert blobs.put_bytes(b"hello") == HELLO
    after = blobs.path(HELLO).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert blobs.put_stream([b"hello"], HELLO) == 5


def test_the_same_blob_from_many_threads_is_there_once_and_whole(blobs, root):
    data = os.urandom(200_000)
    together = threading.Barrier(8)

    def put(number):
        together.wait(LIMIT_SECONDS)
        if number % 2:
            return blobs.put_bytes(data)
        blobs.put_stream([data[:1000], data[1000:]], digest_of(data))
        return digest_of(data)

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(put, range(8))) == {digest_of(data)}
    assert blobs.path(digest_of(data)).read_bytes() == data
    assert len(files_below(root)) == 1


def test_what_is_not_here_is_not_found(blobs):
    assert not blobs.has(HELLO)
    with pytest.raises(NotFound) as missing:
        blobs.path(HELLO)
    assert HELLO in missing.value.message


@pytest.mark.parametrize("text", NO_DIGESTS)
def test_a_text_that_is_no_digest_is_refused_everywhere(blobs, root, text):
    for call in (lambda: blobs.has(text), lambda: blobs.path(text), lambda: blobs.put_stream([b"hello"], text)):
        with pytest.raises(Refused) as refused:
            call()
        assert (refused.value.code, refused.value.status) == ("bad_digest", 400)
    assert files_below(root) == set()


def test_a_second_opening_finds_what_the_first_kept(root):
    DiskBlobs(root).put_bytes(b"hello")
    assert DiskBlobs(root).path(HELLO).read_bytes() == b"hello"


def test_the_place_on_disk_is_frozen(root):
    DiskBlobs(root).put_bytes(b"hello")
    place = root / "2c" / "f24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert place.read_bytes() == b"hello"
    assert place.stat().st_mode & 0o777 == 0o444


def test_all_that_is_here_is_listed_in_order(root):
    blobs = DiskBlobs(root)
    kept = {blobs.put_bytes(str(number).encode()) for number in range(40)}
    assert list(blobs.all()) == sorted(kept)


@pytest.mark.parametrize("damage", [b"hellO", b"hell", b"", b"hello "])
def test_a_damaged_file_is_found(root, damage):
    blobs = DiskBlobs(root)
    blobs.put_bytes(b"hello")
    assert blobs.verify(HELLO)
    place = blobs.path(HELLO)
    place.chmod(0o644)
    place.write_bytes(damage)
    assert not blobs.verify(HELLO)


def test_verifying_what_is_not_here_is_not_found(root):
    with pytest.raises(NotFound):
        DiskBlobs(root).verify(HELLO)


def test_old_parts_are_forgotten(root):
    blobs = DiskBlobs(root)
    for part in ("old", "new"):
        with pytest.raises(ConnectionResetError):
            blobs.put_stream(broken(b"hel"), HELLO, part=part)
    old = next(path for path in (root / "tmp").iterdir() if hashlib.sha256(b"old").hexdigest() in path.name)
    os.utime(old, (1.0, 1.0))
    blobs.forget_parts(2.0)
    assert (blobs.begun("old"), blobs.begun("new")) == (0, 3)


def test_a_killed_writer_leaves_no_blob_and_its_rest_is_swept(root):
    program = (
        "import sys; from pathlib import Path; from baray.store import DiskBlobs\n"
        "def pieces():\n"
        "    yield b'x' * 2_000_000\n"
        "    print('half', flush=True)\n"
        "    sys.stdin.read()\n"
        "DiskBlobs(Path(sys.argv[1])).put_stream(pieces(), sys.argv[2])\n"
    )
    command = [sys.executable, "-c", program, str(root), digest_of(b"x" * 2_000_000)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"half\n"
        writer.send_signal(signal.SIGKILL)
    blobs = DiskBlobs(root)
    kept = blobs.put_bytes(b"hello")
    assert not blobs.has(command[-1])
    assert list(blobs.all()) == [HELLO]
    assert len(files_below(root)) == 2, "the kept blob, and what the killed writer left"
    blobs.sweep()
    assert files_below(root) == {f"2c/{HELLO[9:]}"}
    assert blobs.verify(kept)
    assert blobs.put_bytes(b"after the sweep")

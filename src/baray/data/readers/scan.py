"""Scans: pictures of pages, read by the tesseract program in a process of its own."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from baray.data.readers.base import Found, ReadOptions, Record, SourceFile, file_title, first_line, refuse

_PROGRAM = "tesseract"
_WANTED = ("khm", "eng")
_SECONDS = 180
_MOST_PIXELS = 120_000_000
_OCR_MEMORY = 1_500_000_000
"""Address space of the program: a picture that says little of itself cannot take the Run's memory."""
_PRLIMIT = shutil.which("prlimit")
_ANYMAP = re.compile(rb"P[1-6]\s+(?:#[^\n]*\n\s*)*(\d{1,9})\s+(\d{1,9})\s")
_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
NO_OCR_FIX = "Install it: apt-get install tesseract-ocr tesseract-ocr-khm (as root), then build again."


def find_ocr() -> tuple[str, str] | None:
    """Program and languages (`khm+eng`), or None where the program or its Khmer data is missing."""
    program = shutil.which(_PROGRAM)
    if program is None:
        return None
    try:
        done = subprocess.run([program, "--list-langs"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    have = set(done.stdout.split())
    return (program, "+".join(_WANTED)) if set(_WANTED) <= have else None


def read_image(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """Text of a picture. Raises `no_ocr`, `too_large`, `broken_file`."""
    if options.ocr is None:
        raise refuse("no_ocr", "", NO_OCR_FIX)
    with file.open() as stream:
        width, height = _size(stream.read(65536))
    if width * height > _MOST_PIXELS:
        raise refuse("too_large", f"The picture has {width} x {height} pixels.", "Scan at 300 dots per inch.")
    text = recognise(file.read(options.max_bytes), options)
    yield Record(index=0, text=text, title=first_line(text) or file_title(file.path))


def recognise_pages(pages: list[bytes], options: ReadOptions, *, dpi: int) -> list[str]:
    """Text of each of `pages` (portable anymap pictures), several at a time."""
    with ThreadPoolExecutor(max_workers=max(1, options.cpus)) as pool:
        return list(pool.map(lambda page: recognise(page, options, dpi=dpi), pages))


def recognise(picture: bytes, options: ReadOptions, *, dpi: int = 0) -> str:
    """Text of one picture. Raises `broken_file` where the program cannot read it."""
    if options.ocr is None:
        raise refuse("no_ocr", "", NO_OCR_FIX)
    program, languages = options.ocr
    command = [program, "stdin", "stdout", "-l", languages, *(["--dpi", str(dpi)] if dpi else [])]
    try:
        # One thread each: several pages at a time use the processors better than OpenMP does within a page.
        done = subprocess.run(
            [_PRLIMIT, f"--as={_OCR_MEMORY}", *command] if _PRLIMIT else command,
            input=picture, capture_output=True, timeout=_SECONDS, check=False, env={"OMP_THREAD_LIMIT": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise refuse("broken_file", f"OCR did not end within {_SECONDS} s.", "Scan the page again.") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise refuse("broken_file", f"OCR cannot read the picture: {said[-1] if said else done.returncode}.")
    return done.stdout.decode("utf-8", "replace").replace("\f", "\n")


def _size(head: bytes) -> tuple[int, int]:
    """Width and height that a PNG, JPEG or TIFF declares; (0, 0) where they do not stand in its beginning."""
    if head.startswith(b"\x89PNG") and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
        return int(width), int(height)
    if head.startswith(b"\xff\xd8"):
        return _jpeg_size(head)
    if head[:4] in _TIFF:
        return _tiff_size(head, _TIFF[head[:4]])
    return _other_size(head)


def _other_size(head: bytes) -> tuple[int, int]:
    """The same of a GIF, BMP, WebP or portable anymap."""
    if head.startswith(b"GIF8") and len(head) >= 10:
        width, height = struct.unpack_from("<HH", head, 6)
        return int(width), int(height)
    if head.startswith(b"BM") and len(head) >= 26:
        width, height = struct.unpack_from("<ii", head, 18)
        return abs(int(width)), abs(int(height))
    if head.startswith(b"RIFF") and len(head) >= 30:
        return _webp_size(head)
    anymap = _ANYMAP.match(head)
    return (int(anymap[1]), int(anymap[2])) if anymap else (0, 0)


def _webp_size(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", head, 26)
    return int(width) & 0x3FFF, int(height) & 0x3FFF


def _tiff_size(head: bytes, order: str) -> tuple[int, int]:
    """Tags 256 and 257 of the first page, where its directory lies in `head`."""
    sizes = {256: 0, 257: 0}
    (start,) = struct.unpack_from(order + "I", head.ljust(8, b"\0"), 4)
    if start + 2 <= len(head):
        (count,) = struct.unpack_from(order + "H", head, start)
        for at in range(start + 2, min(start + 2 + 12 * count, len(head) - 11), 12):
            tag, kind = struct.unpack_from(order + "HH", head, at)
            if tag in sizes:
                (sizes[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), head, at + 8)
    return sizes[256], sizes[257]


def _jpeg_size(head: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return int(width), int(height)
        at += 2 + length
    return 0, 0

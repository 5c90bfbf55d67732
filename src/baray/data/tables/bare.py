"""Whether a picture's file holds the picture alone: each part of it is known to say nothing of place, time, camera or program.

Parts that are not known are taken as telling, so that a format's later additions are too.
"""

from __future__ import annotations

_PNG_HEAD = 8
_PNG_PARTS = frozenset(
    [
        b"IHDR",
        b"PLTE",
        b"IDAT",
        b"IEND",
        b"tRNS",
        b"gAMA",
        b"cHRM",
        b"sRGB",
        b"iCCP",
        b"sBIT",
        b"bKGD",
        b"pHYs",
        b"cICP",
    ]
)
_WEBP_HEAD = 12
_WEBP_PARTS = frozenset([b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP"])
_JPEG_TABLES = frozenset([0xC4, 0xDB, 0xDD])
_JPEG_FRAMES = frozenset([0xC0, 0xC1, 0xC2])
_JPEG_APPLICATION = {0xE0: (b"JFIF\0", 14), 0xE2: (b"ICC_PROFILE\0", 65533), 0xEE: (b"Adobe", 12)}
"""Marker -> what its content begins with, and how long it is at most: a small picture of its own may follow JFIF."""
_START_OF_SCAN, _END = 0xDA, 0xD9
_RESTARTS = frozenset([0x00, *range(0xD0, 0xD8)])
"""What may follow FF inside a scan without ending it."""


def is_bare(data: bytes, name: str) -> bool:
    """True where `data`, a whole file of format `name` (JPEG, PNG, WEBP), holds pixels and colours and nothing else."""
    return {"JPEG": _bare_jpeg, "PNG": _bare_png, "WEBP": _bare_webp}[name](data)


def _bare_png(data: bytes) -> bool:
    at = _PNG_HEAD
    while at + 12 <= len(data):
        part = data[at + 4 : at + 8]
        if part not in _PNG_PARTS:
            return False
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        if part == b"IEND":
            return at == len(data)
    return False


def _bare_webp(data: bytes) -> bool:
    at = _WEBP_HEAD
    while at + 8 <= len(data):
        if data[at : at + 4] not in _WEBP_PARTS:
            return False
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return at == len(data)


def _bare_jpeg(data: bytes) -> bool:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if not _is_known(marker, data[at + 4 : at + 2 + size]):
            return False
        at += 2 + size
        if marker == _START_OF_SCAN:
            at = _after_scan(data, at)
            if data[at : at + 2] == bytes([0xFF, _END]):
                return at + 2 == len(data)
    return False


def _is_known(marker: int, content: bytes) -> bool:
    if marker in _JPEG_TABLES or marker in _JPEG_FRAMES or marker == _START_OF_SCAN:
        return True
    begins, most = _JPEG_APPLICATION.get(marker, (b"", 0))
    return bool(begins) and content.startswith(begins) and len(content) <= most


def _after_scan(data: bytes, at: int) -> int:
    """Where the next marker stands; the end of `data` where there is none."""
    found = data.find(b"\xff", at)
    while found >= 0 and data[found + 1 : found + 2] and data[found + 1] in _RESTARTS:
        found = data.find(b"\xff", found + 2)
    return found if found >= 0 else len(data)

"""QR codes of the console: read back from the drawn squares by the steps of ISO/IEC 18004, not by who drew them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from baray.signin.codes import key_uri
from baray.web.console.qr import qr_svg

URI = key_uri(b"12345678901234567890", name="dara", issuer="Baray")
MASKS = (
    lambda y, x: (y + x) % 2, lambda y, x: y % 2, lambda y, x: x % 3, lambda y, x: (y + x) % 3, lambda y, x: (y // 2 + x // 3) % 2,
    lambda y, x: y * x % 2 + y * x % 3, lambda y, x: (y * x % 2 + y * x % 3) % 2, lambda y, x: ((y + x) % 2 + y * x % 3) % 2,
)  # fmt: skip
BLOCKS = {1: (1, 16), 5: (2, 43), 6: (4, 27)}
"""Version -> number of blocks and data words in each, for error correction M."""


def drawn(svg: str) -> list[list[int]]:
    """The squares without their white border."""
    root = ElementTree.fromstring(svg)
    side = int(root.get("viewBox", "").split()[-1])
    dark = {(int(y), int(x)) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", root.find("path").get("d"))}
    assert all(4 <= place < side - 4 for pair in dark for place in pair), "the quiet zone is white"
    return [[int((y, x) in dark) for x in range(4, side - 4)] for y in range(4, side - 4)]


def reserved(size: int, y: int, x: int) -> bool:
    """Whether a square belongs to a pattern (versions 1 to 6), not to the data."""
    corner = (y < 9 and (x < 9 or x >= size - 8)) or (y >= size - 8 and x < 9)
    alignment = size > 21 and abs(y - (size - 7)) <= 2 and abs(x - (size - 7)) <= 2
    return corner or alignment or 6 in (y, x)


def read(rows: list[list[int]]) -> str:
    """The text: mask off, words in a zigzag from the right, blocks unwoven, bytes of one segment."""
    size = len(rows)
    num_blocks, num_words = BLOCKS[(size - 17) // 4]
    mask = MASKS[(rows[8][2] * 4 + rows[8][3] * 2 + rows[8][4]) ^ 0b101]
    assert rows[8][:2] == [1, 0], "error correction M"
    bits, up = [], True
    for right in [*range(size - 1, 6, -2), 5, 3, 1]:
        for y in range(size - 1, -1, -1) if up else range(size):
            bits += [rows[y][x] ^ (not mask(y, x)) for x in (right, right - 1) if not reserved(size, y, x)]
        up = not up
    words = [int("".join(map(str, bits[at : at + 8])), 2) for at in range(0, num_blocks * num_words * 8, 8)]
    data = [word for block in range(num_blocks) for word in words[block::num_blocks]]
    stream = "".join(f"{word:08b}" for word in data)
    assert stream[:4] == "0100", "bytes"
    length = int(stream[4:12], 2)
    return bytes(int(stream[at : at + 8], 2) for at in range(12, 12 + 8 * length, 8)).decode()


@pytest.mark.parametrize("text", ["short", URI, URI + "&more=" + "x" * 12])
def test_the_picture_says_the_text(text):
    assert read(drawn(qr_svg(text, title="QR"))) == text


def test_the_reader_sees_one_square_that_is_wrong():
    rows = drawn(qr_svg(URI, title="QR"))
    rows[-9][-1] ^= 1  # in the first words, which nothing here mends
    assert read(rows) != URI


def test_the_picture_needs_nothing_that_a_strict_page_forbids():
    svg = qr_svg("x", title='<script>alert("1")</script>')
    assert "<script" not in svg
    assert not re.search(r"\sstyle=|\son\w+=|href=|url\(", svg)

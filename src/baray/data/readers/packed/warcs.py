"""WARC (ISO 28500): the pages of a crawl, one record after another."""

from __future__ import annotations

import io
import re
import unicodedata
import zlib
from collections.abc import Iterator
from email.message import Message
from typing import BinaryIO

from baray.core import Refused
from baray.data.readers.base import SourceFile, refuse
from baray.data.readers.packed.allowance import Allowance
from baray.data.readers.packed.members import Member
from baray.data.readers.packed.streams import Writable

_LONGEST_HEADER = 262_144
_LARGEST_PAGE = 64_000_000
_LONGEST_ADDRESS = 1000
_BLOCK = 1_000_000
_PAYLOADS = frozenset(["response", "resource", "conversion"])
_NAMES = {
    "text/html": "page.html",
    "application/xhtml+xml": "page.html",
    "text/plain": "page.txt",
    "text/markdown": "page.md",
    "application/pdf": "page.pdf",
    "application/epub+zip": "page.epub",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "page.docx",
    "application/vnd.oasis.opendocument.text": "page.odt",
}
"""Types that are documents -> a name that says so. Style sheets, scripts and pictures of a crawl are not."""
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?\s+(\d{3})")
_CHUNK = re.compile(rb"\s*([0-9a-fA-F]{1,8})[^\n]{0,200}\r?\n")


def warc_members(file: SourceFile, allowance: Allowance) -> Iterator[Member]:
    """The pages that were answered with status 200, and resources and conversions. Raises `broken_file` at damage."""
    with file.open() as stream:
        while (headers := _record_headers(stream)) is not None:
            body = _body(stream, headers)
            page = _page(headers, body, allowance)
            if page is not None:
                yield page
            _skip(body)


def _record_headers(stream: BinaryIO) -> Message | None:
    """Headers of the next record; None at the end of the file."""
    line = stream.readline(_LONGEST_HEADER)
    while line in {b"\r\n", b"\n"}:
        line = stream.readline(_LONGEST_HEADER)
    if not line:
        return None
    if not line.startswith(b"WARC/"):
        raise _broken()
    headers = _headers(stream)
    if not (headers.get("content-length") or "").strip().isdigit():
        raise _broken()
    return headers


def _headers(stream: BinaryIO) -> Message:
    found = Message()
    left = _LONGEST_HEADER
    while (line := stream.readline(left)) not in {b"\r\n", b"\n"}:
        left -= len(line)
        if not line.endswith(b"\n") or left <= 0:
            raise _broken()
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if colon and name.strip().isascii() and "\x00" not in line.decode("latin-1"):
            found[name.strip()] = value.strip()
    return found


class _Limited(io.RawIOBase):
    """The next bytes of a stream, and no more."""

    def __init__(self, stream: BinaryIO, count: int) -> None:
        self._stream = stream
        self._left = count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Writable) -> int:
        data = self._stream.read(min(len(buffer), self._left))
        if not data and self._left:
            raise _broken()
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def _body(stream: BinaryIO, headers: Message) -> BinaryIO:
    return io.BufferedReader(_Limited(stream, int(headers["content-length"])))


def _skip(body: BinaryIO) -> None:
    while body.read(_BLOCK):
        pass


def _page(headers: Message, body: BinaryIO, allowance: Allowance) -> Member | None:
    kind = (headers.get("warc-type") or "").lower()
    address = (headers.get("warc-target-uri") or "").strip("<> ")
    if kind not in _PAYLOADS or not address or address.startswith(("metadata:", "urn:", "dns:")):
        return None
    about = headers
    if kind == "response":
        if "http" not in (headers.get("content-type") or "").lower():
            return None
        status = _STATUS.match(body.readline(_LONGEST_HEADER))
        about = _headers(body)
        if status is None or status[1] != b"200":
            return None
    sort, charset = _sort(about)
    if sort not in _NAMES:
        return None
    allowance.member()
    notes = ("The crawl cut this page off.",) if headers.get("warc-truncated") else ()
    name = "".join(one for one in address if unicodedata.category(one) not in {"Cc", "Cs"})[:_LONGEST_ADDRESS]
    try:
        data = body.read(_LARGEST_PAGE + 1)
        if len(data) > _LARGEST_PAGE:
            raise refuse("too_large", f"The page has more than {_LARGEST_PAGE} bytes.", "Take it out of the crawl.")
        data = _payload(data, about if kind == "response" else None, allowance)
    except Refused as problem:
        if allowance.exhausted or problem.message == _broken_message():
            raise
        return Member(name=name, stream=None, problem=problem)
    return Member(name=name, stream=io.BytesIO(data), notes=notes, read_as=_NAMES[sort], charset=charset)


def _sort(about: Message) -> tuple[str, str]:
    """Type and encoding as the server said them."""
    said = str(about.get("content-type") or "")
    charset = re.search(r"(?i)charset\s*=\s*[\"']?([\w.:-]{2,40})", said)
    return said.partition(";")[0].strip().lower(), charset[1] if charset else ""


def _payload(data: bytes, about: Message | None, allowance: Allowance) -> bytes:
    """The page itself, out of what went over the wire. Raises `broken_file`, `unsupported_type`."""
    if about is None:
        return data
    if "chunked" in str(about.get("transfer-encoding") or "").lower():
        data = _unchunked(data)
    coding = str(about.get("content-encoding") or "identity").strip().lower()
    if coding in {"gzip", "x-gzip", "deflate"}:
        return _inflated(data, allowance)
    if coding not in {"identity", "", "utf-8", "none"}:
        raise refuse("unsupported_type", f"The page is packed as '{coding[:40]}'.", "Crawl it with gzip or unpacked.")
    return data


def _unchunked(data: bytes) -> bytes:
    """Chunks joined (RFC 9112, 7.1). Some writers take them apart themselves and leave the header there."""
    parts: list[bytes] = []
    at = 0
    while match := _CHUNK.match(data, at):
        size = int(match[1], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(data[match.end() : match.end() + size])
        at = match.end() + size
    return b"".join(parts) if parts and at >= len(data) else data


def _inflated(data: bytes, allowance: Allowance) -> bytes:
    if not data.startswith((b"\x1f\x8b", b"\x78")):
        return data  # unpacked by the writer, who left the header there
    unpacker = zlib.decompressobj(wbits=47)
    parts: list[bytes] = []
    length = 0
    try:
        while data and not unpacker.eof:
            parts.append(unpacker.decompress(data, 1_000_000))
            allowance.spend(len(parts[-1]))
            length += len(parts[-1])
            if length > _LARGEST_PAGE:
                raise refuse(
                    "too_large", f"The page unpacks to more than {_LARGEST_PAGE} bytes.", "Take it out of the crawl."
                )
            data = unpacker.unconsumed_tail
    except zlib.error as error:
        raise refuse("broken_file", "The packed page is damaged.") from error
    if not unpacker.eof:
        raise refuse("broken_file", "The packed page is cut off.")
    return b"".join(parts)


def _broken_message() -> str:
    return "The crawl is damaged or cut off from here on."


def _broken() -> Exception:
    return refuse("broken_file", _broken_message(), "Copy it again.")

"""Who sent which blob: a digest alone is no proof of holding its bytes."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterable, Iterator

import anyio.from_thread
import anyio.to_thread
from fastapi import Request

from baray.access import Site
from baray.core import Refused, is_digest

MAX_BLOB = 64 << 30  # bytes


class Uploads:
    """Digests that each actor sent to each project of this process; after a restart a client simply sends again."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self._lock = threading.Lock()  # guards _sent
        self._sent: set[tuple[str, str, str]] = set()

    def note(self, project_id: str, actor_id: str, digest: str) -> None:
        """The actor sent these bytes to the project."""
        with self._lock:
            self._sent.add((project_id, actor_id, digest))

    def held(self, project_id: str, actor_id: str, digests: Iterable[str]) -> set[str]:
        """Which of `digests` the actor sent to the project."""
        with self._lock:
            return {digest for digest in digests if (project_id, actor_id, digest) in self._sent}


def part_of(project_id: str, actor_id: str, digest: str) -> str:
    """Under which name a blob stays that came in part: nobody else learns of it, or goes on with it."""
    return f"{project_id} {actor_id} {digest}"


async def receive_blob(site: Site, request: Request, digest: str, *, part: str, start: int) -> int:
    """Stream a request's body into a blob, from byte `start` of it; returns its size. Raises Refused `bad_digest`, `too_large`.

    Where the connection breaks, what came stays as `part`. The blob's thread asks the event loop for the next piece, so that
    a slow sender holds one thread and no memory.
    """
    if not is_digest(digest):
        raise Refused("bad_digest", f"'{digest}' is not a digest.", fix="Send sha256: and 64 hexadecimal digits.")
    stream = request.stream()
    return await anyio.to_thread.run_sync(
        lambda: site.blobs.put_stream(_pieces(stream, start), digest, part=part, start=start)
    )


def _pieces(stream: AsyncIterator[bytes], size: int) -> Iterator[bytes]:
    while True:
        piece = anyio.from_thread.run(_next_piece, stream)
        if piece is None:
            return
        size += len(piece)
        if size > MAX_BLOB:
            raise Refused("too_large", f"A file may have {MAX_BLOB} bytes at most.", fix="Split it.", status=413)
        yield piece


async def _next_piece(stream: AsyncIterator[bytes]) -> bytes | None:
    async for piece in stream:
        return piece
    return None

"""Documents of one file, read by a thread ahead of whoever wants them, with bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator

from baray.data.documents.nouns import Document, Refused

_MOST_CHARACTERS = 4_000_000
_MOST_DOCUMENTS = 512

Work = Callable[[], Generator[Document | Refused, None, None]]


class Ahead:
    """A channel between one reading thread and the thread that wants the Documents."""

    def __init__(self, work: Work) -> None:
        """`work` is done by `fill`, in whatever thread calls it."""
        self._work = work
        self._changed = threading.Condition()
        self._held: deque[Document | Refused] = deque()
        self._characters = 0
        self._done = False
        self._closed = False
        self._error: BaseException | None = None

    def fill(self) -> None:
        """Read the Documents; wait while enough are held. An error goes to the thread that takes them."""
        found = self._work()
        try:
            for one in found:
                if not self._put(one):
                    break
        except BaseException as error:
            self._error = error
            raise
        finally:
            found.close()
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def take(self) -> Iterator[Document | Refused]:
        """The Documents in their order, as they come. Raises what the reading raised."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._held or self._done)
                if not self._held:
                    break
                one = self._held.popleft()
                self._characters -= _weight(one)
                self._changed.notify_all()
            yield one
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Let the reading thread end: nobody takes any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _put(self, one: Document | Refused) -> bool:
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._closed
                    or not self._held
                    or (self._characters < _MOST_CHARACTERS and len(self._held) < _MOST_DOCUMENTS)
                )
            )
            self._held.append(one)
            self._characters += _weight(one)
            self._changed.notify_all()
            return not self._closed


def _weight(one: Document | Refused) -> int:
    return len(one.text) if isinstance(one, Document) else 0

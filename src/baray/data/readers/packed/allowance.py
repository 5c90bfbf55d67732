"""How much one file of a Source may unpack to, all archives inside it together."""

from __future__ import annotations

from baray.data.readers.base import refuse

_MOST_MEMBERS = 200_000
_MOST_RATIO = 400
_SMALL = 16_000_000
DEEPEST = 5
"""Archives and compressions inside one another."""


class Allowance:
    """Counts what has been unpacked of one file; the first step over the limit ends the reading of that file."""

    def __init__(self, *, packed_bytes: int, most_bytes: int) -> None:
        """Nothing spent yet of `most_bytes`; `packed_bytes` is the length of the file itself."""
        self._packed = max(1, packed_bytes)
        self._most = most_bytes
        self._spent = 0
        self._members = 0
        self.exhausted = False

    def spend(self, count: int) -> None:
        """Take `count` more unpacked bytes. Raises `too_large`, or `unsafe_archive` for what packs improbably well."""
        self._spent += count
        if self._spent > self._most:
            self.exhausted = True
            raise refuse(
                "too_large", f"The file unpacks to more than {self._most} bytes.", "Unpack it and add what is inside."
            )
        if self._spent > max(_SMALL, _MOST_RATIO * self._packed):
            self.exhausted = True
            raise refuse(
                "unsafe_archive",
                f"The file unpacks to more than {_MOST_RATIO} times its {self._packed} bytes.",
                "Unpack it yourself and add what is inside.",
            )

    def member(self, count: int = 1) -> None:
        """Take `count` more members. Raises `unsafe_archive`."""
        self._members += count
        if self._members > _MOST_MEMBERS:
            self.exhausted = True
            raise refuse(
                "unsafe_archive",
                f"The archive has more than {_MOST_MEMBERS} members.",
                "Split it into several archives.",
            )

    def descend(self, depth: int) -> None:
        """Go into a packing at `depth`. Raises `unsafe_archive`."""
        if depth >= DEEPEST:
            raise refuse(
                "unsafe_archive",
                f"More than {DEEPEST} packings lie inside one another.",
                "Unpack it and add what is inside.",
            )

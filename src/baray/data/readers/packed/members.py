"""What an archive holds, and which names are believed."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import BinaryIO

from baray.core import Refused
from baray.data.readers.base import refuse

_DRIVE = re.compile(r"^[A-Za-z]:")
_LONGEST_NAME = 1000
_NO_DOCUMENTS = frozenset([".ds_store", "thumbs.db", "desktop.ini"])
_FIX = "Pack the folder again without it, or unpack it and add what is inside."
LABELS_FILE = "documents.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file in an archive."""

    name: str
    """Its path in the archive, fit to be shown; of a record of the web, its address."""
    stream: BinaryIO | None
    """Its bytes, to be read before the next member is asked for; None where it is refused."""
    problem: Refused | None = None
    """Why it is refused."""
    notes: tuple[str, ...] = ()
    read_as: str = ""
    """A name that says its kind, where its own does not."""
    charset: str = ""
    """Encoding as the sender said it."""


class Names:
    """The names that an archive has used so far."""

    def __init__(self) -> None:
        """None yet."""
        self._seen: set[str] = set()

    def check(self, name: str) -> str:
        """`name` as a path below the archive, in NFC. Raises `unsafe_archive` for a path out of it, or one used twice."""
        path = unicodedata.normalize("NFC", name.replace("\\", "/"))
        parts = path.split("/")
        if not path or len(path) > _LONGEST_NAME or any(unicodedata.category(one) in {"Cc", "Cs"} for one in path):
            raise refuse("unsafe_archive", f"The name {shown(name)} is no file's.", _FIX)
        if path.startswith("/") or _DRIVE.match(path) or ".." in parts:
            raise refuse("unsafe_archive", f"The path {shown(name)} leads out of the archive.", _FIX)
        path = "/".join(part for part in parts if part not in {"", "."})
        if not path or path in self._seen:
            raise refuse("unsafe_archive", f"The path {shown(name)} stands twice in the archive, or is none.", _FIX)
        self._seen.add(path)
        return path


def is_no_document(name: str) -> bool:
    """Whether a system put the file there beside the documents: it is passed over and not counted."""
    parts = name.replace("\\", "/").lower().split("/")
    return parts[-1] in _NO_DOCUMENTS or parts[0] == "__macosx" or parts[-1].startswith("._")


def refuse_labels(name: str) -> None:
    """Raise `labels_inside` for a file that would label its neighbours: the Source's labels come from its own folder."""
    if name.replace("\\", "/").rsplit("/", 1)[-1] == LABELS_FILE:
        raise refuse(
            "labels_inside",
            f"The archive holds {shown(name)}; labels and dates in it could not be kept.",
            "Unpack the archive and add the folder, or take that file out and give the archive a label.",
        )


def shown(name: str) -> str:
    """A name from an archive, fit for a message."""
    clean = "".join("\ufffd" if unicodedata.category(one) in {"Cc", "Cs"} else one for one in name[:120])
    return f"'{clean}'" + ("…" if len(name) > 120 else "")

"""Refs: typed text that points at a thing, `[project/]kind:name[@vN]` or `kind:id`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from baray.core.errors import Refused

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_REF = re.compile(
    r"(?:(?P<project>[a-z0-9][a-z0-9-]{0,62})/)?(?P<kind>[a-z]+):(?P<name>[a-z0-9_-]{1,64})(?:@v(?P<version>[1-9][0-9]{0,8}))?\Z"
)
REF_KINDS = frozenset(
    {
        "source",
        "dataset",
        "index",
        "model",
        "evaluation",
        "run",
        "service",
        "answer",
        "entry",
        "node",
        "project",
        "actor",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """A pointer to a thing, or to one version of it."""

    kind: str
    """One of REF_KINDS."""
    name: str
    """Name or id of the thing."""
    version: int | None = None
    """Version number from 1; None means the newest."""
    project: str | None = None
    """Name of the project; None means the caller's."""

    def __str__(self) -> str:
        """The text form."""
        head = f"{self.project}/" if self.project else ""
        tail = f"@v{self.version}" if self.version is not None else ""
        return f"{head}{self.kind}:{self.name}{tail}"


def parse_ref(text: str, *, kind: str | None = None) -> Ref:
    """Read a ref; a bare `name[@vN]` takes `kind`. Raises Refused `bad_ref` on another form or another kind."""
    full = text if ":" in text or kind is None else _with_kind(text, kind)
    match = _REF.match(full)
    if match is None or match["kind"] not in REF_KINDS:
        raise Refused("bad_ref", f"'{text}' is not a ref.", fix="Write KIND:NAME@vN, for example dataset:letters@v3.")
    if kind is not None and match["kind"] != kind:
        raise Refused("bad_ref", f"'{text}' is a {match['kind']}, but a {kind} is needed.", fix=f"Write {kind}:NAME.")
    version = int(match["version"]) if match["version"] else None
    return Ref(kind=match["kind"], name=match["name"], version=version, project=match["project"])


def check_name(name: str) -> str:
    """Return `name` if it may name a thing. Raises Refused `bad_name` otherwise."""
    if _NAME.match(name) is None:
        raise Refused(
            "bad_name",
            f"'{name}' cannot be a name.",
            fix="Use 1 to 63 of a-z, 0-9 and '-', starting with a letter or digit; any script may stand in the title.",
        )
    return name


def _with_kind(text: str, kind: str) -> str:
    project, slash, rest = text.rpartition("/")
    return f"{project}{slash}{kind}:{rest}"

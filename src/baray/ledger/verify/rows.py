"""Rows of people, work and services, compared with what the entries tell of them.

Every comparison names things by id and shows roles, labels, states, digests and numbers, never texts.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeAlias

from baray.core import canonical_json, digest_bytes
from baray.ledger.verify.report import Notebook
from baray.ledger.verify.told import Said, Told

Stored: TypeAlias = Any
"""A stored value: of a damaged or rewritten row it may be of any kind."""
Row: TypeAlias = dict[str, Stored]
"""A row by its columns' names: of whatever revision of the schema the home is."""

ALWAYS_OPEN = (
    "names, titles and times",
    "credentials, and the secrets, expiry and label limits of tokens",
    "the order between Runs, their progress and error texts",
    "a second Run that made the same bytes",
    "requests to lower a label and the words on them",
    "names of machines, and the targets for which there is leave",
    "counts of usage, and the home's own notes in table meta",
)
"""What no entry binds."""
_LINKS = ("lnk", "inv")
"""Kinds of token that are used up without an entry of their own: the session that they open has one."""
_ROWS = {
    "project": "SELECT * FROM project ORDER BY rowid",
    "actor": "SELECT * FROM actor ORDER BY rowid",
    "member": "SELECT * FROM member ORDER BY rowid",
    "token": "SELECT * FROM token ORDER BY rowid",
    "run": "SELECT * FROM run ORDER BY rowid",
    "attempt": "SELECT * FROM attempt ORDER BY rowid",
    "service": "SELECT * FROM service ORDER BY rowid",
    "revision": "SELECT * FROM revision ORDER BY rowid",
    "raised": "SELECT * FROM raised ORDER BY rowid",
    "node": "SELECT * FROM node ORDER BY rowid",
    "leave": "SELECT * FROM leave ORDER BY rowid",
    "edge": "SELECT * FROM edge ORDER BY rowid",
    "witness": "SELECT * FROM witness ORDER BY rowid",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """One comparison of a table with what is told."""

    connection: sqlite3.Connection
    told: Told
    notes: Notebook
    damaged: bool
    """Entries are damaged or missing: what they would have told is then unknown."""

    def rows(self, table: str) -> Iterator[Row]:
        """All rows of a table."""
        cursor = self.connection.execute(_ROWS[table])
        names = [column[0] for column in cursor.description]
        for values in cursor:
            self.notes.count("rows")
            yield dict(zip(names, values, strict=True))

    def has(self, table: str) -> bool:
        """Whether the home has the table: one of an earlier revision does not, and its ledger tells of no such rows."""
        return bool(self.connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone())

    def unknown(self, where: str, what: str) -> None:
        """Name a row that no entry tells of."""
        if not self.damaged:
            self.notes.add(where, what)

    def compare(self, where: str, row: Row, said: Said, columns: tuple[str, ...]) -> None:
        """Compare columns by what was said of them; what was not said, or is no column yet, binds nothing."""
        for name in columns:
            if name in said and name in row:
                self.same(where, name, row[name], said[name])

    def same(self, where: str, name: str, stored: Stored, said: tuple[Any, int]) -> None:
        """Compare one value."""
        value, index = said
        if stored != value:
            self.notes.add(where, f"{name} is {_shown(stored)}, entry {index} says {_shown(value)}")

    def missing(self, noun: str, left: dict[str, Said], column: str) -> None:
        """Name rows that were told of and are gone."""
        for key, said in left.items():
            if column in said:
                self.notes.add(f"{noun} {key}", f"its row is missing, though entry {said[column][1]} tells of it")


def check_rows(connection: sqlite3.Connection, told: Told, notes: Notebook, *, damaged: bool) -> None:
    """Compare every table that entries bind; a table that cannot be read is named, and the others still compared."""
    check = _Check(connection=connection, told=told, notes=notes, damaged=damaged)
    notes.not_checked += ALWAYS_OPEN
    parts: tuple[Callable[[_Check], None], ...] = (
        _projects, _actors, _members, _tokens, _runs, _attempts, _services, _revisions, _raised, _nodes, _leaves, _edges,
        _witnesses,
    )  # fmt: skip
    for part in parts:
        try:
            part(check)
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            notes.add("baray.db", str(error))


def _projects(check: _Check) -> None:
    left = dict(check.told.projects)
    for row in check.rows("project"):
        where, said = f"project {row['id']}", left.pop(row["id"], None)
        if said is None:
            check.unknown(where, "no entry created it")
        else:
            check.compare(where, row, said, ("label", "clearance"))
    check.missing("project", left, "label")


def _actors(check: _Check) -> None:
    left = dict(check.told.actors)
    for row in check.rows("actor"):
        where, said = f"actor {row['id']}", left.pop(row["id"], None)
        if said is None or "by" not in said:
            check.unknown(where, "no entry created it")
            continue
        check.compare(where, row, said, ("clearance", "kind"))
        check.same(where, "disabled", row["disabled"] is not None, said["disabled"])
        if "site_role" in said:
            check.compare(where, row, said, ("site_role",))
        elif row.get("site_role") and not (row["site_role"] == "operator" and said["by"][0] == "system"):
            # Homes from before site roles: the first actor, whom the home itself made, became its operator.
            check.unknown(where, f"site_role is '{row['site_role']}', no entry gave it")
    check.missing("actor", left, "by")


def _members(check: _Check) -> None:
    left = {key: said for key, said in check.told.members.items() if said["role"][0] is not None}
    for row in check.rows("member"):
        key = (row["project_id"], row["actor_id"])
        where, said = f"member {key[1]} of project {key[0]}", left.pop(key, None)
        gone = check.told.members.get(key)
        if said is not None:
            check.compare(where, row, said, ("role",))
        elif gone is not None:
            check.notes.add(where, f"role is {_shown(row['role'])}, entry {gone['role'][1]} took it away")
        else:
            check.unknown(where, f"role is {_shown(row['role'])}, no entry gave it")
    for (project, actor), said in left.items():
        role, index = said["role"]
        check.notes.add(f"member {actor} of project {project}", f"is missing, entry {index} says {_shown(role)}")


def _tokens(check: _Check) -> None:
    left = dict(check.told.tokens)
    for row in check.rows("token"):
        where, said = f"token {row['id']}", left.pop(row["id"], None)
        if said is None or "actor_id" not in said:
            check.unknown(where, "no entry created it")
            continue
        check.compare(where, row, said, ("actor_id", "kind", "way", "max_label", "project_id", "run_id"))
        if said["scopes"][0] is not None:
            check.same(where, "scopes", _parsed(row["scopes"]), said["scopes"])
        if row["kind"] not in _LINKS or said["revoked"][0]:
            check.same(where, "revoked", row["revoked"] is not None, said["revoked"])
    check.missing("token", left, "actor_id")


def _runs(check: _Check) -> None:
    left = dict(check.told.runs)
    for row in check.rows("run"):
        where, said = f"run {row['id']}", left.pop(row["id"], None)
        if said is None or "digest" not in said:
            check.unknown(where, "no entry submitted it")
            continue
        check.compare(where, row, said, ("kind", "label", "project_id", "actor_id", "state"))
        check.same(where, "memo_key", row["memo_key"], said["digest"])
        check.same(where, "digest of the spec", _digest(row["spec"]), said["digest"])
        _outcome(check, where, row, said)
    check.missing("run", left, "digest")


def _outcome(check: _Check, where: str, row: Row, said: Said) -> None:
    """The code of a failed Run's error, and the versions that a Run says it made."""
    error, made = _parsed(row["error"]), _parsed(row["outputs"])
    if said["error"][0] and isinstance(error, dict):
        check.same(where, "code of its error", error.get("code"), said["error"])
    for one in made if isinstance(made, list) else ():
        entry = check.told.versions.get(one.get("id", "")) if isinstance(one, dict) else None
        if entry is None:
            check.unknown(where, "its outputs name a version that no entry published")
        else:
            index, body = entry
            if body["kind"] != "version.deleted":
                check.same(where, f"digest of output {one['id']}", one.get("digest"), (body["facts"]["digest"], index))
                check.same(where, f"label of output {one['id']}", one.get("label"), (body.get("label", ""), index))


def _attempts(check: _Check) -> None:
    left = dict(check.told.attempts)
    for row in check.rows("attempt"):
        where, said = f"attempt {row['id']}", left.pop(row["id"], None)
        if said is None:
            check.unknown(where, "no entry started it")
        else:
            check.same(where, "run_id", row["run_id"], (said[0], said[2]))
            check.same(where, "number", row["number"], (said[1], said[2]))
    for key, (_run, _number, index) in left.items():
        check.notes.add(f"attempt {key}", f"its row is missing, though entry {index} tells of it")


def _services(check: _Check) -> None:
    left = dict(check.told.services)
    for row in check.rows("service"):
        where, said = f"service {row['id']}", left.pop(row["id"], None)
        if said is None or "current_revision" not in said:
            check.unknown(where, "no entry created it")
            continue
        check.compare(where, row, said, ("state", "project_id", "current_revision", "kind"))
        if "audience" not in said:
            check.notes.leave("the audience of services whose entries do not tell it")
        elif said["audience"][0] not in (_parsed(row["audience"]), _digest(row["audience"])):
            check.notes.add(where, f"audience is not what entry {said['audience'][1]} says")
    check.missing("service", left, "current_revision")


def _revisions(check: _Check) -> None:
    left = dict(check.told.revisions)
    for row in check.rows("revision"):
        where, said = f"revision {row['id']}", left.pop(row["id"], None)
        if said is None:
            check.unknown(where, "no entry made it")
        else:
            check.compare(where, row, said, ("service_id", "number", "label"))
            check.same(where, "digest of the spec", _digest(row["spec"]), said["digest"])
    check.missing("revision", left, "digest")


def _raised(check: _Check) -> None:
    left = dict(check.told.raised)
    for row in check.rows("raised") if check.has("raised") else ():
        where, said = f"raise {row['id']}", left.pop(row["id"], None)
        if said is None:
            check.unknown(where, "no entry tells of it")
        else:
            check.compare(where, row, said, ("version_id", "label"))
    check.missing("raise", left, "label")


def _nodes(check: _Check) -> None:
    left = dict(check.told.nodes)
    for row in check.rows("node") if check.has("node") else ():
        where, said = f"node {row['id']}", left.pop(row["id"], None)
        if said is None:
            check.unknown(where, "no entry tells of it")
        else:
            check.compare(where, row, said, ("clearance", "by"))
    check.missing("node", left, "clearance")


def _leaves(check: _Check) -> None:
    left = dict(check.told.leaves)
    for row in check.rows("leave") if check.has("leave") else ():
        where, said = f"leave {row['id']}", left.pop(row["id"], None)
        if said is None or "label" not in said:
            check.unknown(where, "no entry gave it")
            continue
        check.compare(where, row, said, ("project_id", "label", "by"))
        check.same(where, "revoked", row["revoked"] is not None, said["revoked"])
    check.missing("leave", left, "label")


def _edges(check: _Check) -> None:
    """Lineage: what a Run read and a Revision answers from is bound exactly, what made a version as far as it is told."""
    expected = dict(_bound_edges(check))
    for row in check.rows("edge"):
        child, parent, role = edge = (row["child"], row["parent"], row["role"])
        where = f"edge {child} {role} {parent}"
        if expected.pop(edge, None) is not None:
            continue
        second = check.told.runs.get(parent, {}).get("state", ("", 0))[0] == "succeeded"
        if role in {"input", "answers-from", "lowered-from"} or (role == "made-by" and not second):
            check.unknown(where, "nothing that the ledger binds tells of it")
    for (child, parent, role), index in expected.items():
        check.notes.add(f"edge {child} {role} {parent}", f"is missing, though entry {index} tells of it")


def _bound_edges(check: _Check) -> Iterator[tuple[tuple[str, str, str], int]]:
    for version, (index, body) in check.told.versions.items():
        run = body.get("facts", {}).get("run")
        if run and body["kind"] == "version.published":
            yield (version, run, "made-by"), index
        before = body.get("facts", {}).get("lowered_from")
        if before:
            yield (version, before, "lowered-from"), index
    for revision, said in check.told.revisions.items():
        if said["artefact"][0]:
            yield (revision, said["artefact"][0], "answers-from"), said["artefact"][1]
    for key, spec in check.connection.execute("SELECT id, spec FROM run"):
        told = check.told.runs.get(key, {}).get("digest")
        # Only a spec that is whole says what was read; one that is not was named already.
        if told is not None and _digest(spec) == told[0]:
            for one in (_parsed(spec) or {}).get("inputs", {}).values():
                yield (key, one["version"], "input"), told[1]


def _witnesses(check: _Check) -> None:
    left = dict(check.told.witnesses)
    for row in check.rows("witness"):
        where = f"witness {row['name']}"
        said = left.pop("sha256:" + sha256(str(row["vkey"]).encode()).hexdigest(), None)
        if said is None:
            check.unknown(where, "no entry added its key")
        else:
            check.same(where, "size", row["size"] or 0, said["size"])
    for key, said in left.items():
        check.notes.add(f"witness with key {key}", f"its row is missing, though entry {said['size'][1]} tells of it")


def _parsed(text: Stored) -> Stored:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None


def _digest(text: Stored) -> str:
    """Digest of a column of canonical JSON."""
    return digest_bytes(text.encode("utf-8", "replace") if isinstance(text, str) else canonical_json(None))


def _shown(value: Stored) -> str:
    return f"'{value[:200]}'" if isinstance(value, str) else str(value)[:200]

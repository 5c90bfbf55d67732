"""All tables of a home, in one MetaData.

Times are seconds since 1970 (UTC). Labels stand in their canonical text form, JSON in its canonical encoding.
The table `entry(idx, data)` is a promise to outside verifiers: no other table's name contains `entr`.
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0008"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str, *, null: bool = False, key: bool = False, unique: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null, primary_key=key, unique=unique or None)


def _id(name: str, *, key: bool = False, null: bool = False, to: str | None = None) -> Column[str]:
    return Column(name, String(40), *([ForeignKey(to)] if to else []), primary_key=key, nullable=null)


def _time(name: str, *, null: bool = False) -> Column[float]:
    return Column(name, Float, nullable=null)


def _number(name: str, *, null: bool = False, default: str | None = None) -> Column[int]:
    return Column(name, Integer, nullable=null, server_default=default)


meta = Table("meta", metadata, _text("key", key=True), _text("value"))

# The ledger: an RFC 6962 tree in tlog-tiles layout.
entry = Table("entry", metadata, Column("idx", Integer, primary_key=True), Column("data", LargeBinary, nullable=False))
tile = Table(
    "tile",
    metadata,
    _number("level"),
    _number("n"),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("level", "n"),
)
checkpoint = Table("checkpoint", metadata, Column("size", Integer, primary_key=True), _text("note"))
witness = Table(
    "witness",
    metadata,
    _text("name", key=True),
    _text("vkey"),
    _number("size", null=True),
    _text("note", null=True),
    _time("added"),
)
salt = Table("salt", metadata, Column("id", Integer, primary_key=True), Column("salt", LargeBinary, nullable=False))

# Who asks.
project = Table(
    "project",
    metadata,
    _id("id", key=True),
    _text("name", unique=True),
    _text("title"),
    _text("label"),
    _time("created"),
    _text("clearance", null=True),
)
actor = Table(
    "actor",
    metadata,
    _id("id", key=True),
    _text("name", unique=True),
    _text("kind"),
    _text("title"),
    _text("clearance"),
    _time("created"),
    _time("disabled", null=True),
    _text("site_role", null=True),
)
member = Table(
    "member",
    metadata,
    _id("project_id", to="project.id"),
    _id("actor_id", to="actor.id"),
    _text("role"),
    PrimaryKeyConstraint("project_id", "actor_id"),
)
token = Table(
    "token",
    metadata,
    _id("id", key=True),
    _id("actor_id", to="actor.id"),
    _text("hash", unique=True),
    _text("kind"),
    _id("project_id", null=True, to="project.id"),
    _text("name"),
    _text("scopes"),
    _time("created"),
    _time("expires"),
    _time("last_used", null=True),
    _time("revoked", null=True),
    _id("run_id", null=True),
    _text("max_label", null=True),
    _text("way", null=True),
    _text("agent", null=True),
    _time("proved", null=True),
    _text("bounds", null=True),
    Index(None, "actor_id"),
)
credential = Table(
    "credential",
    metadata,
    _id("id", key=True),
    _id("actor_id", to="actor.id"),
    _text("kind"),
    _text("name"),
    _text("lookup", null=True, unique=True),
    _text("data"),
    _number("counter", default="0"),
    _time("created"),
    _time("last_used", null=True),
    Index(None, "actor_id", "kind"),
)

# What there is.
source = Table(
    "source",
    metadata,
    _id("id", key=True),
    _id("project_id", to="project.id"),
    _text("name"),
    _text("title"),
    _text("licence", null=True),
    _time("created"),
    UniqueConstraint("project_id", "name"),
)
thing = Table(
    "thing",
    metadata,
    _id("id", key=True),
    _id("project_id", to="project.id"),
    _text("kind"),
    _text("name"),
    _text("title"),
    _time("created"),
    UniqueConstraint("project_id", "kind", "name"),
)
version = Table(
    "version",
    metadata,
    _id("id", key=True),
    _id("thing_id", null=True, to="thing.id"),
    _id("source_id", null=True, to="source.id"),
    _number("number"),
    _text("digest"),
    _text("manifest_digest"),
    _text("label"),
    _id("run_id", null=True),
    _number("bytes"),
    _time("created"),
    _text("summary"),
    UniqueConstraint("thing_id", "number"),
    UniqueConstraint("source_id", "number"),
    Index(None, "digest"),
)
source_file = Table(
    "source_file",
    metadata,
    _id("version_id", to="version.id"),
    _text("path"),
    _text("digest"),
    _number("bytes"),
    _text("label"),
    _text("valid_from", null=True),
    _text("valid_until", null=True),
    _text("office", null=True),
    PrimaryKeyConstraint("version_id", "path"),
)
edge = Table(
    "edge",
    metadata,
    _id("child"),
    _id("parent"),
    _text("role"),
    PrimaryKeyConstraint("child", "parent", "role"),
    Index(None, "parent"),
)

# Labels that changed. A version's own label never does: what was raised stands beside it, what was lowered is another
# version of the same bytes.
raised = Table(
    "raised",
    metadata,
    _id("id", key=True),
    _id("version_id", to="version.id"),
    _text("label"),
    _id("cause"),
    _text("reason"),
    _id("actor_id"),
    _time("created"),
    Index(None, "version_id"),
)
lowering = Table(
    "lowering",
    metadata,
    _id("id", key=True),
    _id("project_id", to="project.id"),
    _id("version_id", to="version.id"),
    _text("digest"),
    _text("manifest_digest"),
    _text("source_label"),
    _text("target_label"),
    _text("reason"),
    _id("actor_id"),
    _time("created"),
    _time("expires"),
    _text("state"),
    _id("made_version", null=True),
    Index(None, "project_id", "state"),
    Index(None, "made_version"),
)
approval = Table(
    "approval",
    metadata,
    _id("lowering_id", to="lowering.id"),
    _id("actor_id", to="actor.id"),
    _text("verdict"),
    _text("way"),
    _text("signed"),
    _text("signature"),
    _time("created"),
    PrimaryKeyConstraint("lowering_id", "actor_id"),
)
approval_key = Table(
    "approval_key",
    metadata,
    _id("id", key=True),
    _id("actor_id", to="actor.id"),
    _text("public"),
    _time("created"),
    _time("revoked", null=True),
    Index(None, "actor_id"),
)

# Work.
run = Table(
    "run",
    metadata,
    _id("id", key=True),
    _id("project_id", to="project.id"),
    _id("actor_id", to="actor.id"),
    _text("kind"),
    _text("name"),
    _text("state"),
    _text("label"),
    _text("spec"),
    _text("memo_key"),
    _time("created"),
    _time("started", null=True),
    _time("ended", null=True),
    _number("attempts", default="0"),
    _number("max_attempts", default="3"),
    _number("priority", default="0"),
    _time("cancel_asked", null=True),
    _text("error", null=True),
    _text("outputs", null=True),
    _text("progress", null=True),
    _time("retry_at", null=True),
    Index(None, "state", "priority", "created"),
    Index(None, "project_id", "memo_key"),
    Index(None, "project_id", "id"),
)
attempt = Table(
    "attempt",
    metadata,
    _id("id", key=True),
    _id("run_id", to="run.id"),
    _number("number"),
    _text("worker"),
    _text("state"),
    _text("lease_token", unique=True),
    _time("lease_expires"),
    _time("started"),
    _time("ended", null=True),
    _number("exit_code", null=True),
    _text("reason", null=True),
    _text("sandbox", null=True),
    _text("token_hash", null=True),
    _number("points", default="0"),
    Index(None, "run_id"),
    Index(None, "state", "lease_expires"),
    Index(None, "token_hash", unique=True),
)
provenance = Table(
    "provenance",
    metadata,
    _id("run_id", key=True, to="run.id"),
    _text("digest"),
    _text("envelope"),
)

# Where it runs, and where it may reach.
node = Table(
    "node",
    metadata,
    _id("id", key=True),
    _text("name", unique=True),
    _text("clearance", null=True),
    _id("by"),
    _time("changed"),
)
leave = Table(
    "leave",
    metadata,
    _id("id", key=True),
    _id("project_id", to="project.id"),
    _text("target"),
    _text("label"),
    _id("by"),
    _time("created"),
    _time("revoked", null=True),
    Index(None, "project_id"),
)

# What answers.
service = Table(
    "service",
    metadata,
    _id("id", key=True),
    _id("project_id", to="project.id"),
    _text("kind"),
    _text("name"),
    _text("title"),
    _text("state"),
    _text("audience"),
    _time("created"),
    _id("current_revision", null=True),
    *(_number(name, null=True) for name in ("least_replicas", "most_replicas", "wanted_replicas")),
    Column("idle_seconds", Float, nullable=True),
    _id("next_revision", null=True),
    _time("proposed", null=True),
    _text("trouble", null=True),
    _id("by", null=True),
    UniqueConstraint("project_id", "name"),
)
revision = Table(
    "revision",
    metadata,
    _id("id", key=True),
    _id("service_id", to="service.id"),
    _number("number"),
    _text("spec"),
    _text("label"),
    _time("created"),
    UniqueConstraint("service_id", "number"),
)
replica = Table(
    "replica",
    metadata,
    _id("id", key=True),
    _id("service_id", to="service.id"),
    _id("revision_id"),
    _id("run_id", null=True),
    _text("socket"),
    _text("state"),
    _time("since"),
    _time("made"),
    *(_number(name, default="0") for name in ("failed", "served")),
    _text("reason", null=True),
    Index(None, "service_id", "state"),
)
answer = Table(
    "answer",
    metadata,
    _id("id", key=True),
    _id("service_id", to="service.id"),
    _id("revision_id"),
    _id("project_id", to="project.id"),
    _text("actor_id"),
    _time("created"),
    _text("outcome"),
    _text("question"),
    _text("language"),
    _text("label"),
    _text("answer"),
    _text("citations"),
    Column("ms", Float, nullable=False),
    _text("receipt_digest"),
    Index(None, "service_id", "id"),
)
usage = Table(
    "usage",
    metadata,
    _text("day"),
    _id("project_id", to="project.id"),
    _id("service_id"),
    _text("key_id"),
    _number("requests"),
    _number("tokens_in"),
    _number("tokens_out"),
    Column("ms", Float, nullable=False),
    PrimaryKeyConstraint("day", "project_id", "service_id", "key_id"),
)

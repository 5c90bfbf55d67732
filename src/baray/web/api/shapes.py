"""The JSON shapes of the API: what goes out, and the pydantic models of what comes in."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import Row

from baray.catalog import VersionRow
from baray.core import iso_time

MAX_NUMBER = 1 << 53
"""Greatest number in a request: what JSON readers keep exactly (RFC 8259, section 6), and less than a database holds."""


class Body(BaseModel):
    """A request body: unknown fields are refused, so that a typing error is not silently ignored."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def check_text(cls, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Refuse half of a surrogate pair: JSON can spell it, no file and no database can hold it."""
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("is not text: it holds half of a surrogate pair") from error
        return value


class FileBody(Body):
    """A file of a Source."""

    path: str = Field(max_length=1024)
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    bytes: int = Field(ge=0, le=MAX_NUMBER)


class DigestsBody(Body):
    """Digests to look for."""

    digests: list[str] = Field(max_length=100_000)


class SourceBody(Body):
    """A Source to add."""

    name: str
    title: str = ""
    label: str = ""
    licence: str | None = None
    files: list[FileBody] = Field(max_length=200_000)


class BuildBody(Body):
    """A Dataset to build."""

    name: str
    recipe: str = "text"
    source: str = ""
    dataset: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    label: str = ""
    expect_label: str = ""
    memory: str = "2GB"
    time: str = "24h"
    cpus: int = Field(default=0, ge=0, le=1024)


class IndexBody(Body):
    """An Index to build."""

    name: str
    dataset: str
    options: dict[str, Any] = Field(default_factory=dict)


class TrainBody(Body):
    """A Model to train."""

    name: str
    recipe: str
    dataset: str = ""
    source: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    expect_label: str = ""
    cpus: int = Field(default=0, ge=0, le=1024)
    memory: str = "2GB"
    time: str = "24h"
    nodes: int = Field(default=1, ge=1, le=10_000)


class RunBody(Body):
    """A command to run in the sandbox."""

    command: list[str] = Field(min_length=1, max_length=1000)
    name: str = ""
    cpus: int = Field(default=1, ge=1, le=1024)
    memory: str = "1GB"
    time: str = "1h"
    priority: int = Field(default=0, ge=-100, le=100)
    inputs: list[str] = Field(default_factory=list, max_length=100)
    outputs: list[str] = Field(default_factory=list, max_length=100)
    after: list[str] = Field(default_factory=list, max_length=100)
    allow_egress: list[str] = Field(default_factory=list, max_length=100)
    disk: str = "10GB"
    max_attempts: int = Field(default=1, ge=1, le=10)
    expect_label: str = ""


REPLICAS = "^([0-9]{1,2}:[0-9]{1,2})?$"
"""MIN:MAX; empty keeps what there is."""


class ServiceBody(Body):
    """A Service to make or to revise."""

    name: str
    kind: str = Field(pattern="^(desk|model)$")
    index: str = ""
    model: str = ""
    audience: list[str] = Field(default_factory=lambda: ["project"], max_length=1000)
    title: str = ""
    office: str = Field(default="", max_length=500)
    examples: list[str] = Field(default_factory=list, max_length=5)
    engine: str = "auto"
    replicas: str = Field(default="", pattern=REPLICAS)
    idle_seconds: float | None = Field(default=None, gt=0, le=86_400 * 365)


class ScaleBody(Body):
    """How many Replicas a Service may have."""

    replicas: str = Field(pattern="^[0-9]{1,2}:[0-9]{1,2}$")


class RollbackBody(Body):
    """The Revision to go back to."""

    revision: int = Field(ge=1, lt=1 << 31)


class AskBody(Body):
    """A question."""

    question: str = Field(min_length=1, max_length=4000)
    as_: str = Field(default="", alias="as")
    language: str = ""


class TokenBody(Body):
    """A token to make."""

    name: str = Field(max_length=200)
    expires: str = "30d"
    actor: str = ""
    scopes: list[str] = Field(default_factory=list, max_length=4)
    max_label: str = ""
    services: list[str] = Field(default_factory=list, max_length=100)
    requests_per_minute: int = 0
    tokens_per_day: int = 0


class ProjectBody(Body):
    """A project to make."""

    name: str
    title: str = ""
    label: str = "internal"


class MemberBody(Body):
    """A role to give; an empty role takes it away."""

    actor: str
    role: str = ""


class ActorBody(Body):
    """An actor to make."""

    name: str
    kind: str = Field(default="person", pattern="^(person|service)$")
    clearance: str = "internal"
    role: str = ""


class InvitationBody(Body):
    """Somebody to invite: an account with a role here, and a one-time link to come in."""

    name: str
    clearance: str = "internal"
    role: str = "member"


class SiteRoleBody(Body):
    """A role on the whole home; an empty one takes it away."""

    role: str = ""


class ClearanceBody(Body):
    """What somebody may read from now on."""

    clearance: str = Field(max_length=1000)


class WitnessBody(Body):
    """A witness to trust."""

    name: str = Field(min_length=1, max_length=200)
    vkey: str = Field(min_length=1, max_length=1000)


class CosignBody(Body):
    """A witness's answer."""

    note: str = Field(min_length=1, max_length=100_000)


class LabelBody(Body):
    """A label to raise."""

    ref: str = Field(max_length=200)
    to: str = Field(max_length=1000)
    reason: str = Field(default="", max_length=2000)


class LowerBody(LabelBody):
    """A label to ask to be lowered."""


class WordBody(Body):
    """One person's signed word on a request."""

    verdict: str = Field(pattern="^(approve|refuse)$")
    signature: str = Field(max_length=4000)


class VerdictBody(Body):
    """A word that is to be signed."""

    verdict: str = Field(pattern="^(approve|refuse)$")


class PasskeyWordBody(VerdictBody):
    """A word that a passkey signed."""

    flow: str = Field(max_length=100)
    credential: dict[str, Any]


class KeyBody(Body):
    """A public key to sign approvals with."""

    public: str = Field(max_length=200)


class ProjectLabelBody(Body):
    """What a project may hold at most; an empty label takes the limit away."""

    label: str = Field(default="", max_length=1000)


class NodeLabelBody(Body):
    """What a machine may hold at most; an empty label takes the limit away. Runs above it there go on, or are cancelled."""

    label: str = Field(max_length=1000)
    running: str = Field(default="go-on", pattern="^(go-on|cancel)$")


class LeaveBody(Body):
    """A target outside that commands may reach, and the highest label of a Run that may."""

    target: str = Field(max_length=300)
    up_to: str = Field(default="internal", max_length=1000)


class TargetBody(Body):
    """A target whose leave is taken back."""

    target: str = Field(max_length=300)


def version_json(row: VersionRow) -> dict[str, Any]:
    """A version as lists show it."""
    shown = asdict(row) | {"created": iso_time(row.created), "run": row.run_id}
    del shown["run_id"], shown["project_id"]
    return shown


def token_json(row: Row[Any]) -> dict[str, Any]:
    """A token without its secret."""
    shown = {"id": row.id, "name": row.name, "kind": row.kind, "created": iso_time(row.created)}
    shown |= {"expires": iso_time(row.expires), "revoked": row.revoked is not None}
    shown |= {"scopes": json.loads(row.scopes), "max_label": row.max_label}
    shown |= {"bounds": json.loads(row.bounds) if row.bounds else None}
    return shown | {"last_used": iso_time(row.last_used) if row.last_used else None}


def session_json(row: Row[Any]) -> dict[str, Any]:
    """A session without its secret."""
    shown = {"id": row.id, "way": row.way, "agent": row.agent, "created": iso_time(row.created)}
    return shown | {"last_used": iso_time(row.last_used or row.created), "expires": iso_time(row.expires)}

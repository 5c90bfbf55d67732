"""Who asks, as whom, and whether they may: decided on the snapshot, before anything is looked up or ranked.

What is covered: a Service that the asker may not ask looks like one that does not exist, in status, body and work done.
What is not: how often somebody asks.
"""

from __future__ import annotations

from dataclasses import dataclass

from baray.access import PUBLIC_ACTOR, Actor, Decision, Subject, decide, hash_secret, may_read
from baray.core import NotFound, Refused
from baray.serve.router.snapshot import Route, Snapshot

CONTROL_KEY = "control"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """An authenticated request."""

    key_id: str
    """The token's id, or `public`, or `control`."""
    caller: Actor
    """Who sent it: stands in the receipt."""
    actor: Actor
    """As whom it is answered: decides what is seen."""


PUBLIC_ASKER = Asker(key_id="public", caller=PUBLIC_ACTOR, actor=PUBLIC_ACTOR)


def identify(snapshot: Snapshot, authorization: str | None, now: float) -> Asker:
    """The asker of an Authorization header; without one, the public. Raises Refused `bad_token` (401)."""
    if authorization is None:
        return PUBLIC_ASKER
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() == "bearer":
        hashed = hash_secret(secret.strip())
        if snapshot.control and hashed == snapshot.control:
            return Asker(key_id=CONTROL_KEY, caller=PUBLIC_ACTOR, actor=PUBLIC_ACTOR)
        token = snapshot.tokens.get(hashed)
        if token is not None and token.expires > now:
            return Asker(key_id=token.key_id, caller=token.actor, actor=token.actor)
    raise Refused(
        "bad_token",
        "The token is not valid: mistyped, expired or revoked.",
        fix="Send 'Authorization: Bearer bry_...' with a token of 'baray token create', or send none to ask as the public.",
        status=401,
    )


def ask_as(snapshot: Snapshot, asker: Asker, name: str | None, project_id: str) -> Asker:
    """The same request, answered as the actor called `name`: as the public by anyone, as another by owners.

    Raises Refused `may_not_impersonate` (403) and, for owners, NotFound.
    """
    if name is None or name == asker.actor.name:
        return asker
    if name == PUBLIC_ACTOR.name:
        return Asker(key_id=asker.key_id, caller=asker.caller, actor=PUBLIC_ACTOR)
    by_control = asker.key_id == CONTROL_KEY
    if not by_control and not _is_owner(asker.caller, project_id):
        raise Refused(
            "may_not_impersonate",
            f"{asker.caller.name} may not ask as {name}.",
            fix="Ask as yourself or as 'public'; an owner of the project may ask as others.",
            status=403,
        )
    actor = snapshot.actors.get(name)
    if actor is None:
        raise NotFound("actor", name, fix="See who there is: baray user list")
    # Control has decided who asks: the receipt then names that actor and not control.
    return Asker(key_id=asker.key_id, caller=actor if by_control else asker.caller, actor=actor)


def sees_everything(asker: Asker) -> bool:
    """Whether the asker may read about all Services: control alone, as those of every project and label are among them."""
    return asker.key_id == CONTROL_KEY


def may_ask(actor: Actor, route: Route, caller: Actor | None = None) -> Decision:
    """Whether `actor` may ask this Service at all: its audience first, then a model's label.

    `caller` is who asks in the actor's place: a model tells nobody what they could not ask it as themselves.
    """
    if not _in_audience(actor, route):
        return Decision(allowed=False, rule="audience")
    # A desk is gated per Document, so the Service itself has no label to meet.
    if route.kind != "desk" and not all(may_read(one, route.label) for one in (actor, caller or actor)):
        return Decision(allowed=False, rule="clearance")
    return Decision(allowed=True, rule="allowed")


def find_route(snapshot: Snapshot, name: str, kind: str) -> Route | None:
    """The Service `NAME` (of the default project) or `PROJECT/NAME` of a kind, whoever asks.

    A bare name never looks into other projects: what is hidden there must not decide what it means.
    """
    project, slash, bare = name.rpartition("/")
    wanted = (project if slash else snapshot.default_project, bare, kind)
    return next((route for route in snapshot.routes if (route.project, route.name, route.kind) == wanted), None)


def _in_audience(actor: Actor, route: Route) -> bool:
    if "public" in route.audience:
        return True
    if actor.id == PUBLIC_ACTOR.id:
        return False
    if actor.name in route.audience or _is_owner(actor, route.project_id):
        return True
    return "project" in route.audience and route.project_id in actor.roles


def _is_owner(actor: Actor, project_id: str) -> bool:
    subject = Subject(ref="service:any", project=project_id, label=PUBLIC_ACTOR.clearance)
    return decide(actor, "impersonate", subject).allowed

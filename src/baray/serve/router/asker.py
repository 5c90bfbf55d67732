"""Who asks, as whom, and whether they may: decided on the snapshot, before anything is looked up or ranked.

What is covered: a Service that the asker may not ask looks like one that does not exist, in status, body and work done.
How often a key may ask is counted in `quotas`. Not covered: how often the public asks from one address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from baray.access import PUBLIC_ACTOR, UNBOUNDED, Actor, Bounds, Decision, Subject, decide, hash_secret, may_read
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
    bounds: Bounds = UNBOUNDED
    """Which Services the key asks and how much."""
    by_control: bool = False
    """Whether control sent it, on behalf of somebody."""


PUBLIC_ASKER = Asker(key_id="public", caller=PUBLIC_ACTOR, actor=PUBLIC_ACTOR)


def identify(snapshot: Snapshot, headers: Mapping[str, str], now: float) -> Asker:
    """The asker of a request's headers; without a token, the public. Raises Refused `bad_token` (401).

    Control says in X-Baray-Key by which key it was itself asked: that key's bounds and usage are meant.
    """
    authorization = headers.get("authorization")
    if authorization is None:
        return PUBLIC_ASKER
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() == "bearer":
        hashed = hash_secret(secret.strip())
        if snapshot.control and hashed == snapshot.control:
            by = snapshot.keys.get(headers.get("x-baray-key", ""))
            key_id, bounds = (by.key_id, by.bounds) if by else (CONTROL_KEY, UNBOUNDED)
            return replace(PUBLIC_ASKER, key_id=key_id, bounds=bounds, by_control=True)
        token = snapshot.tokens.get(hashed)
        if token is not None and token.expires > now:
            return Asker(key_id=token.key_id, caller=token.actor, actor=token.actor, bounds=token.bounds)
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
        return replace(asker, actor=PUBLIC_ACTOR)
    if not asker.by_control and not _is_owner(asker.caller, project_id):
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
    return replace(asker, caller=actor if asker.by_control else asker.caller, actor=actor)


def sees_everything(asker: Asker) -> bool:
    """Whether the asker may read about all Services: control alone, as those of every project and label are among them."""
    return asker.by_control


def may_ask(asker: Asker, route: Route) -> Decision:
    """Whether this Service is asked at all: the key's bounds, its audience, then a model's label.

    A model tells nobody who asks in another's place what they could not ask it as themselves.
    """
    actor = asker.actor
    if not asker.bounds.covers(route.full_name):
        return Decision(allowed=False, rule="key")
    if not _in_audience(actor, route):
        return Decision(allowed=False, rule="audience")
    # A desk is gated per Document, so the Service itself has no label to meet.
    if route.kind != "desk" and not all(may_read(one, route.label) for one in (actor, asker.caller)):
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

"""Who asks (identity), what may flow where (labels), whether they may (policy).

Owns: actors, projects, roles, tokens, sessions, labels, decisions.
Does not own: what an action does; a caller loads the row and passes what the decision needs.
"""

from baray.access.identity import (
    DEFAULT_PROJECT,
    LINK_SECONDS,
    MAX_TOKEN_SECONDS,
    OPERATOR,
    SESSION_SECONDS,
    TokenRequest,
    authenticate,
    bootstrap,
    create_actor,
    create_project,
    create_token,
    disable_actor,
    load_actor,
    redeem_link,
    require,
    revoke_token,
    set_member,
)
from baray.access.labels import INTERNAL, LEVELS, PUBLIC, TOP, Label, cleared, flows, join, parse_label
from baray.access.policy import ACTIONS, PUBLIC_ACTOR, ROLES, Actor, Decision, Subject, decide, refusal
from baray.access.records import (
    actor_by_id,
    actor_named,
    actors,
    live_tokens,
    members,
    project_by_id,
    project_named,
    projects,
    tokens_of,
)
from baray.access.site import Site
from baray.access.tokens import hash_secret, well_formed

__all__ = [
    "ACTIONS",
    "DEFAULT_PROJECT",
    "INTERNAL",
    "LEVELS",
    "LINK_SECONDS",
    "MAX_TOKEN_SECONDS",
    "OPERATOR",
    "PUBLIC",
    "PUBLIC_ACTOR",
    "ROLES",
    "SESSION_SECONDS",
    "TOP",
    "Actor",
    "Decision",
    "Label",
    "Site",
    "Subject",
    "TokenRequest",
    "actor_by_id",
    "actor_named",
    "actors",
    "authenticate",
    "bootstrap",
    "cleared",
    "create_actor",
    "create_project",
    "create_token",
    "decide",
    "disable_actor",
    "flows",
    "hash_secret",
    "join",
    "live_tokens",
    "load_actor",
    "members",
    "parse_label",
    "project_by_id",
    "project_named",
    "projects",
    "redeem_link",
    "refusal",
    "require",
    "revoke_token",
    "set_member",
    "tokens_of",
    "well_formed",
]

"""Actors, tokens, projects: `user`, `token`, `key`, `project`, `whoami`, `login`."""

from __future__ import annotations

import click

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.output import fields, table
from baray.client.sdk.transport import Json
from baray.core import Refused, check_name, parse_seconds

_ROLES = ("viewer", "member", "steward", "owner")


def _whoami(cli: Cli) -> None:
    document = cli.client.get("whoami")
    keys = ("name", "kind", "clearance", "project", "role", "projects")
    cli.screen.show(document, lambda: fields((key, document.get(key)) for key in keys))


def _login(cli: Cli) -> None:
    link = cli.client.post("login-links")
    cli.screen.show(link, lambda: [cli.screen.tr("Open this once, within 15 minutes:"), f"  {link['url']}"])


def _token_create(cli: Cli, name: str, expires: str, actor: str, scope: tuple[str, ...], max_label: str) -> None:
    more: Json = {"scopes": list(scope), "max_label": max_label} | ({"actor": actor} if actor else {})
    _show_secret(cli, _make_token(cli, name, expires=expires, more=more))


def _key_create(  # one parameter each option
    cli: Cli, name: str, expires: str, clearance: str, service: tuple[str, ...], rate: int, tokens: int
) -> None:
    project = cli.client.get("whoami")["project"]
    for one in service:
        if "/" not in one:
            cli.client.get(f"services/{one}")  # a name that is mistyped would make a key that opens nothing
    services = [one if "/" in one else f"{project}/{one}" for one in service]
    body: Json = {"name": check_name(name), "kind": "service", "clearance": clearance, "role": "viewer"}
    cli.client.post("users", body)
    asking: Json = {"actor": name, "scopes": ["ask"], "services": services}
    asking |= {"requests_per_minute": rate, "tokens_per_day": tokens}
    _show_secret(cli, {**_make_token(cli, name, expires=expires, more=asking), "actor": name})


def _make_token(cli: Cli, name: str, *, expires: str, more: Json) -> Json:
    parse_seconds(expires)
    return cli.client.post("tokens", {"name": name, "expires": expires, **more})


def _show_secret(cli: Cli, token: Json) -> None:
    cli.screen.say("This is shown only now: keep it.")
    cli.screen.show(token, lambda: [token["token"]])


def _token_list(cli: Cli) -> None:
    page = cli.client.get("tokens")
    heads = ("id", "name", "kind", "scopes", "created", "expires", "revoked")
    for row in page["items"]:
        row["scopes"] = " ".join(row["scopes"])
    cli.screen.show(page, lambda: table(heads, [[row.get(head, "") for head in heads] for row in page["items"]]))


def _key_list(cli: Cli) -> None:
    page = cli.client.get("tokens", of="keys")
    heads = ("id", "actor", "services", "requests/min", "tokens/day", "created", "expires", "revoked")
    rows = []
    for row in page["items"]:
        bounds = row["bounds"] or {"services": None, "requests_per_minute": 0, "tokens_per_day": 0}
        limits = [bounds["requests_per_minute"] or "", bounds["tokens_per_day"] or ""]
        dates = [row["created"], row["expires"], row["revoked"]]
        rows.append([row["id"], row["actor"], " ".join(bounds["services"] or ["all"]), *limits, *dates])
    cli.screen.show(page, lambda: table(heads, rows))


def _token_revoke(cli: Cli, token: str) -> None:
    document = cli.client.delete(f"tokens/{token}")
    cli.screen.show(document, lambda: [f"Revoked {token}."])


def _project_create(cli: Cli, name: str, title: str, label: str) -> None:
    document = cli.client.post("projects", {"name": check_name(name), "title": title, "label": label})
    cli.screen.show(document, lambda: [f"Created project {name}: baray ... --project {name}"])


def _project_list(cli: Cli) -> None:
    page = cli.client.get("projects")
    heads = ("name", "title", "label", "role")
    cli.screen.show(page, lambda: table(heads, [[row.get(head, "") for head in heads] for row in page["items"]]))


def _project_show(cli: Cli, name: str) -> None:
    found = [row for row in cli.client.get("projects")["items"] if row["name"] == name]
    if not found:
        raise Refused("not_found", f"There is no project '{name}'.", fix="See yours: baray project list", status=404)
    members = cli.client.get(f"projects/{name}/members")["items"]
    heads = ("name", "kind", "clearance", "role")

    def lines() -> list[str]:
        facts = fields((key, found[0].get(key)) for key in ("name", "title", "label"))
        return [*facts, "", *table(heads, [[row.get(head, "") for head in heads] for row in members])]

    cli.screen.show({**found[0], "members": members}, lines)


def _member_add(cli: Cli, actor: str, role: str, project: str | None) -> None:
    name = project or cli.project or str(cli.client.get("whoami")["project"])
    document = cli.client.post(f"projects/{name}/members", {"actor": actor, "role": role}, repeatable=True)
    cli.screen.show(document, lambda: [f"{actor} is {role} of {name}."])


def _user_create(cli: Cli, name: str, kind: str, clearance: str, role: str) -> None:
    body = {"name": check_name(name), "kind": kind, "clearance": clearance, "role": role}
    document = cli.client.post("users", body)
    fix = f"baray token create {name}-first --for {name}"
    cli.screen.show(document, lambda: [f"Created {name} ({clearance}). A token for them: {fix}"])


def _user_list(cli: Cli) -> None:
    page = cli.client.get("users")
    heads = ("name", "kind", "clearance", "site_role", "created", "disabled")
    cli.screen.show(page, lambda: table(heads, [[row.get(head, "") for head in heads] for row in page["items"]]))


def _user_disable(cli: Cli, name: str) -> None:
    document = cli.client.post(f"users/{name}/disable", repeatable=True)
    cli.screen.show(document, lambda: [f"{name} can no longer come in."])


def _user_invite(cli: Cli, name: str, role: str, clearance: str, again: bool) -> None:
    if again:
        made = cli.client.post(f"users/{name}/invite")
    else:
        body: Json = {"name": check_name(name), "role": role, "clearance": clearance}
        made = cli.client.post("invitations", body)
    cli.screen.say("This is shown only now: hand it to them yourself. It works once, for seven days.")
    cli.screen.show(made, lambda: [made["url"]])


def _user_role(cli: Cli, name: str, role: str) -> None:
    given = "" if role == "none" else role
    document = cli.client.post(f"users/{name}/role", {"role": given}, repeatable=True)
    cli.screen.show(document, lambda: [f"{name} is {role} of this home." if given else f"{name} has no role on it."])


def _user_clear(cli: Cli, name: str, clearance: str) -> None:
    done = cli.client.post(f"users/{name}/clearance", {"clearance": clearance}, repeatable=True)
    lines = [f"{name} is cleared for {clearance}."]
    if done["ended"]:
        lines.append(f"Their sessions and tokens ended ({done['ended']}): they sign in again in their own way.")
    cli.screen.show(done, lambda: lines)


def _user_sessions(cli: Cli) -> None:
    page = cli.client.get("sessions", of="all")
    heads = ("id", "actor", "way", "created", "last_used", "agent")
    cli.screen.show(page, lambda: table(heads, [[row.get(head) or "" for head in heads] for row in page["items"]]))


_EXPIRES = option("--expires", default="30d", metavar="30d", help="Valid for this long.")
_CLEARANCE = option("--clearance", default="internal", metavar="LABEL", help="What they may read.")
_ROLE = click.Choice(_ROLES)

WHOAMI = Leaf(run=_whoami, example="baray whoami")
LOGIN = Leaf(run=_login, example="baray login")
TOKEN_CREATE = Leaf(
    run=_token_create,
    params=(
        argument("name"),
        _EXPIRES,
        option("--for", "actor", default="", metavar="ACTOR", help="For somebody else."),
        option(
            "--scope",
            type=click.Choice(["read", "ask", "run", "admin"]),
            multiple=True,
            help="What it may do; repeatable; without it everything.",
        ),
        option("--max-label", default="", metavar="LABEL", help="It reads nothing above this label."),
    ),
    example="baray token create laptop --expires 90d --scope read --scope run",
)
TOKEN_LIST = Leaf(run=_token_list, example="baray token list")
TOKEN_REVOKE = Leaf(run=_token_revoke, params=(argument("token", metavar="ID"),), example="baray token revoke k_01...")
KEY_CREATE = Leaf(
    run=_key_create,
    params=(
        argument("name"),
        _EXPIRES,
        option("--clearance", default="public", metavar="LABEL", help="What the program may be told."),
        option("--service", multiple=True, metavar="NAME", help="It asks only these; repeatable; without it all."),
        option("--requests-per-minute", "rate", default=0, help="Refuse more; 0: no limit."),
        option("--tokens-per-day", "tokens", default=0, help="Refuse more, of prompts and completions; 0: no limit."),
    ),
    example="baray key create website --service counter --requests-per-minute 60 --expires 90d",
)
KEY_LIST = Leaf(run=_key_list, example="baray key list")
PROJECT_CREATE = Leaf(
    run=_project_create,
    params=(
        argument("name"),
        option("--title", default="", help="Title in any script."),
        option("--label", default="internal", metavar="LABEL", help="Label of new things in it."),
    ),
    example="baray project create health --title សុខាភិបាល",
)
PROJECT_LIST = Leaf(run=_project_list, example="baray project list")
PROJECT_SHOW = Leaf(run=_project_show, params=(argument("name"),), example="baray project show main")
MEMBER_ADD = Leaf(
    run=_member_add,
    params=(
        argument("actor"),
        argument("role", type=_ROLE),
        option("--in", "project", metavar="PROJECT", help="Which project."),
    ),
    example="baray project member add dara member",
)
USER_CREATE = Leaf(
    run=_user_create,
    params=(
        argument("name"),
        option("--kind", type=click.Choice(["person", "service"]), default="person", help="A person or a program."),
        _CLEARANCE,
        option("--role", type=_ROLE, default="viewer", help="Role in the project."),
    ),
    example="baray user create dara --clearance internal --role member",
)
USER_LIST = Leaf(run=_user_list, example="baray user list")
USER_DISABLE = Leaf(run=_user_disable, params=(argument("name"),), example="baray user disable dara")
USER_INVITE = Leaf(
    run=_user_invite,
    params=(
        argument("name"),
        option("--role", type=_ROLE, default="member", help="Role in the project."),
        _CLEARANCE,
        option("--again", is_flag=True, help="Another link for somebody who has an account."),
    ),
    example="baray user invite dara --role member --clearance internal",
)
USER_ROLE = Leaf(
    run=_user_role,
    params=(argument("name"), argument("role", type=click.Choice(["auditor", "operator", "none"]))),
    example="baray user role dara auditor",
)
USER_CLEAR = Leaf(
    run=_user_clear,
    params=(argument("name"), argument("clearance", metavar="LABEL")),
    example="baray user clear dara restricted:health",
)
USER_SESSIONS = Leaf(run=_user_sessions, example="baray user sessions")

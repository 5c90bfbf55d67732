"""Outside accounts: OpenID Connect, authorization code with PKCE (S256), state and nonce.

Who somebody is: the pair (issuer, subject), never an address or a name. What they may do: the roles that the settings' own
list gives their groups, viewer to steward; nobody becomes owner or operator by a claim.

What is covered: a provider's answer that was made up, changed, replayed, or meant for another; another provider's answer.
What is not: a provider that says what is not so about its own people.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from baray.access import Label, parse_label
from baray.core import BarayError, Clock, Refused
from baray.signin.pending import Pending

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
SKEW_SECONDS = 60.0
_KEY_TYPES = ("RSA", "EC", "OKP")
_MAX_BYTES = 256 * 1024
_MAX_TOKEN = 16 * 1024
_SECONDS = 10.0
_KEYS_SECONDS = 3600.0
ROLES = ("viewer", "member", "steward")
"""What a group may be given, from weakest to strongest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideSettings:
    """The provider, from the home's `signin.toml`."""

    issuer: str
    """Its address, exactly as it says itself in `iss`."""
    client_id: str
    """Our name there."""
    client_secret: str = ""
    """Our secret there; empty for a public client."""
    title: str = "Office account"
    """What the button says."""
    scope: str = "openid profile"
    """What is asked for."""
    create: bool = False
    """Whether somebody unknown gets an account."""
    clearance: Label = field(default_factory=Label)
    """What such an account may read."""
    groups_claim: str = "groups"
    """Which claim lists groups."""
    groups: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Group -> (project, role)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the provider says somebody is."""

    issuer: str
    """Who says so."""
    subject: str
    """Who it is there."""
    name: str
    """What they are called, for a new account only."""
    groups: tuple[str, ...]
    """Groups that the settings list."""
    authenticated: float
    """When they proved it there, seconds since 1970; 0 where it is not said."""


def read_outside(path: Path) -> OutsideSettings | None:
    """The `[outside]` part of a settings file; None without the file. Raises Refused `bad_setting`."""
    if not path.exists():
        return None
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get("outside")
        return None if found is None else _settings(found, path.parent)
    except (tomllib.TOMLDecodeError, TypeError, ValueError, KeyError, OSError, BarayError) as error:
        raise Refused("bad_setting", f"{path}: {error}", fix="See docs/operator.md, 'Outside accounts'.") from error


def _settings(found: dict[str, Any], folder: Path) -> OutsideSettings:
    values = dict(found)
    _check_address(values["issuer"], "issuer")
    secret_file = values.pop("client_secret_file", None)
    if secret_file:
        values["client_secret"] = (folder / secret_file).read_text(encoding="utf-8").strip()
    values["clearance"] = parse_label(values.get("clearance", "public"))
    groups = {}
    for group, given in values.pop("groups", {}).items():
        project, _, role = given.partition(":")
        if role not in ROLES:
            raise ValueError(f"group '{group}' is given '{given}': write PROJECT:ROLE, with one of {', '.join(ROLES)}")
        groups[group] = (project, role)
    return OutsideSettings(**values, groups=groups)


class Outside:
    """Speaks with one provider."""

    def __init__(self, settings: OutsideSettings, clock: Clock) -> None:
        """Nothing is fetched before somebody signs in."""
        self.settings = settings
        self._clock = clock
        self._found: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._keys_until = 0.0

    def begin(self, pending: Pending, *, redirect: str, purpose: str, actor_id: str = "") -> tuple[str, str]:
        """(address to send the browser to, state that the browser must bring back); `purpose`: sign-in, prove or link."""
        verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        begun = {"verifier": verifier, "nonce": nonce, "redirect": redirect, "purpose": purpose, "actor": actor_id}
        state = pending.begin("outside", begun)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {"response_type": "code", "client_id": self.settings.client_id, "redirect_uri": redirect}
        asked |= {"scope": self.settings.scope, "state": state, "nonce": nonce}
        asked |= {"code_challenge": challenge, "code_challenge_method": "S256"}
        if purpose == "prove":
            asked |= {"prompt": "login", "max_age": "0"}
        address = self._discover()["authorization_endpoint"]
        return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}", state

    def finish(self, pending: Pending, answer: dict[str, str]) -> tuple[Identity, dict[str, Any]]:
        """Who came back, and what was begun. Raises Refused `bad_outside` (401)."""
        begun = pending.take(answer.get("state", ""), "outside")
        if "iss" in answer and answer["iss"] != self.settings.issuer:  # RFC 9207: another provider's answer
            raise _bad("it comes from another provider")
        if answer.get("error") or not answer.get("code"):
            raise _bad("the provider did not let you in")
        asked = {"grant_type": "authorization_code", "code": answer["code"], "redirect_uri": begun["redirect"]}
        asked |= {"client_id": self.settings.client_id, "code_verifier": begun["verifier"]}
        if self.settings.client_secret:
            asked["client_secret"] = self.settings.client_secret
        given = self._fetch(self._discover()["token_endpoint"], urlencode(asked).encode())
        token = given.get("id_token")
        if not isinstance(token, str) or len(token) > _MAX_TOKEN:
            raise _bad("there is no token of a usable size in it")
        return self._identity(self._claims(token), begun["nonce"]), begun

    def _claims(self, token: str) -> dict[str, Any]:
        """A token's claims, if one of the provider's own public keys has signed it."""
        try:
            header = json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))
            if header.get("alg") not in ALGORITHMS:
                raise _bad("it is signed in a way that is not accepted")
            keys = self._key_set(header.get("kid"))
            return dict(jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims)
        except (JoseError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise _bad("its signature does not hold") from error

    def _identity(self, claims: dict[str, Any], nonce: str) -> Identity:
        """OpenID Connect Core, section 3.1.3.7."""
        now, settings = self._clock.now(), self.settings
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        subject = claims.get("sub")
        times: dict[str, Any] = {name: claims.get(name) for name in ("exp", "iat")}
        if claims.get("iss") != settings.issuer:
            raise _bad("another provider made it")
        if settings.client_id not in audiences or claims.get("azp", settings.client_id) != settings.client_id:
            raise _bad("it is meant for another")
        if len(audiences) > 1 and "azp" not in claims:
            raise _bad("it is meant for several")
        if not isinstance(claims.get("nonce"), str) or not secrets.compare_digest(
            claims["nonce"].encode(), nonce.encode()
        ):
            raise _bad("it answers another question")
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in times.values()):
            raise _bad("it says no times")
        if times["exp"] <= now - SKEW_SECONDS or times["iat"] > now + SKEW_SECONDS:
            raise _bad("it is too old, or of the future")
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise _bad("it says nobody")
        groups = claims.get(settings.groups_claim)
        known = (
            tuple(sorted(settings.groups.keys() & {g for g in groups if isinstance(g, str)}))
            if isinstance(groups, list)
            else ()
        )
        when = claims.get("auth_time")
        return Identity(
            issuer=settings.issuer,
            subject=subject,
            name=str(claims.get("preferred_username") or claims.get("name") or ""),
            groups=known,
            authenticated=float(when) if isinstance(when, int | float) else 0.0,
        )

    def _key_set(self, kid: object) -> KeySet:
        """The provider's keys; fetched again once where `kid` is none of them."""
        now = self._clock.monotonic()
        if self._keys is None or now > self._keys_until or not self._has(kid):
            published = self._fetch(self._discover()["jwks_uri"])
            if any(key.get("kty") not in _KEY_TYPES for key in published["keys"]):
                raise _bad("the provider publishes keys that are not public ones")
            self._keys = KeySet.import_key_set(cast("Any", published))
            self._keys_until = now + _KEYS_SECONDS
        if not self._has(kid):
            raise _bad("it is signed by an unknown key")
        return self._keys

    def _has(self, kid: object) -> bool:
        assert self._keys is not None
        return (kid is None and len(self._keys.keys) == 1) or any(key.kid == kid for key in self._keys.keys if kid)

    def _discover(self) -> dict[str, Any]:
        if not self._found:
            found = self._fetch(self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration")
            if found.get("issuer") != self.settings.issuer:
                raise _bad("it calls itself otherwise")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                _check_address(found.get(name), name)
            self._found = found
        return self._found

    def _fetch(self, address: str, body: bytes | None = None) -> dict[str, Any]:
        """A JSON object of at most 256 KiB within ten seconds, from exactly this address."""
        deadline = self._clock.monotonic() + _SECONDS
        opener = build_opener(_NoRedirect)
        opener.addheaders = [("Accept", "application/json")]
        data = b""
        try:
            with opener.open(address, body, timeout=_SECONDS / 2) as response:
                while chunk := response.read1(65536):
                    data += chunk
                    if len(data) > _MAX_BYTES or self._clock.monotonic() > deadline:
                        raise _bad("the provider's answer is too large or too slow")
            found = json.loads(data)
        except (OSError, ValueError) as error:  # URLError and HTTPError are OSErrors
            if isinstance(error, HTTPError):
                error.close()
            raise Refused(
                "outside_away",
                "The provider of outside accounts does not answer as it should.",
                fix="Sign in another way, or tell the operator.",
                status=502,
            ) from error
        if not isinstance(found, dict):
            raise _bad("the provider's answer is no object")
        return found


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _check_address(address: object, name: str) -> None:
    parts = urlsplit(str(address))
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        fix = "Tell the operator: the provider, or its settings in signin.toml, are wrong."
        raise Refused("bad_outside", f"The provider's {name} is not an https address.", fix=fix, status=502)


def _bad(why: str) -> Refused:
    message = f"The outside account's answer was refused: {why}."
    return Refused("bad_outside", message, fix="Begin again, or sign in another way.", status=401)

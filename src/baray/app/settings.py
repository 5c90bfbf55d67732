"""Settings of a deployment: read from the environment once, here."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from baray.core import Refused

SYSTEM_USER = "baray"
BEHIND = "BARAY_BEHIND"
"""Set by `up --detach` for the server that it starts; not a setting of people's."""


_LABEL = re.compile(r"(?:public|internal|restricted|secret)(?::[a-z0-9-]+(?:,[a-z0-9-]+)*)?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting, as the docs and `baray doctor` show it."""

    name: str
    """Environment variable."""
    help: str
    """What it does, with its unit and default."""


SETTINGS = (
    Setting(
        name="BARAY_HOME", help="Directory of the home; default /var/lib/baray for root, else ~/.local/share/baray."
    ),
    Setting(name="BARAY_SERVER", help="Address of a server to use instead of the embedded one of BARAY_HOME."),
    Setting(name="BARAY_TOKEN", help="Token for BARAY_SERVER."),
    Setting(name="BARAY_LANG", help="Language of help and errors: km or en; default en."),
    Setting(
        name="BARAY_UTC_OFFSET",
        help="Local time minus UTC in minutes: a document's last day ends at local midnight; default 420 (Cambodia).",
    ),
    Setting(
        name="BARAY_PUBLIC_URL",
        help="Address of the console as people reach it, such as https://baray.office.example: passkeys belong to its name.",
    ),
    Setting(
        name="BARAY_PROXY",
        help="With --behind-proxy, addresses whose X-Forwarded-For and -Proto are believed; default 127.0.0.1.",
    ),
    Setting(
        name="BARAY_SANDBOX_ALLOW_REDUCED",
        help="1: commands may run with reduced isolation where the whole sandbox is missing, for one project and labels "
        "up to internal; default 0.",
    ),
    Setting(
        name="BARAY_CLEARANCE",
        help="What this machine may hold at most, LEVEL[:CATEGORY,...]; default all. It can lower what an operator "
        "assigned with baray node clear, never raise it.",
    ),
    Setting(
        name="BARAY_BEHIND",
        help="Set by up --detach for the server that it starts: what that says goes to a log, so it prints no secret.",
    ),
    Setting(
        name="BARAY_ROUTER_WORKERS",
        help="Router processes that answer on the one port, where up is not told --router-workers; default 1.",
    ),
    Setting(name="BARAY_SLOTS", help="Attempts that run at once on this machine; default the number of its cores."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the host's commands need to know of the deployment."""

    home: Path
    """Directory of the home."""
    slots: int
    """Attempts that run at once on this machine, at least 1."""
    utc_offset_minutes: int
    """Local time minus UTC."""
    clearance: str
    """What this machine may hold at most; empty: everything."""
    allow_reduced: bool
    """Whether commands may run with reduced isolation where the whole sandbox is missing."""
    behind: bool
    """Whether this is the server that `up --detach` started: it speaks to a log file, where no secret may stand."""
    router_workers: int = 1
    """Router processes on the one port, at least 1."""
    public_url: str = ""
    """Address of the console as people reach it, without a slash at the end; empty: the one that is asked."""
    proxy: str = "127.0.0.1"
    """Addresses, with commas, whose forwarded headers are believed behind a proxy."""


def read_settings(home: Path | None = None) -> Settings:
    """Settings from the environment; `home` given on the command line wins."""
    default = Path("/var/lib/baray") if os.geteuid() == 0 else Path.home() / ".local/share/baray"
    chosen = home or Path(os.environ.get("BARAY_HOME") or default)
    return Settings(
        home=chosen.absolute(),
        slots=max(1, _whole_number("BARAY_SLOTS", os.cpu_count() or 1)),
        clearance=_clearance("BARAY_CLEARANCE"),
        utc_offset_minutes=_whole_number("BARAY_UTC_OFFSET", 420),
        allow_reduced=_whole_number("BARAY_SANDBOX_ALLOW_REDUCED", 0) == 1,
        behind=BEHIND in os.environ,
        router_workers=max(1, _whole_number("BARAY_ROUTER_WORKERS", 1)),
        public_url=_address("BARAY_PUBLIC_URL"),
        proxy=os.environ.get("BARAY_PROXY") or "127.0.0.1",
    )


def worker_options(settings: Settings) -> list[str]:
    """Options of the worker's process."""
    return ["--slots", str(settings.slots), "--clearance", settings.clearance] + [
        "--allow-reduced"
    ] * settings.allow_reduced


def child_environment() -> dict[str, str]:
    """Environment of the home's processes: what Python needs, and nothing that holds a secret."""
    kept = {
        "PATH",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "HOME",
        "CI",
        "PYTHONDONTWRITEBYTECODE",
        "VIRTUAL_ENV",
        "SSL_CERT_FILE",
        "BARAY_SLOTS",
        "BARAY_CLEARANCE",
        "BARAY_UTC_OFFSET",
        "BARAY_PUBLIC_URL",
        "BARAY_PROXY",
    }
    return {name: value for name, value in os.environ.items() if name in kept}


def _address(name: str) -> str:
    """An address without path; over plain HTTP only on this machine itself."""
    text = (os.environ.get(name) or "").rstrip("/")
    parts = urlsplit(text)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if text and (parts.scheme not in (("https", "http") if local else ("https",)) or not parts.netloc or parts.path):
        raise Refused("bad_setting", f"{name} is '{text}'.", fix=f"Write {name}=https://NAME, without a path.")
    return text


def _clearance(name: str) -> str:
    text = (os.environ.get(name) or "").strip()
    if text and _LABEL.match(text) is None:
        raise Refused("bad_setting", f"{name} is '{text}', not a label.", fix=f"Unset it, or write {name}=internal.")
    return text


def _whole_number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    try:
        return int(text)
    except ValueError as error:
        raise Refused(
            "bad_setting", f"{name} is '{text}', not a whole number.", fix=f"Unset it, or write {name}={default}."
        ) from error

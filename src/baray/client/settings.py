"""Settings of the client: read once, at the entry, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

LANGUAGES = ("en", "km")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What the environment says."""

    server: str = ""
    """BARAY_SERVER: address of a server; empty means the embedded one of `home`."""
    token: str = field(default="", repr=False)
    """BARAY_TOKEN: token for `server`."""
    home: Path
    """BARAY_HOME: home of the embedded server."""
    home_given: bool = False
    """Whether `--home` named it: then commands that are proposed must name it too."""
    language: str = "en"
    """BARAY_LANG: `km` or `en`, for help and errors."""
    install_seconds: float | None = None
    """BARAY_INSTALL_SECONDS: how long set-up took, told by `scripts/demo`."""
    colour: bool = True
    """False when NO_COLOR is set."""
    program: str = "baray"
    """How this command is called on this machine, for commands that are proposed."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The whole environment, handed on to a server that is started."""


def read_settings(environ: Mapping[str, str], *, is_root: bool, program: str = "baray") -> ClientSettings:
    """Settings from `environ`; `is_root` chooses the default home, `program` is how the command was called."""
    return ClientSettings(
        server=environ.get("BARAY_SERVER", "").rstrip("/"),
        token=environ.get("BARAY_TOKEN", ""),
        home=Path(environ.get("BARAY_HOME") or _default_home(environ, is_root=is_root)).expanduser().absolute(),
        language=_language(environ),
        install_seconds=_seconds(environ.get("BARAY_INSTALL_SECONDS", "")),
        colour="NO_COLOR" not in environ,
        program=_on_path(program, environ.get("PATH", "")),
        environ=environ,
    )


def _on_path(program: str, path: str) -> str:
    """`baray` where the shell finds it, else the path by which it was called."""
    if which("baray", path=path) or Path(program).name != "baray":
        return "baray"
    place = Path(program).parent.resolve() / "baray"
    return str(place.relative_to(Path.cwd())) if place.is_relative_to(Path.cwd()) else str(place)


def _default_home(environ: Mapping[str, str], *, is_root: bool) -> Path:
    if is_root:
        return Path("/var/lib/baray")
    data = environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path("~/.local/share").expanduser()) / "baray"


def _language(environ: Mapping[str, str]) -> str:
    chosen = environ.get("BARAY_LANG", "").lower()[:2]
    return chosen if chosen in LANGUAGES else "en"


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None

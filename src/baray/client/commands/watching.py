"""Watching a Run from the terminal: progress, log, and what to say when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from baray.client.cli import Cli
from baray.client.commands.curves import Curve
from baray.client.output import Progress
from baray.client.sdk.client import run_id
from baray.client.sdk.transport import Json, Missing
from baray.core import BarayError, Fault, Refused, format_seconds


def watch(cli: Cli, run: Json, *, label: str, follow: bool = False) -> Json:
    """Wait for `run`, showing its progress and its loss (with `follow` also its log); returns it when it succeeded.

    Raises Refused or Fault with the Run's own error otherwise. Ctrl-C leaves the Run going and says how to look.
    """
    name = run_id(run["id"])
    cli.while_waiting = f"Run {name} goes on. Look: baray run show {name}. Cancel: baray run cancel {name}."
    follow = follow and run["state"] in {"queued", "running"}
    with cli.screen.progress(label) as progress:
        watched = _Watched(cli, name, progress, follow=follow)
        ended = {**cli.client.wait(name, seen=watched.see), "reused": run.get("reused", False)}
        watched.see_log()
    cli.while_waiting = ""
    if ended["state"] != "succeeded":
        raise run_error(ended)
    return ended


class _Watched:
    """Shows a Run each time its document was asked for: new lines of its log above, how far it is below."""

    def __init__(self, cli: Cli, name: str, progress: Progress, *, follow: bool) -> None:
        self._cli, self._name, self._progress, self._follow = cli, name, progress, follow
        self._curve, self._offset = Curve(cli, name), 0

    def see(self, document: Json) -> None:
        """One look."""
        self.see_log()
        now = document.get("progress")
        if document["kind"] == "model" and document["state"] == "running":
            self._curve.look()
        line = self._curve.line(now) if document["state"] == "running" else ""
        if line:
            self._progress.note(line)
        elif now and now.get("total"):
            self._progress.update(now["done"], now["total"], now.get("unit") or "")
        else:
            self._progress.note(document["state"])

    def see_log(self) -> None:
        """What was logged since, to its last line."""
        while self._follow:
            piece = self._cli.client.get(f"runs/{self._name}/log", offset=self._offset)
            if not piece["text"]:
                break
            self._progress.above(piece["text"])
            self._offset = piece["next"]


def run_error(run: Json) -> BarayError:
    """The error of a Run that has ended without success."""
    error = run.get("error") or {}
    if run["state"] == "cancelled":
        return Refused(
            "run_cancelled", f"Run {run['id']} was cancelled.", fix=f"Try it again: baray run retry {run['id']}"
        )
    message = f"Run {run['id']} ({run['kind']} {run['name']}) failed: {error.get('message') or 'no reason was given'}"
    fix = error.get("fix") or f"See its log: baray run logs {run['id']}"
    return Fault(error.get("code") or "run_failed", message, fix=fix)


def told(cli: Cli, run: Json) -> str:
    """One line about a Run that succeeded: what it made, or what it reused."""
    refs = ", ".join(output["ref"] for output in run.get("outputs", []))
    if run.get("reused"):
        return cli.screen.tr("Nothing changed: reusing {refs}.", refs=refs)
    seconds = format_seconds(run["seconds"]) if run.get("seconds") is not None else "?"
    if not refs:
        return cli.screen.tr("Finished {run} in {seconds}.", run=run["ref"], seconds=seconds)
    return cli.screen.tr("Made {refs} in {seconds}.", refs=refs, seconds=seconds)


@contextmanager
def making(cli: Cli, kind: str, name: str, *, label: str | None = None) -> Iterator[None]:
    """Tell somebody that they may not make things at this project's label, where the server names what is to be made.

    The server says "there is no project 'main'" (or no such Dataset, of one that is about to be made) to whoever is not
    cleared for the label of what would come of it: `label`, else the project's. Who has a role there is told what to do.
    """
    try:
        yield
    except Missing as error:
        mine = cli.client.get("whoami")
        name = name or str(mine["project"])
        if error.code != "not_found" or error.message != f"There is no {kind} '{name}'.":
            raise
        known = [row for row in cli.client.get("projects")["items"] if row["name"] == (cli.project or mine["project"])]
        if not known or not known[0].get("role"):
            raise
        project, label = known[0]["name"], label or known[0]["label"]
        raise Refused(
            "clearance_too_low",
            f"This would be labelled '{label}' in project '{project}', and you are cleared for '{mine['clearance']}'.",
            fix=(
                f"Work on what you may read (it then carries that label), ask an operator of the home for clearance "
                f"'{label}', or choose another of your projects: baray project list"
            ),
        ) from error


def finish(cli: Cli, run: Json, *, label: str, wait: bool, follow: bool) -> None:
    """End a command that asked for a Run: wait and tell what it made, or say how to look."""
    if wait or follow:
        ended = watch(cli, run, label=label, follow=follow)
        cli.screen.show(ended, lambda: [told(cli, ended)])
        return
    if run["state"] == "succeeded":
        cli.screen.show(run, lambda: [told(cli, run)])
        return
    name = run["id"]
    cli.screen.show(run, lambda: [f"Run {name} is {run['state']}.", f"  Look: baray run wait {name}"])

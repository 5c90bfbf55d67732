"""Watching a Run from the terminal: progress, log, and what to say when it ends."""

from __future__ import annotations

from baray.client.cli import Cli
from baray.client.sdk.client import run_id
from baray.client.sdk.transport import Json
from baray.core import BarayError, Fault, Refused, format_seconds


def watch(cli: Cli, run: Json, *, label: str, follow: bool = False) -> Json:
    """Wait for `run`, showing its progress (or, with `follow`, its log); returns it when it succeeded.

    Raises Refused or Fault with the Run's own error otherwise. Ctrl-C leaves the Run going and says how to look.
    """
    name = run_id(run["id"])
    cli.while_waiting = f"Run {name} goes on. Look: baray run show {name}. Cancel: baray run cancel {name}."
    if follow and run["state"] in {"queued", "running"}:
        for piece in cli.client.log(name, follow=True):
            print(piece, end="", file=cli.screen.err, flush=True)
    with cli.screen.progress(label) as progress:

        def seen(document: Json) -> None:
            now = document.get("progress")
            if now and now.get("total"):
                progress.update(now["done"], now["total"], now.get("unit") or "")
            else:
                progress.note(document["state"])

        ended = {**cli.client.wait(name, seen=seen), "reused": run.get("reused", False)}
    cli.while_waiting = ""
    if ended["state"] != "succeeded":
        raise run_error(ended)
    return ended


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
    return cli.screen.tr("Made {refs} in {seconds}.", refs=refs or run["ref"], seconds=seconds)


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

"""The host's commands, called by name from `baray`; each returns an exit code or a document."""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from baray.app.doctor import examine
from baray.app.layout import Layout, read_json
from baray.app.settings import BEHIND, child_environment, read_settings, worker_options
from baray.app.tree import START_SECONDS, Tree, UpOptions
from baray.core import Clock, Fault, Refused, SystemClock
from baray.ledger import ProofError, check_folder, parse_key, verify_bundle, verify_home
from baray.text import (
    LINE_BY_LINE,
    Fast,
    Filter,
    Result,
    Wanted,
    check_options,
    decoded,
    learn_model,
    make_filter,
    parted,
    read_blocks,
    read_lexicon,
    read_names,
    word_model,
)
from baray.train import check_files

_STOP_SECONDS = 30.0
_LARGE_CHARACTERS = 200_000


def up(
    *,
    home: Path,
    detach: bool = False,
    idle_exit_seconds: float | None = None,
    **options: Any,  # noqa: ANN401 - UpOptions
) -> int:
    """Run a home's server, in the foreground or behind; prints its address."""
    clock = SystemClock()
    settings = read_settings(home)
    if detach:
        return _detach(home, clock, [f"--idle-exit={idle_exit_seconds or 0:.0f}", *_arguments(options)])
    tree = Tree(settings, UpOptions(idle_exit_seconds=idle_exit_seconds or 0.0, **options), clock)

    def ready(endpoint: dict[str, Any]) -> None:
        if not settings.behind:
            _announce(endpoint, settings.home)

    tree.run(ready)
    return 0


def down(*, home: Path) -> int:
    """Stop the server of a home; what it runs is finished later by the next worker."""
    layout = Layout(home)
    if not _locked(layout):
        sys.stderr.write(f"No server runs in {home}.\n")
        return 0
    found = read_json(layout.sockets / "processes.json") or {}
    pid = int(found.get("tree", {}).get("pid", 0))
    if not pid:
        raise Fault(
            "no_pid", f"A process holds {layout.lock}, and it is not known which.", fix=f"See: fuser {layout.lock}"
        )
    os.kill(pid, signal.SIGTERM)
    if not _wait_for(lambda: not _locked(layout), SystemClock(), _STOP_SECONDS):
        raise Fault(
            "not_stopped", f"Process {pid} still holds the home after {_STOP_SECONDS:.0f} s.", fix=f"kill -9 {pid}"
        )
    sys.stderr.write(f"Stopped the server of {home}.\n")
    return 0


def status_local(*, home: Path) -> dict[str, Any]:
    """What can be said of a home without its server."""
    layout = Layout(home)
    return {"home": str(home), "running": _locked(layout), "initialised": layout.database.exists()}


def doctor(*, home: Path, as_json: bool = False) -> int:
    """What works here and what to install."""
    report = examine(read_settings(home))
    if as_json:
        sys.stdout.write(json.dumps(report, ensure_ascii=False) + "\n")
    else:
        for row in report["checks"]:
            mark = {"ok": "ok  ", "missing": "--  ", "limited": "~   "}[row["state"]]
            sys.stdout.write(f"{mark}{row['name']}: {row['found']}\n")
            if row["fix"]:
                sys.stdout.write(f"      {row['fix']}\n")
    return 0 if report["ok"] else 1


def worker(*, home: Path) -> int:
    """Run one more worker of a home that is up."""
    settings = read_settings(home)
    if not Layout(home).worker_socket.exists():
        raise Refused("not_running", f"No server runs in {home}.", fix="Start it: baray up --detach")
    argv = [sys.executable, "-m", "baray.app", "worker", "--home", str(home), *worker_options(settings)]
    return subprocess.run(argv, check=False, env=child_environment()).returncode


def migrate(*, home: Path) -> int:
    """Bring a home's database to this version's schema."""
    if _locked(Layout(home)):
        raise Refused("home_in_use", f"The home {home} is running.", fix="Stop it first: baray down", status=409)
    argv = [sys.executable, "-m", "baray.app", "migrate", "--home", str(home)]
    return subprocess.run(argv, check=False, env=child_environment()).returncode


def ledger_verify(*, home: Path, bundle: str | None, heads: list[str], as_json: bool = False) -> int:
    """Check a home, or a bundle, without any server; exit code 1 where something is damaged."""
    if bundle is not None:
        if not Path(bundle).exists():
            raise Refused(
                "no_such_file", f"There is no file {bundle}.", fix="Name a .baray-proof or an exported ledger."
            )
        report = verify_bundle(Path(bundle))
    else:
        if not Layout(home).database.exists():
            raise Refused("no_home", f"There is no home in {home}.", fix="Name one: --home DIR or BARAY_HOME.")
        report = verify_home(home, heads=[Path(head).read_text(encoding="utf-8") for head in heads])
    if as_json:
        sys.stdout.write(json.dumps(report.as_json(), ensure_ascii=False) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in report.lines())
    return 0 if report.ok else 1


def model_verify(*, home: Path, folder: Path, keys: list[str], as_json: bool = False) -> int:
    """Check the signed Model in a folder, without any server; exit code 1 where something is wrong."""
    own = Layout(home).keys / "artifacts.pub"
    files = [Path(key) for key in keys] or [own]
    try:
        trusted = [parse_key(file.read_text(encoding="utf-8")) for file in files]
    except (OSError, UnicodeDecodeError, ProofError) as error:
        raise Refused(
            "bad_key",
            f"The key of who signed it cannot be read: {error}",
            fix="Get it from the office that made the Model, at /ledger/artifacts.pub of its server: --key FILE",
        ) from error
    checked = check_folder(folder, trusted)
    if as_json:
        document = {"folder": str(folder), "ok": checked.ok, **asdict(checked)}
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    else:
        for finding in checked.findings:
            sys.stdout.write(f"WRONG  {finding}\n")
        licences = ", ".join(checked.licences) or "none stated"
        if checked.ok:
            said = f"label {checked.label}; licences of what it was made of: {licences}"
            sys.stdout.write(f"Verified: model {checked.name}, {len(checked.files)} files. Signed: {said}\n")
    return 0 if checked.ok else 1


def model_check(files: Mapping[str, Path]) -> str:
    """Whether a folder in the Hugging Face layout may be imported; why no engine here can serve it, empty if one can.

    Raises Refused `unsafe_model`, `bad_safetensors`, `incomplete_model`.
    """
    return check_files(files).not_served


def model_gguf(folder: Path, out: Path, *, weights: str, name: str) -> int:
    """Write a Model's folder as one GGUF file, in a process of its own; its size. Raises Refused."""
    argv = [sys.executable, "-m", "baray.app.start.gguf", str(folder), str(out), weights, name]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    try:
        told = json.loads(done.stdout.rpartition("\n")[0].rpartition("\n")[2])
    except ValueError as error:
        raise Fault("gguf_failed", f"The process that writes GGUF ended with {done.returncode}.") from error
    if "bytes" not in told:
        raise Refused(told["code"], told["message"], fix=told["fix"])
    return int(told["bytes"])


def text_filter(
    name: str,
    options: dict[str, Any],
    *,
    lexicon: Path | None,
    streams: tuple[BinaryIO, TextIO],
    on_learnt: Callable[[int], None],
    as_json: bool = False,
) -> None:
    """A filter over UTF-8 lines: normalise, segment, clusters, language or redact.

    `on_learnt` hears how many words `segment` learnt where it has no lexicon: 0 where it can only part clusters.
    """
    source, target = streams
    checked = check_options(name, options)
    if lexicon is not None and name != "segment":
        raise Refused("bad_option", "There is no option 'lexicon'.", fix="Only `baray text segment` reads a lexicon.")
    blocks = read_blocks(source)
    first = list(itertools.islice(blocks, 1))
    blocks = itertools.chain(first, blocks)
    model, names = None, None
    if lexicon is not None:
        model = word_model(read_lexicon(_lines_of(lexicon)))
    elif name == "segment":
        model, learnt, read = learn_model(blocks)
        blocks = itertools.chain(read, blocks)
        on_learnt(learnt)
    if "names" in checked:
        names = read_names(_lines_of(Path(checked["names"])))
    wanted = Wanted(name=name, options=checked, model=model, names=names, recorded=as_json)
    large = sum(len(line) for block in first for line in block) >= _LARGE_CHARACTERS
    if name in LINE_BY_LINE and not as_json:  # then a block comes out as its lines would, and is done faster
        blocks = (["".join(block)] for block in blocks)
    results = _filtered(blocks, make_filter(wanted, _fast(large=large)))
    if as_json:
        _write_items((result for result, _ in results), target)
        return
    for result, end in results:
        target.write(result["text"] + end)


def _write_items(results: Iterable[Result], target: TextIO) -> None:
    """One JSON document, or none where a line is broken: until the last line is read, it lies in a file."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as held:
        for number, result in enumerate(results):
            held.write((", " if number else "") + json.dumps(result, ensure_ascii=False))
        held.seek(0)
        target.write('{"items": [')
        shutil.copyfileobj(held, target)
        target.write("]}\n")


def _filtered(blocks: Iterable[list[str]], apply: Filter) -> Iterator[tuple[Result, str]]:
    for block in blocks:
        lines = [parted(line) for line in block]
        yield from zip(apply([text for text, _ in lines]), (end for _, end in lines), strict=True)


def _fast(*, large: bool) -> Fast:
    """What the extra `data` does faster or better; compiled forms take a second to load, so that they read large input only."""
    if not all(map(importlib.util.find_spec, ("polars", "pyarrow", "numba"))):
        return Fast()
    kernel = "baray.data.kernel"
    language_of = importlib.import_module(f"{kernel}.cld2").language_of
    if not large:
        return Fast(language=language_of)
    return Fast(
        language=language_of,
        segment=importlib.import_module(f"{kernel}.khmer").segment_lines,
        normalise=importlib.import_module(f"{kernel}.normal").normalise_lines,
        redact=importlib.import_module(f"{kernel}.redaction").redact_lines,
    )


def _lines_of(path: Path) -> list[str]:
    try:
        return decoded(path.read_bytes()).split("\n")
    except OSError as error:
        raise Refused(
            "no_such_file", f"There is no file or folder {path}.", fix="Name a text file, one entry a line."
        ) from error


def _detach(home: Path, clock: Clock, arguments: list[str]) -> int:
    """Start `baray up` behind and wait until it answers.

    A server that runs already, or that another command is starting at this moment, will do.
    """
    layout = Layout(home)
    layout.make()
    process = None
    if not _locked(layout):
        argv = [sys.executable, "-m", "baray", "up", "--home", str(home), *arguments]
        with (layout.logs / "up.log").open("wb") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=child_environment() | {BEHIND: "1"},
                cwd="/",
            )

    def lost() -> bool:
        return process is not None and process.poll() is not None and not _locked(layout)

    if not _wait_for(lambda: _running(layout, process) or lost(), clock, START_SECONDS):
        if process is not None:
            process.terminate()
        raise Fault("not_started", f"The server did not answer within {START_SECONDS:.0f} s.", fix=f"See {layout.logs}")
    endpoint = _running(layout, process)
    if endpoint is None:
        raise Fault(
            "not_started", (layout.logs / "up.log").read_text(errors="replace").strip() or "The server ended at once."
        )
    _announce(endpoint, home)
    return 0


def _running(layout: Layout, ours: subprocess.Popen[bytes] | None) -> dict[str, Any] | None:
    """The endpoint of the tree that holds the home: ours while it lives, else the one that took the lock before it."""
    endpoint = read_json(layout.endpoint)
    if endpoint is None or (ours is not None and ours.poll() is None and endpoint["pid"] != ours.pid):
        return None
    return endpoint if _locked(layout) else None


def _announce(endpoint: dict[str, Any], home: Path) -> None:
    link = read_json(Layout(home).sockets / "sign-in.json")
    lines = [f"Console {endpoint['url']}", f"Router  {endpoint['router_url']}", f"Home    {home}"]
    if link is not None:
        lines.append(f"Sign in once, within 15 minutes: {endpoint['url']}/sign-in?link={link['link']}")
        (Layout(home).sockets / "sign-in.json").unlink(missing_ok=True)
    if os.geteuid() == 0 and not endpoint["dropped"]:
        lines.append("Control runs as root: there is no user 'baray', or it cannot reach the home. See: baray doctor")
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()


def _arguments(options: dict[str, Any]) -> list[str]:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if not isinstance(value, bool)]
    return flags + [f"--{name.replace('_', '-')}" for name, value in options.items() if value is True]


def _locked(layout: Layout) -> bool:
    """Whether a process tree holds the home."""
    try:
        with layout.lock.open("rb") as file:  # a home that may only be read can be asked too
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _wait_for(true: Any, clock: Clock, seconds: float) -> bool:  # noqa: ANN401 - a predicate
    deadline = clock.monotonic() + seconds
    pause = signal.sigtimedwait
    while clock.monotonic() < deadline:
        if true():
            return True
        pause([], 0.02)  # sleeps, and Ctrl-C still ends it
    return bool(true())

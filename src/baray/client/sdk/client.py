"""The SDK: one object that speaks the server's API. Documents go in and out as plain JSON."""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from baray.client.sdk.sending import send_files
from baray.client.sdk.transport import Endpoint, Http, Json, Request, Timing, Unreachable
from baray.client.sdk.upload import Gathered, LocalFile, gather
from baray.core import BarayError, Ref, Refused, StateUnknown, digest_file, parse_ref

_MISSING_BATCH = 1000
_SEND_ROUNDS = 5
_MOST_STALLS = 3
"""Connections that broke one after the other and brought no byte more."""
_PLURALS = {
    **{"source": "sources", "dataset": "datasets", "index": "indexes", "model": "models", "service": "services"},
    "evaluation": "evaluations",
}
_ENDED = frozenset({"succeeded", "failed", "cancelled"})


class Client:
    """A caller of one server, in one project. Not shared between threads: it keeps one connection."""

    def __init__(
        self,
        server: str | Callable[[], Endpoint],
        token: str = "",
        project: str = "",
        *,
        timing: Timing | None = None,
        patience_seconds: float = 10.0,
        language: str = "en",
    ) -> None:
        """`server` is an address, or a function that finds one (asked again when the connection is lost).

        `patience_seconds` is how long harmless requests are repeated while the server cannot be reached.
        """
        endpoint = Endpoint(url=server.rstrip("/"), token=token) if isinstance(server, str) else None
        find = server if not isinstance(server, str) else (lambda: endpoint or Endpoint(url=""))
        self._timing = timing or Timing()
        self._project = project
        self._patience_seconds = patience_seconds
        self._find = find
        self._finding = threading.Lock()  # guards _find while files are sent
        self._language = language
        self._http = Http(find, timing=self._timing, patience_seconds=patience_seconds, language=language)

    def __enter__(self) -> Self:
        """Use as a context manager to close the connection at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; a later call opens another."""
        self._http.close()

    @property
    def endpoint(self) -> Endpoint:
        """Where the server is."""
        return self._http.endpoint

    # -- any noun

    def get(self, path: str, **query: object) -> Json:
        """GET a JSON document below /api/v1."""
        return self._http.json(self._request("GET", path, query=query, repeatable=True))

    def post(self, path: str, body: Json | None = None, *, repeatable: bool = False) -> Json:
        """POST a JSON document below /api/v1; `repeatable` says that doing it twice is the same as once."""
        return self._http.json(self._request("POST", path, body=body or {}, repeatable=repeatable))

    def delete(self, path: str) -> Json:
        """DELETE below /api/v1."""
        return self._http.json(self._request("DELETE", path, repeatable=True))

    def get_bytes(self, path: str, **query: object) -> bytes:
        """GET raw bytes below /api/v1."""
        return self._http.read(self._request("GET", path, query=query, repeatable=True))

    def download(self, path: str, file: Path, **query: object) -> None:
        """GET raw bytes below /api/v1 into `file`, which appears only when it is whole."""
        part = file.with_name(file.name + ".part")
        with part.open("wb") as out:
            for piece in self._http.pieces(self._request("GET", path, query=query, repeatable=True)):
                out.write(piece)
        part.replace(file)

    def pages(self, path: str, *, limit: int | None = None, **query: object) -> Json:
        """All items of a list (at most `limit`), page by page: `{"items": [...], "next": cursor or None}`."""
        items: list[Json] = []
        after: object = query.pop("after", None)
        while True:
            wanted = 500 if limit is None else min(500, limit - len(items))
            page = self.get(path, after=after, limit=wanted, **query)
            items += page["items"]
            after = page.get("next")
            if after is None or (limit is not None and len(items) >= limit):
                return {"items": items, "next": after}

    def thing(self, ref: str, *, kind: str | None = None) -> Json:
        """The document of `kind:name[@vN]`, of a Run or of an Answer."""
        return self.get(thing_path(parse_ref(ref, kind=kind)))

    def dataset(self, ref: str) -> Json:
        """A Dataset version with its report."""
        document = self.thing(ref, kind="dataset")
        return document | {"report": self.get(thing_path(parse_ref(document["ref"])) + "/report")}

    def status(self) -> Json:
        """Version, processes, counts, warnings and the router's address."""
        return self.get("status")

    # -- Sources

    def add_source(
        self,
        name: str,
        files: Sequence[Path] | Gathered,
        *,
        title: str = "",
        label: str = "",
        licence: str = "",
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Json:
        """Register files as a version of the Source `name`, sending only the bytes that the server lacks.

        `progress` gets bytes sent and bytes to send. An upload that broke goes on where it broke, inside a file too.
        """
        gathered = files if isinstance(files, Gathered) else gather(files)
        listed = [{"path": file.path, "digest": file.digest, "bytes": file.bytes} for file in gathered.files]
        body: Json = {"name": name, "title": title, "label": label, "licence": licence, "files": listed}
        body = {key: value for key, value in body.items() if value != ""}
        for _ in range(_SEND_ROUNDS):
            self._send_missing(gathered.files, progress)
            try:
                return self.post("sources", body, repeatable=True)
            except Refused as error:
                # A server that was started again in between has forgotten who sent what: it is told again.
                if error.code != "missing_blobs":
                    raise
        return self.post("sources", body, repeatable=True)

    def _send_missing(self, files: Sequence[LocalFile], progress: Callable[[int, int], None]) -> None:
        by_digest = {file.digest: file for file in files}
        digests = list(by_digest)
        missing: list[str] = []
        begun: dict[str, int] = {}
        for start in range(0, len(digests), _MISSING_BATCH):
            asked = {"digests": digests[start : start + _MISSING_BATCH]}
            told = self.post("blobs/missing", asked, repeatable=True)
            missing += told["missing"]
            begun |= told.get("begun", {})
        if not missing:
            progress(0, 0)
            return
        send_files(
            [by_digest[digest] for digest in missing],
            connect=self._connect,
            send=lambda http, file: self._send(http, file, begun),
            timing=self._timing,
            progress=progress,
        )

    def _connect(self, timing: Timing) -> Http:
        return Http(
            self._find_again,
            timing=timing,
            patience_seconds=self._patience_seconds,
            language=self._language,
        )

    def _find_again(self) -> Endpoint:
        """Where the server is, for connections in other threads: one looks at a time, since looking may start it."""
        with self._finding:
            return replace(self._find(), seen=True)

    def _send(self, http: Http, file: LocalFile, begun: Mapping[str, int]) -> None:
        """Send a file; one that the server has a part of, or whose connection breaks, goes on where it broke."""
        start, stalls = _start(file, begun), 0
        while True:
            try:
                return self._send_from(http, file, start)
            except StateUnknown as error:
                broken: BarayError = Unreachable(http.endpoint.url, error.message)
            except Refused as error:
                if error.code != "bad_start":
                    raise
                broken = error
            asked = self._request("POST", "blobs/missing", body={"digests": [file.digest]}, repeatable=True)
            told = http.json(asked)
            if file.digest not in told["missing"]:
                return None
            further = _start(file, told.get("begun", {}))
            stalls = 0 if further > start else stalls + 1
            if stalls > _MOST_STALLS:
                raise broken
            start = further

    def _send_from(self, http: Http, file: LocalFile, start: int) -> None:
        query = {"start": start} if start else {}
        try:
            request = self._request("PUT", f"blobs/{file.digest}", query=query, file=file.file, repeatable=True)
            http.json(replace(request, start=start))
        except StateUnknown:
            raise
        except BarayError as error:
            if error.code == "bad_start" or digest_file(file.file) == file.digest:
                raise
            raise Refused(
                "file_changed", f"{file.file} changed while it was sent.", fix="Add it again when nobody writes to it."
            ) from error

    # -- what Runs make

    def build_dataset(
        self, recipe: str, *, name: str, source: str = "", options: Json | None = None, **more: object
    ) -> Json:
        """Ask for a Dataset version made of a Source, or of `dataset=REF`; the answer is a Run."""
        body: Json = {"name": name, "recipe": recipe, "options": options or {}, **_given({"source": source, **more})}
        return self.post("datasets", body, repeatable=True)

    def build_index(self, *, name: str, dataset: str) -> Json:
        """Ask for an Index version of a Dataset; the answer is a Run."""
        return self.post("indexes", {"name": name, "dataset": dataset}, repeatable=True)

    def train(
        self, recipe: str, *, name: str, inputs: Mapping[str, str], options: Json | None = None, **more: object
    ) -> Json:
        """Ask for a Model version; `inputs` is {"dataset": ref} or {"source": ref}; the answer is a Run."""
        body: Json = {"name": name, "recipe": recipe, "options": options or {}, **inputs, **_given(more)}
        return self.post("models", body, repeatable=True)

    def evaluate(
        self, model: str, *, data: Mapping[str, str], against: str = "", options: Json | None = None, **room: object
    ) -> Json:
        """Ask for a measurement of a Model version; `data` is {"dataset": ref} or {"source": ref}; the answer is a Run."""
        body: Json = {"model": model, "options": options or {}, **data, **_given({"against": against, **room})}
        return self.post("evaluations", body, repeatable=True)

    def evaluations(self, model: str) -> Json:
        """Evaluations of a Model version, newest first."""
        return self.get(f"{thing_path(parse_ref(model, kind='model'))}/evaluations")

    # -- Runs

    def start_run(self, body: Json) -> Json:
        """Start a command as a Run."""
        return self.post("runs", body)

    def run(self, run: str) -> Json:
        """One Run by id or ref."""
        return self.get(f"runs/{run_id(run)}")

    def wait(
        self, run: str, *, seen: Callable[[Json], None] = lambda _: None, limit_seconds: float | None = None
    ) -> Json:
        """Wait until a Run has ended, showing it to `seen`. Raises Refused `still_running` at the limit."""
        started = self._timing.clock.monotonic()
        pause_seconds = 0.03
        while True:
            document = self.run(run)
            seen(document)
            if document["state"] in _ENDED:
                return document
            waited = self._timing.clock.monotonic() - started
            if limit_seconds is not None and waited > limit_seconds:
                raise Refused(
                    "still_running",
                    f"Run {run_id(run)} is still {document['state']} after {limit_seconds:.0f} s.",
                    fix=f"It goes on. Look with `baray run show {run_id(run)}`.",
                )
            self._timing.sleep(pause_seconds)
            pause_seconds = min(1.0, pause_seconds * 1.25)

    def log(self, run: str, *, follow: bool = False) -> Iterator[str]:
        """The log of a Run in pieces, to its end; with `follow` also what is still to come."""
        offset = 0
        while True:
            piece = self.get(f"runs/{run_id(run)}/log", offset=offset)
            if piece["text"]:
                yield piece["text"]
            stuck = piece["next"] == offset
            offset = piece["next"]
            if stuck and (piece["done"] or not follow):
                return
            if stuck:
                self._timing.sleep(0.3)

    # -- Services and Answers

    def put_service(self, name: str, *, kind: str, of: str, audience: Sequence[str], page: Json | None = None) -> Json:
        """Create a Service or give it a new Revision; `of` is the Index of a desk or the Model it serves.

        `page`: its `title`; for a desk also `office` (whom it refers to) and `examples` (questions its page proposes);
        for a language model `engine`, `replicas` ("MIN:MAX") and `idle_seconds`.
        """
        body: Json = {
            "name": name,
            "kind": kind,
            ("index" if kind == "desk" else "model"): of,
            "audience": list(audience),
        }
        return self.post("services", body | (page or {}), repeatable=True)

    def await_served(self, name: str, *, limit_seconds: float = 5.0) -> None:
        """Wait until the router, which reads its routes a moment after control wrote them, knows the Service `name`.

        A router that cannot be reached is being started again: it is waited for as long as the client's patience goes.
        """
        endpoint = Endpoint(url=str(self.status().get("router_url") or ""), token=self.endpoint.token)
        router = Http(lambda: endpoint, timing=self._timing)
        start = self._timing.clock.monotonic()
        limit = limit_seconds
        while endpoint.url and self._timing.clock.monotonic() - start < limit:
            try:
                known = router.json(Request(method="GET", path="/v1/models", repeatable=True))
            except Unreachable:
                limit = max(limit_seconds, self._patience_seconds)
                continue
            if {name, f"{self._project}/{name}"} & {one["id"] for one in known["data"]}:
                break
            self._timing.sleep(0.03)
        router.close()

    def ask_desk(self, name: str, question: str, *, ask_as: str = "") -> Json:
        """Ask a desk; `ask_as` is `public`, an actor's name, or empty for the caller."""
        body: Json = {"question": question, "as": ask_as} if ask_as else {"question": question}
        return self.post(f"services/{_name(name, 'service')}/ask", body, repeatable=True)

    def lineage(self, ref: str) -> Json:
        """Nodes, edges and the chain of kinds behind `ref`."""
        return self.get("lineage", ref=ref)

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Json | None = None,
        file: Path | None = None,
        repeatable: bool,
    ) -> Request:
        asked = {"project": self._project or None, **(query or {})}
        return Request(method=method, path=f"/api/v1/{path}", query=asked, body=body, file=file, repeatable=repeatable)


def run_id(run: str) -> str:
    """The id of a Run given as `r_...` or `run:r_...`."""
    return parse_ref(run, kind="run").name


def thing_path(ref: Ref) -> str:
    """Path of a thing below /api/v1."""
    if ref.kind in {"run", "answer"}:
        return f"{ref.kind}s/{ref.name}"
    if ref.kind not in _PLURALS:
        raise Refused("bad_ref", f"'{ref}' cannot be shown.", fix=f"Give one of {', '.join(_PLURALS)}, run, answer.")
    version = f"@v{ref.version}" if ref.version is not None else ""
    return f"{_PLURALS[ref.kind]}/{ref.name}{version}"


def _name(text: str, kind: str) -> str:
    return urllib.parse.quote(parse_ref(text, kind=kind).name)


def _given(values: Mapping[str, object]) -> Json:
    return {key: value for key, value in values.items() if value not in (None, "", ())}


def _start(file: LocalFile, begun: Mapping[str, int]) -> int:
    """From which byte a file is sent: the last one always, for it makes the blob."""
    return min(begun.get(file.digest, 0), max(0, file.bytes - 1))

"""`baray desk ...`: from documents to a desk, asking it, testing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.commands.source import add_source
from baray.client.commands.source import told as source_told
from baray.client.commands.testing import figures, read_questions, test_desk
from baray.client.commands.watching import making, told, watch
from baray.client.output import fields, table
from baray.client.sdk.transport import Json, Missing
from baray.core import check_name, parse_ref


def make_desk(
    cli: Cli, name: str, dataset: str, audience: Sequence[str], *, say: Callable[[str], None], page: Json
) -> Json:
    """Index `dataset` and put a desk named `name` on it; `say` gets a line for each part, `page` is its page's words."""
    with making(cli, "index", name):
        run = cli.client.build_index(name=name, dataset=dataset)
    run = watch(cli, run, label=cli.screen.tr("Indexing"))
    say(told(cli, run))
    index = run["outputs"][0]["ref"]
    service = cli.client.put_service(name, kind="desk", of=index, audience=audience, page=page)
    say(hosted(cli, service))
    return {"index": index, "service": service}


def hosted(cli: Cli, service: Json) -> str:
    """One line about a Service that was put at a name, once the router answers there."""
    if service.get("reused"):
        return cli.screen.tr("Nothing changed: reusing {refs}.", refs=service["ref"])
    cli.client.await_served(service["name"])
    return cli.screen.tr("Hosting {refs}.", refs=service["ref"])


def _create(
    cli: Cli, name: str, *, dataset: str | None, documents: tuple[str, ...], **more: str | tuple[str, ...]
) -> None:
    check_name(name)
    if bool(dataset) == bool(documents):
        raise click.UsageError("Give either --documents or --dataset, for example --documents ./circulars.")

    def say(text: str) -> None:
        cli.screen.say("{text}", text=text)

    made: Json = {}
    if documents:
        label = str(more.get("label") or "")
        version, gathered = add_source(cli, name, documents, label=label)
        say(source_told(cli, version, gathered, label=label))
        with making(cli, "dataset", name):
            run = cli.client.build_dataset("text", name=name, source=version["ref"])
        run = watch(cli, run, label=cli.screen.tr("Reading documents"))
        say(told(cli, run))
        dataset = run["outputs"][0]["ref"]
        made = {"source": version["ref"], "dataset": dataset}
    audience = tuple(more["audience"])
    page = {key: more[key] for key in ("title", "office", "examples") if more.get(key)}
    ref = str(parse_ref(str(dataset), kind="dataset"))
    desk = make_desk(cli, name, ref, audience or ("project",), say=say, page=page)
    made["index"] = desk["index"]
    made |= {"service": f"service:{name}", "url": desk["service"]["url"]}
    made["warnings"] = _warnings(cli, name, ref, audience)
    for warning in made["warnings"]:
        cli.screen.say("{text}", text=cli.screen.tr("Take care: {warning}", warning=warning))

    def lines() -> list[str]:
        return [
            cli.screen.tr("The desk answers at {url}", url=made["url"]),
            cli.screen.tr("Ask it: {command}", command=cli.command(f'desk ask {name} "..."')),
        ]

    cli.screen.show(made, lines)


def _warnings(cli: Cli, name: str, dataset: str, audience: tuple[str, ...]) -> list[str]:
    """What a new desk's owner should know: a public that gets no answers does not say why."""
    if "public" not in audience:
        return []
    nodes = cli.client.lineage(dataset)["nodes"]
    sources = [node["ref"] for node in nodes if node["kind"] == "source"]
    labels = [file["label"] for ref in sources for file in cli.client.thing(ref)["files"]]
    if not labels or "public" in labels:
        return []
    fix = cli.command(f"desk create {name} --documents DIR --label public --audience public")
    text = "Nothing in {refs} is labelled public: the public gets no answers from this desk."
    mend = "Label the documents: {fix} (documents.csv in DIR then names the files that are not public)."
    return [f"{cli.screen.tr(text, refs=', '.join(sources))} {cli.screen.tr(mend, fix=fix)}"]


def _ask(cli: Cli, name: str, question: str, ask_as: str | None) -> None:
    with desk_named(name):
        answer = cli.client.ask_desk(name, question, ask_as=ask_as or "")
    cli.screen.show(answer, lambda: answer_lines(cli, answer))


@contextmanager
def desk_named(name: str) -> Iterator[None]:
    """Say of a desk that is not there how to find one from here: the router's own fix is for programs."""
    try:
        yield
    except Missing as error:
        raise Missing(
            error.code,
            error.message,
            fix=f"See what there is: baray service list; or make one: baray desk create {name}",
        ) from error


def answer_lines(cli: Cli, answer: Json) -> list[str]:
    """An Answer for people: the words, then where they stand."""
    lines = [answer["answer"] or refusal(cli, answer)]
    for number, citation in enumerate(answer.get("citations", []), 1):
        start, end = citation["span"]
        lines.append(f"  [{number}] {citation['document']} ({start}-{end})")
    lines.append(cli.screen.style(f"  {answer['outcome']}  answer:{answer['id'].removeprefix('answer:')}", "dim"))
    return lines


def refusal(cli: Cli, answer: Json) -> str:
    """Why there is no answer, and whom to ask."""
    expired = answer["outcome"] == "expired"
    said = "What the documents say of it is no longer valid." if expired else "It is not in the documents."
    office = answer.get("referral")
    return cli.screen.tr(said) + (" " + cli.screen.tr("Ask: {office}", office=office) if office else "")


def _test(cli: Cli, name: str, file: str, ask_as: str | None) -> None:
    questions = read_questions(Path(file))
    with desk_named(name), cli.screen.progress(cli.screen.tr("Asking")) as progress:
        results = test_desk(cli, parse_ref(name, kind="service").name, questions, ask_as or "", progress.update)
    document = figures(results)

    def lines() -> list[str]:
        names = ("questions", "hit_at_1", "hit_at_5", "refused_right", "refused_wrong", "p50_ms")
        rows = [("all", document), *document["by_language"].items()]
        return table(("", *names), [(language, *(_short(row[name]) for name in names)) for language, row in rows])

    cli.screen.show(document, lines)


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def service_lines(service: Json) -> list[str]:
    """A Service for people: how it stands, then its Replicas and Revisions."""
    keys = ("name", "title", "kind", "state", "reason", "label", "audience", "replicas", "wanted", "revision")
    pairs: list[tuple[str, object]] = [(key, service.get(key)) for key in keys]
    pairs += [("at the gate", _at_the_gate(service.get("next"))), ("url", service.get("url"))]
    lines = fields([*pairs, ("created", service.get("created"))])
    numbers = {row["id"]: row["number"] for row in service.get("revisions", [])}
    processes = service.get("processes", [])
    if processes:
        heads = ("replica", "state", "revision", "run", "reason")
        rows = [_replica_row(one, numbers.get(one["revision_id"], "")) for one in processes]
        lines += ["", *table(heads, rows)]
    if len(numbers) > 1:
        lines += ["", *table(("revision", "state", "answers from", "made"), revision_rows(service))]
    return lines


def revision_rows(service: Json) -> list[tuple[object, ...]]:
    """The Revisions of a Service, newest first: number, state, what it answers from, when it was made."""
    return [
        (row["number"], _standing_of(service, row["id"]), row["spec"]["artefact"]["ref"], row["created"])
        for row in service["revisions"]
    ]


def _standing_of(service: Json, revision_id: str) -> str:
    if revision_id == service["revision_id"]:
        return str(service["state"])
    return "starting" if (service.get("next") or {}).get("revision_id") == revision_id else ""


def _at_the_gate(following: Json | None) -> str | None:
    """The Revision that waits to take over, in one line; None where none does."""
    if not following:
        return None
    failed = f", {following['failed']} failed" if following["failed"] else ""
    why = f": {following['reason']}" if following["reason"] else ""
    return f"revision {following['number']}, {following['ready']} of {following['needed']} ready{failed}{why}"


def _replica_row(one: Json, revision: object) -> tuple[object, ...]:
    return (one["id"], one["state"], revision, f"run:{one['run']}" if one["run"] else "", one["reason"])


_AUDIENCE = option(
    "--audience",
    multiple=True,
    metavar="WHO",
    help="Who may ask: public, project, or names of actors; may be given again (else project).",
)
CREATE = Leaf(
    run=_create,
    params=(
        argument("name"),
        option("--documents", multiple=True, metavar="PATH", help="Folder or files to answer from."),
        option("--dataset", metavar="REF", help="A Dataset that is there already."),
        _AUDIENCE,
        option(
            "--label",
            metavar="LABEL",
            help="Who may see the documents: public, internal ...; documents.csv may raise single files (else internal).",
        ),
        option("--title", metavar="TEXT", help="What its page is headed with, in any script (else its name)."),
        option("--office", metavar="TEXT", help="Whom it refers to where no document names an office."),
        option("--example", "examples", multiple=True, metavar="QUESTION", help="A question that its page proposes."),
    ),
    example="baray desk create counter --documents ./circulars --label public --audience public",
)
ASK = Leaf(
    run=_ask,
    params=(
        argument("name"),
        argument("question"),
        option("--as", "ask_as", metavar="WHO", help="Ask as `public` or as another actor (owners only)."),
    ),
    example='baray desk ask counter "What does a birth certificate need?" --as public',
)
TEST = Leaf(
    run=_test,
    params=(
        argument("name"),
        argument("file"),
        option("--as", "ask_as", metavar="public", type=click.Choice(["public"]), help="Ask without a token."),
    ),
    example="baray desk test counter questions.jsonl",
)

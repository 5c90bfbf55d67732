"""The public pages: one desk's page and the page for trouble. Rendered here, no script, no request to anywhere else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import quote

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup, escape

from baray.core import BarayError
from baray.serve.desk import Citation
from baray.serve.router.engines import Given
from baray.serve.router.messages import Response
from baray.serve.router.snapshot import Route
from baray.serve.router.words import WORDS, say_date
from baray.text import break_lines, language

PAGE_LANGUAGES = ("km", "en")
_SAMPLE_WORDS = ("sample", "គំរូ")
_HERE = files("baray.serve.router")
_CSS = _HERE.joinpath("desk.css").read_text(encoding="utf-8")
_CSS_DIGEST = base64.b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()
_HEADERS = (
    (
        "content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_CSS_DIGEST}'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'",
    ),
    ("permissions-policy", "interest-cohort=()"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a passage."""

    text: str
    """As it stands in the document."""
    cited: bool
    """Whether the answer quotes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
    """A document that the answer quotes, with its passages."""

    source: Citation
    """The first citation in it: document, title, validity."""
    name: str
    """What the page calls the document."""
    passages: tuple[tuple[Piece, ...], ...]
    """Each from its beginning to its end, in the order of first citation."""


def render_desk(route: Route, *, language: str, given: Given | None) -> Response:
    """The page of a desk, with an answer if there was a question."""
    title = route.title or route.name
    return _page(
        "desk.html",
        language,
        title=title,
        sample=any(word in title.lower() for word in _SAMPLE_WORDS),
        route=route,
        given=given,
        said=given.answer if given else None,
        cited=list(_cited(given)) if given else [],
        others=_others(given) if given else [],
        question=given.asked if given else "",
        example_links=[(example, _link(language, example)) for example in route.examples],
        other_link=_link("en" if language == "km" else "km", given.asked if given else ""),
    )


def render_trouble(error: BarayError, *, language: str) -> Response:
    """The page where there is no desk to show: as good as no words about why."""
    word = "busy" if error.status >= 500 else "not_found"
    response = _page("trouble.html", language, title=WORDS[language][word], text=WORDS[language][word + "_text"])
    return Response(
        body=response.body, status=error.status, content_type=response.content_type, headers=response.headers
    )


def khmer(text: str) -> Markup:
    """`text` escaped, with places where a line of Khmer may break."""
    return Markup(break_lines(str(escape(text))))  # noqa: S704 - escaped on this line


def _page(template: str, page_language: str, **values: object) -> Response:
    words = {name: khmer(text) for name, text in WORDS[page_language].items()}
    html = _TEMPLATES.get_template(template).render(lang=page_language, css=Markup(_CSS), words=words, **values)  # noqa: S704 - ours
    headers = (*_HEADERS, ("content-language", page_language))
    return Response(body=html.encode(), content_type="text/html; charset=utf-8", headers=headers)


def _cited(given: Given) -> Iterator[Cited]:
    """The documents that were cited, in the order of first citation."""
    documents: dict[str, dict[int, list[Citation]]] = {}
    for citation in given.answer.citations:
        documents.setdefault(citation.document_id, {}).setdefault(citation.passage_start, []).append(citation)
    for passages in documents.values():
        first = next(iter(passages.values()))[0]
        yield Cited(
            source=first,
            name=first.title or _file_name(first.document),
            passages=tuple(tuple(_pieces(citations)) for citations in passages.values()),
        )


def _pieces(citations: list[Citation]) -> Iterator[Piece]:
    """One passage, cut where its citations begin and end."""
    text, start = citations[0].passage, citations[0].passage_start
    at = 0
    if start:
        yield Piece(text="… ", cited=False)
    for citation in sorted(citations, key=lambda citation: citation.start):
        yield Piece(text=text[at : citation.start - start], cited=False)
        yield Piece(text=text[citation.start - start : citation.end - start], cited=True)
        at = citation.end - start
    yield Piece(text=text[at:], cited=False)


def _others(given: Given) -> list[str]:
    """Further documents on the matter; beside a refusal they would look like an answer."""
    if given.answer.outcome != "answered":
        return []
    cited = {citation.document for citation in given.answer.citations}
    return [one.document for one in given.answer.found if one.document not in cited]


def _link(page_language: str, question: str) -> str:
    return f"?lang={page_language}" + (f"&q={quote(question)}" if question else "")


def _file_name(path: str) -> str:
    return path.rpartition("/")[2]


def _lang_of(text: str) -> str:
    """For `lang` attributes: screen readers and line breaking go by it."""
    found = language(text)
    return found if found in PAGE_LANGUAGES else "en"


_TEMPLATES = Environment(
    loader=DictLoader(
        {name: _HERE.joinpath(name).read_text(encoding="utf-8") for name in ("base.html", "desk.html", "trouble.html")}
    ),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"khmer": khmer, "lang_of": _lang_of, "say_date": say_date}

"""Counting a desk's right answers on a file of questions.

Lines of the file: `{"question": ..., "language": "km"|"en", "answer_in": ["document", ...] or null}`; null means that
a right desk refuses. hit@k: a document of `answer_in` is among the first k of `found`. refused_right: share of the
null questions that were not answered; refused_wrong: share of the others that were not.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baray.client.cli import Cli
from baray.client.sdk.transport import Endpoint, Http, Json, Request
from baray.core import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A line of the file."""

    question: str
    """What is asked."""
    language: str
    """`km` or `en`."""
    answer_in: tuple[str, ...] | None
    """Documents that hold the answer; None: no document does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one question went."""

    language: str
    """Of the question."""
    rank: int | None
    """Rank from 1 of the first right document in `found`; None: not found, or there is none."""
    answerable: bool
    """Whether a document holds the answer."""
    refused: bool
    """Whether the desk did not answer."""
    ms: float
    """Time of the request."""


def read_questions(path: Path) -> list[Question]:
    """Read the file. Raises Refused naming the line that is wrong."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("no_such_file", f"Cannot read {path}: {error}.", fix="Give a JSONL file in UTF-8.") from error
    questions = [_question(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not questions:
        raise Refused("no_questions", f"{path} holds no questions.", fix="Write one JSON object a line.")
    return questions


def _question(path: Path, number: int, line: str) -> Question:
    try:
        row = json.loads(line)
        documents = row["answer_in"]
        return Question(
            question=str(row["question"]),
            language=str(row.get("language", "other")),
            answer_in=None if documents is None else tuple(str(document) for document in documents),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(
            "bad_question",
            f"Line {number} of {path} is not a question ({type(error).__name__}: {error}).",
            fix='Write {"question": "...", "language": "km", "answer_in": ["file.docx"]}, or null for no file.',
        ) from error


def test_desk(
    cli: Cli, name: str, questions: Sequence[Question], ask_as: str, progress: Callable[[float, float, str], None]
) -> list[Result]:
    """Ask all questions over one kept connection to the router."""
    url = str(cli.client.status().get("router_url") or "")
    token = "" if ask_as == "public" else cli.client.endpoint.token
    http = Http(lambda: Endpoint(url=url, token=token), timing=cli.timing, patience_seconds=cli.patience_seconds)
    results = []
    for number, question in enumerate(questions, 1):
        body: Json = {"model": name, "question": question.question}
        started = cli.timing.clock.monotonic()
        answer = http.json(Request(method="POST", path="/v1/answers", body=body, repeatable=True))
        ms = (cli.timing.clock.monotonic() - started) * 1000
        results.append(_result(question, answer, ms))
        progress(number, len(questions), "questions")
    http.close()
    return results


def _result(question: Question, answer: Json, ms: float) -> Result:
    found = [row["document"] for row in answer.get("found", [])]
    right = set(question.answer_in or ())
    return Result(
        language=question.language,
        rank=next((rank for rank, document in enumerate(found, 1) if document in right), None),
        answerable=question.answer_in is not None,
        refused=answer["outcome"] != "answered",
        ms=ms,
    )


def figures(results: Sequence[Result]) -> dict[str, Any]:
    """The figures over all questions, and by language."""
    languages = sorted({result.language for result in results})
    by_language = {name: _figures([result for result in results if result.language == name]) for name in languages}
    return {**_figures(results), "by_language": by_language}


def _figures(results: Sequence[Result]) -> dict[str, Any]:
    answerable = [result for result in results if result.answerable]
    others = [result for result in results if not result.answerable]
    return {
        "questions": len(results),
        "hit_at_1": _share([result.rank == 1 for result in answerable]),
        "hit_at_5": _share([result.rank is not None and result.rank <= 5 for result in answerable]),
        "refused_right": _share([result.refused for result in others]),
        "refused_wrong": _share([result.refused for result in answerable]),
        "p50_ms": round(statistics.median(result.ms for result in results), 2),
    }


def _share(flags: Sequence[bool]) -> float | None:
    return round(sum(flags) / len(flags), 4) if flags else None

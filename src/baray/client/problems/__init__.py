"""What errors say in Khmer: by code, and where the English message has a known form, with the values in it.

Khmer drafted, not yet reviewed by a native editor. A server speaks English; here its words are recognised, never guessed:
a message of no known form gets the general sentence of its code, and the exact English stands below either.
"""

from __future__ import annotations

import re

from baray.client.problems.engines import ENGINE_PROBLEMS
from baray.client.problems.khmer import NOUNS, Khmer
from baray.client.problems.khmer import PROBLEMS as GENERAL_PROBLEMS
from baray.client.problems.language import LANGUAGE_PROBLEMS
from baray.client.problems.queries import QUERY_PROBLEMS
from baray.client.problems.replicas import REPLICA_PROBLEMS
from baray.client.problems.text import TEXT_PROBLEMS
from baray.core import BarayError

__all__ = ["PROBLEMS", "form", "in_khmer"]

PROBLEMS = GENERAL_PROBLEMS | LANGUAGE_PROBLEMS | REPLICA_PROBLEMS | ENGINE_PROBLEMS | QUERY_PROBLEMS | TEXT_PROBLEMS
"""Code -> its Khmer."""
_FAILED = re.compile(r"Run (?P<run>\S+) \(\S+ .*?\) failed: (?P<why>.*)", re.DOTALL)
_COMMAND = re.compile(r"\bbaray [a-z][^`.;,()]*[^`.;,() ]")


def in_khmer(error: BarayError) -> tuple[str, str] | None:
    """What happened and how to mend it, in Khmer; None for a code that has none."""
    known = PROBLEMS.get(error.code)
    if known is None:
        return None
    failed = _FAILED.fullmatch(error.message)
    says = _detail(known, failed["why"] if failed else error.message)
    says = f"ការដំណើរការ {failed['run']} បរាជ័យ៖ {says}" if failed else says
    return says, _fix(known, error.fix)


def _detail(known: Khmer, message: str) -> str:
    for english, khmer in known.forms.items():
        found = form(english).fullmatch(message)
        if found:
            return khmer.format(**{name: NOUNS.get(value, value) for name, value in found.groupdict().items()})
    return known.says


def _fix(known: Khmer, english: str) -> str:
    command = _COMMAND.search(english)
    if "{command}" not in known.fix:
        return known.fix
    return known.fix.format(command=command[0]) if command else known.fix.partition("៖ {command}")[0] + "។"


def form(english: str) -> re.Pattern[str]:
    """The pattern of messages that read like `english`, each `{name}` standing for a value."""
    parts = re.split(r"\{(\w+)\}", english)
    written = [re.escape(part) if index % 2 == 0 else f"(?P<{part}>.+?)" for index, part in enumerate(parts)]
    return re.compile("".join(written), re.DOTALL)

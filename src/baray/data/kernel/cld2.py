"""Languages other than Khmer, one text at a time, by CLD2 (Compact Language Detector 2, whose tables are in its wheel).

Where there is no CLD2 (it has no wheel for every processor), only scripts tell.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
from types import ModuleType

from baray.text import language, language_shares

SAMPLE_CHARACTERS = 400
"""Of each text that CLD2 is shown, so that its cost does not grow with the text."""
# CLD2 refuses control characters and what Unicode calls non-characters.
_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]|[^\x00-\uffff]")
_SAME = {"iw": "he", "jw": "jv", "in": "id", "mo": "ro", "zh-Hant": "zh", "un": "other"}


def language_of(text: str) -> str:
    """The language of one text, as `languages_all` tells it."""
    by_script = language(text)
    if by_script == "km" or not any(language_shares(text).values()):
        return by_script
    return told(text[:SAMPLE_CHARACTERS]) or by_script


def told(sample: str) -> str | None:
    """What CLD2 is sure of; None where it is not, or not there."""
    cld2 = _cld2()
    if cld2 is None:
        return None
    try:
        sure, _, found = cld2.detect(_REFUSED.sub(" ", sample).encode())
    except cld2.error:  # a text that is no text for it
        return None
    code = str(found[0][1])
    return None if not sure or code == "un" else _SAME.get(code, code)


@functools.cache
def _cld2() -> ModuleType | None:
    return importlib.import_module("pycld2") if importlib.util.find_spec("pycld2") else None

"""Khmer script: one visual form gets one encoding; clusters; digits.

The order inside a syllable follows the Khmer Encoding Structure: base, robat, up to two coengs with coeng RO last,
register shifter, vowel, signs, then reahmuk or yuukaleapintu. Unicode's NFC does not touch this order, because almost
all Khmer marks have combining class 0.

Not covered: Middle Khmer, where a coeng may rightly follow a vowel, and text in legacy fonts.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

BASE = "\u1780-\u17b3"
MARK = "\u17b6-\u17d1\u17d3\u17dd"
_VOWEL = "\u17b6-\u17c5"
_SIGN = "\u17c6\u17cb\u17cd-\u17d1\u17d3\u17dd"
_SHIFTER = "\u17c9\u17ca"
_FINAL = "\u17c7\u17c8"
_ROBAT = "\u17cc"
_COENG = "\u17d2"
_COENG_RO = "\u17d2\u179a"
_UNIT = f"(?:{_COENG}[{BASE}]|[{MARK}])"

# Soft hyphen, zero-width characters, direction marks, word joiner, byte order mark, and the two inherent vowels that
# Unicode says not to use: none of them is seen, each splits words that look equal.
INVISIBLE = "\u00ad\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
_STRIP = re.compile(f"[{INVISIBLE}]+")

# Two adjacent units in the wrong order, two vowels, or -u under samyok sannya: every disorder has one of these pairs.
_PAIR = (
    f"[{_SHIFTER}{_VOWEL}{_SIGN}{_FINAL}]{_COENG}[{BASE}]"
    f"|{_COENG_RO}{_COENG}(?!\u179a)[{BASE}]"
    f"|(?:{_COENG}[{BASE}]|[{_SHIFTER}{_VOWEL}{_SIGN}{_FINAL}]){_ROBAT}"
    f"|[{_VOWEL}{_SIGN}{_FINAL}][{_SHIFTER}]"
    f"|[{_VOWEL}{_SIGN}{_FINAL}][{_VOWEL}]"
    f"|[{_FINAL}][{_SIGN}]"
    "|\u17bb\u17d0"
)
_DISORDER = re.compile(_PAIR)
_SYLLABLE = re.compile(f"([{BASE}\u25cc])(?={_UNIT}*?(?:{_PAIR}))({_UNIT}+)")
_SPLIT = re.compile(_UNIT)
_DOUBLED_COENG = re.compile(f"{_COENG}{{2,}}")
_DEPRECATED = re.compile("[\u17a3\u17a4]")
_DEPRECATED_TO = {"\u17a3": "\u17a2", "\u17a4": "\u17a2\u17b6"}

_CLASS = dict.fromkeys(map(chr, range(0x17B6, 0x17C6)), 4)
_CLASS |= {_ROBAT: 0, "\u17c9": 3, "\u17ca": 3, "\u17c7": 6, "\u17c8": 6}
# Consonants of the first series take triisap, the others muusikatoan, where -u was typed for the shifter it looks like.
_FIRST_SERIES = frozenset("\u1780\u1781\u1785\u1786\u178a\u178b\u178e\u178f\u1790\u1794\u1795\u179f\u17a0\u17a1\u17a2")
_ABOVE = frozenset("\u17b7\u17b8\u17b9\u17ba\u17be\u17d0")

_CLUSTER = re.compile(f"[{BASE}\u25cc]{_UNIT}*|\r\n|.", re.DOTALL)
_KHMER_DIGITS = {0x17E0 + value: str(value) for value in range(10)}
_ASCII_DIGITS = {0x30 + value: chr(0x17E0 + value) for value in range(10)}
# A text is only parted before what begins a character anew, so that its parts are normalised alike: these do not.
_HANGUL_PARTS = range(0x1160, 0x1200)

Digits = Literal["keep", "ascii", "khmer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A normalised text, and what was taken out of it without anybody seeing a difference."""

    text: str
    """As `normalise` gives it."""
    hidden: tuple[tuple[int, str], ...]
    """Places in `text`, in code points, before which invisible characters stood, and these; in order. One that stood inside
    a syllable is told behind it."""

    @property
    def word_breaks(self) -> tuple[int, ...]:
        """Places at which whoever typed the text ended a word by a zero-width space."""
        return tuple(at for at, characters in self.hidden if "\u200b" in characters and 0 < at < len(self.text))


def normalise(text: str, *, fold_coeng_da: bool = False, digits: Digits = "keep") -> str:
    """Bring `text` to NFC and the Khmer Encoding Structure, without invisible characters. Idempotent.

    `fold_coeng_da` writes coeng TA for coeng DA, which looks the same but is another letter: for keys that are
    compared, never for text that is stored. `digits` writes Khmer digits as ASCII ones, or the other way round.
    """
    if digits != "keep":
        text = text.translate(_KHMER_DIGITS if digits == "ascii" else _ASCII_DIGITS)
    if text.isascii():
        return text
    if _STRIP.search(text):
        text = _STRIP.sub("", text)
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    if _DEPRECATED.search(text):
        text = _DEPRECATED.sub(lambda match: _DEPRECATED_TO[match[0]], text)
    if _COENG + _COENG in text:
        text = _DOUBLED_COENG.sub(_COENG, text)
    if _DISORDER.search(text):
        # Atthacan (17DD) has a combining class of its own: moved behind another mark, it may need NFC once more.
        text = unicodedata.normalize("NFC", _SYLLABLE.sub(_in_order, text))
    return text.replace("\u17d2\u178a", "\u17d2\u178f") if fold_coeng_da else text


def normalise_recorded(text: str) -> Recorded:
    """Normalise, and record the invisible characters: a zero-width space is a hint where a word ends."""
    done: list[str] = []
    hidden: list[tuple[int, str]] = []
    length, start, held, seen = 0, 0, "", ""
    for match in _STRIP.finditer(text):
        seen += text[start : match.start()]
        held += match[0]
        start = match.end()
        while not _STRIP.match(text, start) and not _begins_anew(seen, text, start):  # to the end of the syllable
            seen += text[start]
            start += 1
        if not _STRIP.match(text, start):
            done.append(normalise(seen))
            length += len(done[-1])
            hidden.append((length, held))
            held, seen = "", ""
    done.append(normalise(seen + text[start:]))
    return Recorded(text="".join(done), hidden=tuple(hidden))


def _begins_anew(before: str, text: str, at: int) -> bool:
    """Whether what stands at `at` cannot change with what is before it."""
    if at == len(text):
        return True
    part = unicodedata.category(text[at])[0] == "M" or ord(text[at]) in _HANGUL_PARTS
    return not part and not before.endswith(_COENG)


def clusters(text: str) -> list[str]:
    """Split into Khmer syllable clusters and single other characters; joined, they give `text` back."""
    return _CLUSTER.findall(text)


def fold_digits(text: str) -> str:
    """Write Khmer digits as ASCII digits; nothing else changes."""
    return text if text.isascii() else text.translate(_KHMER_DIGITS)


def _in_order(match: re.Match[str]) -> str:
    base = match[1]
    units = _merge_vowels(_SPLIT.findall(match[2]))
    if "\u17bb" in units and not _has_shifter(units) and _takes_shifter(units):
        first = base in _FIRST_SERIES or any(unit[-1] in _FIRST_SERIES for unit in units if len(unit) == 2)
        units[units.index("\u17bb")] = "\u17ca" if first else "\u17c9"
    return base + "".join(sorted(units, key=_rank))


def _merge_vowels(units: list[str]) -> list[str]:
    """Vowels that were typed as two parts, in either order, become one."""
    for second, whole in (("\u17b8", "\u17be"), ("\u17b6", "\u17c4")):
        while "\u17c1" in units and second in units:
            units.remove(second)
            units[units.index("\u17c1")] = whole
    return units


def _has_shifter(units: list[str]) -> bool:
    return "\u17c9" in units or "\u17ca" in units


def _takes_shifter(units: list[str]) -> bool:
    """Whether a mark stands above, so that the -u below can only be a shifter that moved down."""
    return not _ABOVE.isdisjoint(units) or ("\u17b6" in units and "\u17c6" in units)


def _rank(unit: str) -> tuple[int, str]:
    if len(unit) == 2:
        return (2, "") if unit == _COENG_RO else (1, "")
    kind = _CLASS.get(unit, 5)
    return (kind, unit if kind == 4 else "")

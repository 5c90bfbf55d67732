"""Personal numbers, addresses and names are taken out of text; a placeholder says what stood there.

Covered: telephones of Cambodia (0 and +855, with a prefix that is in use) and, with a plus sign, of other countries, in
ASCII and Khmer digits; nine-digit national identity numbers, next to a word that says so or written with their check group;
passport and tax numbers next to such a word; e-mail addresses; IPv4 and IPv6; names of a list that is given. Not covered:
names that no list holds, street addresses, birth dates, bank accounts, plates.

What is found never reaches across a line's end, so that lines can be looked at one by one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from baray.text.khmer import BASE, INVISIBLE, MARK, fold_digits

_D = "[0-9\u17e0-\u17e9]"
_A = "A-Za-z0-9_\u17e0-\u17e9"  # boundaries are ASCII's and Khmer digits': Khmer letters stand next to a number without a space
_EDGE = f"(?<![{_A}+.,/-])"
_STOP = f"(?!{_D})(?![/-]{_D})"
_GAP = "[ \u00a0.\u2011\u2013\\-]"
_BLANK = "[ \t\u00a0]"
_ZERO = "[0\u17e0]"
_ONE_TO_NINE = "[1-9\u17e1-\u17e9]"
# A line without one of these holds nothing that is looked for: six digits of one number, three dots between digits, a sign.
_WORTH_A_LOOK = re.compile(
    f"{_D}(?:[ ()+./\u00a0\u2011\u2013-]{{0,4}}{_D}){{5}}|[0-9]{{1,3}}(?:\\.[0-9]{{1,3}}){{3}}|@|::"
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9_.+%-])[A-Za-z0-9][A-Za-z0-9_.+%-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![A-Za-z0-9_-])"
)
_IPV4 = re.compile(r"(?<![A-Za-z0-9_.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![A-Za-z0-9_]|\.[0-9])")
_IPV6 = re.compile(r"(?<![A-Za-z0-9_:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![A-Za-z0-9_:])")
# Names in programs (`a::b`) and times of day (`08:00::17:00`).
_NO_ADDRESS = re.compile("[A-Fa-f:]+|:*(?:[0-9]{2}:+)+(?:[0-9]{2})?")
# Six or seven digits behind the prefix, in the groups in which people write them.
_BODY = (
    f"(?:{_D}{{6,7}}|{_D}{{3}}{_GAP}{_D}{{3,4}}|{_D}{{3}}{_GAP}{_D}{{2}}{_GAP}{_D}{{2}}|{_D}{{2}}{_GAP}{_D}{{2}}{_GAP}{_D}{{2,3}}"
    f"|{_D}{{2}}{_GAP}{_D}{{3}}{_GAP}{_D}{{2}}|{_D}{{4}}{_GAP}{_D}{{3}}|{_D}{_GAP}{_D}{{3}}{_GAP}{_D}{{3}})"
)
_ABROAD = "\\+|00|\u17e0\u17e0"
_COUNTRY = "[8\u17e8][5\u17e5][5\u17e5]"
# A further group of three belongs to a longer number; an amount names its unit.
_NO_MORE = (
    f"{_STOP}(?![A-Za-z])(?!{_GAP}{_ONE_TO_NINE}{_D}{{2}}(?!{_D}))"
    f"(?!{_BLANK}*(?:រៀល|៛|ដុល្លារ|%|ភាគរយ|(?:[Rr]iels?|KHR|USD|[Dd]ollars?|kg|km)(?![A-Za-z])))"
)
_PHONE = re.compile(
    f"{_EDGE}(?:\\((?:{_ABROAD})?{_COUNTRY}\\)|(?:{_ABROAD}){_COUNTRY}){_GAP}?(?:\\({_ZERO}\\)|{_ZERO})?{_GAP}?"
    f"(?P<national>{_ONE_TO_NINE}{_D}){_GAP}?{_BODY}{_NO_MORE}"
    f"|{_EDGE}(?P<open>\\()?{_ZERO}(?P<local>{_ONE_TO_NINE}{_D})(?(open)\\)|){_GAP}?/?{_GAP}?{_BODY}{_NO_MORE}"
    f"|{_EDGE}\\+{_ONE_TO_NINE}{_D}{{0,2}}(?P<foreign>(?:{_GAP}?(?:\\({_D}{{1,4}}\\)|{_D}{{1,5}})){{2,6}})(?!{_GAP}?{_D}){_NO_MORE}"
)
# Prefixes without their zero: mobile networks, then provinces.
_PREFIXES = frozenset(
    "10 11 12 13 14 15 16 17 18 31 38 60 61 66 67 68 69 70 71 76 77 78 79 80 81 83 84 85 86 87 88 89 90 92 93 95 96 97 98 99"
    " 23 24 25 26 32 33 34 35 36 42 43 44 52 53 54 55 62 63 64 65 72 73 74 75".split()
)
_FOREIGN_DIGITS = range(7, 13)
_OTHER_NUMBER = re.compile(
    "(?:(?i:isbn(?:-[1\u17e1][03\u17e0\u17e3])?|issn|doi|serial|case|invoice|barcode|sku|lot|batch|part|model|order)(?![A-Za-z])"
    "|សំណុំរឿង|វិក្កយបត្រ|បារកូដ|ស៊េរី)[^0-9\u17e0-\u17e9\n]{0,16}\\Z"
)
_VERSION = re.compile(
    "(?:(?i:version|ver|release|build|firmware|section|clause|article|chapter|figure|table)(?![A-Za-z])"
    "|ជំនាន់|កំណែ|មាត្រា|ប្រការ|ជំពូក|ចំណុច|តារាង|រូបភាព)[^0-9\n]{0,8}\\Z"
)
_LOOK_BACK = 40
_ID_WORD = (
    "អត្តសញ្ញាណ(?:ប័ណ្ណ|បណ្ណ)?(?:សញ្ជាតិ)?(?:ខ្មែរ)?|អត្តលេខ|លេខសម្គាល់(?:ខ្លួន)?|អ\\.?ត\\.?ខ"
    f"|(?i:national{_BLANK}+id(?:entity)?(?:{_BLANK}+(?:card|number|no))*|identity{_BLANK}+(?:card|number)"
    f"|(?<![A-Za-z])id{_BLANK}*(?:card|number|no)|(?<![A-Za-z])nid)(?![A-Za-z])"
    "|(?<![A-Za-z])(?<!(?i:order) )(?<!(?i:product) )(?<!(?i:item) )(?<!(?i:transaction) )ID(?![A-Za-z])"
)
_APART = "[^0-9\u17e0-\u17e9\n]{0,24}"
_ID_AFTER_WORD = re.compile(
    f"((?:{_ID_WORD}){_APART}(?<!{_D}))({_D}(?:[ \u00a0-]?{_D}){{8}}(?:[ ]?\\([ ]?{_D}{{1,2}}[ ]?\\))?){_STOP}"
)
_ID_WITH_CHECK = re.compile(f"{_EDGE}()({_D}{{9}}[ ]?\\([ ]?{_D}{{1,2}}[ ]?\\))")
_PASSPORT = re.compile(
    f"((?:លិខិតឆ្លងដែន|ប៉ាស្ព័រ|(?i:passport))[^0-9\u17e0-\u17e9\n]{{0,20}}?(?<![A-Za-z]))([A-Z]{{1,2}}[ ]?{_D}{{6,8}})(?![{_A}])"
)
_TAX = re.compile(
    f"((?:សារពើពន្ធ|អតប|(?i:(?:vat)?tin|tax{_BLANK}+(?:id(?:entification)?|payer)))(?![A-Za-z])[^0-9\u17e0-\u17e9\n]{{0,20}}?(?<![A-Za-z]))"
    f"([A-Z]?{_D}{{3}}[ -]?{_D}{{9}})(?![{_A}])"
)
_TAX_ALONE = re.compile(f"(?<![{_A}-])()([BEKL]{_D}{{3}}-{_D}{{9}})(?![{_A}])")
_NUMBERED = (
    (_TAX, "tax", "[TAXID]"), (_TAX_ALONE, "tax", "[TAXID]"), (_PASSPORT, "passport", "[PASSPORT]"),
    (_ID_AFTER_WORD, "id", "[ID]"), (_ID_WITH_CHECK, "id", "[ID]"),
)  # fmt: skip
_TITLES = ("លោក", "ស្រី", "កញ្ញា", "ឈ្មោះ")
_TITLED = "(?:" + "|".join(f"(?<={title}{blank}.)" for title in _TITLES for blank in ("", " ")) + ")"


Trie = dict[str, "Trie"]
"""What may follow, by the next character; an empty one says that a name may end."""
_UPPER = {code: chr(code - 32) for code in range(ord("a"), ord("z") + 1)}
_LOWER = {code: chr(code + 32) for code in range(ord("A"), ord("Z") + 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names to look for. Made by `read_names`."""

    entries: tuple[str, ...]
    """As they were given, without doubles."""
    pattern: re.Pattern[str]
    """Finds any of them, the longest first."""


def read_names(lines: Iterable[str]) -> Names | None:
    """Names, one a line; None where there is none. Case of A to Z does not count, nor how parts of a name are spaced.

    A Khmer name is only found where it is not a part of a longer syllable; a single one of at most two letters with their
    marks would be found inside other words, so that it needs a title before it (លោក, អ្នកស្រី, កញ្ញា, ឈ្មោះ).
    """
    entries = tuple(dict.fromkeys(name for line in lines if (name := " ".join(line.strip("\ufeff \t\r\n").split()))))
    if not entries:
        return None
    return Names(entries=entries, pattern=_names_pattern(entries))


def redact(text: str, names: Names | None = None) -> tuple[str, dict[str, int]]:
    """Return `text` with placeholders in place of what was found, and how many of each kind.

    Placeholders: `[PHONE]`, `[ID]`, `[PASSPORT]`, `[TAXID]`, `[EMAIL]`, `[IP]`, `[NAME]`.
    """
    counts: dict[str, int] = {}
    lines = text.split("\n")
    for at, line in enumerate(lines):
        if _WORTH_A_LOOK.search(line) or line.count(":") > 6 or (names is not None and names.pattern.search(line)):
            lines[at] = _redact_line(line, names, counts)
    return "\n".join(lines), counts


def _redact_line(text: str, names: Names | None, counts: dict[str, int]) -> str:
    if "@" in text:
        text = _replace(_EMAIL, "[EMAIL]", "email", text, counts)
    for pattern, kind, mark in _NUMBERED:
        text = _replace(pattern, f"\\g<1>{mark}", kind, text, counts)
    text = _replace_phones(text, counts)
    text = _replace_addresses(text, counts)
    return text if names is None else _replace(names.pattern, "[NAME]", "name", text, counts)


def _replace(pattern: re.Pattern[str], mark: str, kind: str, text: str, counts: dict[str, int]) -> str:
    text, found = pattern.subn(mark, text)
    if found:
        counts[kind] = counts.get(kind, 0) + found
    return text


def _replace_phones(text: str, counts: dict[str, int]) -> str:
    def mark(match: re.Match[str]) -> str:
        prefix, foreign = match["national"] or match["local"], match["foreign"]
        if prefix is not None:
            right = fold_digits(prefix) in _PREFIXES
        else:
            right = sum(character.isdigit() for character in foreign) in _FOREIGN_DIGITS
        if not right or (match["local"] and _said_before(_OTHER_NUMBER, match)):
            return match[0]
        counts["phone"] = counts.get("phone", 0) + 1
        return "[PHONE]"

    return _PHONE.sub(mark, text)


def _replace_addresses(text: str, counts: dict[str, int]) -> str:
    def mark(match: re.Match[str]) -> str:
        try:
            ipaddress.ip_address(match[0])
        except ValueError:
            return match[0]
        if _said_before(_VERSION, match) or _NO_ADDRESS.fullmatch(match[0]):
            return match[0]
        counts["ip"] = counts.get("ip", 0) + 1
        return "[IP]"

    if "." in text:
        text = _IPV4.sub(mark, text)
    return _IPV6.sub(mark, text) if "::" in text or text.count(":") > 6 else text


def _said_before(pattern: re.Pattern[str], match: re.Match[str]) -> bool:
    """Whether the words before a number say that it is another kind of number."""
    return pattern.search(match.string, max(0, match.start() - _LOOK_BACK), match.start()) is not None


def _names_pattern(names: Iterable[str]) -> re.Pattern[str]:
    """One pattern for all names. It begins with the set of their first characters, which is what makes a search fast."""
    tries: dict[str, Trie] = {"khmer": {}, "single": {}, "latin": {}}
    for name in names:
        khmer = re.search(f"[{BASE}]", name) is not None
        single = khmer and " " not in name and len(re.findall(f"(?<!\u17d2)[{BASE}]", name)) <= 2
        node = tries["single" if single else "khmer" if khmer else "latin"]
        for character in name if khmer else name.translate(_LOWER):
            node = node.setdefault(character, {})
        node[""] = {}
    parts = [
        f"{before}(?:{'|'.join(f'(?<={_either(first)}){_rest(node, gap)}' for first, node in sorted(trie.items()))}){behind}"
        for trie, before, gap, behind in (
            (tries["khmer"], "(?<!\u17d2.)", f"[{INVISIBLE} \u00a0]*", f"(?![{MARK}\u17d2])"),
            (tries["single"], _TITLED, "", f"(?![{MARK}\u17d2])"),
            (tries["latin"], f"(?<![{_A}].)", "[ \u00a0]+", f"(?![{_A}])"),
        )
        if trie
    ]
    firsts = {case for trie in tries.values() for first in trie for case in (first, first.translate(_UPPER))}
    return re.compile(f"[{''.join(map(re.escape, sorted(firsts)))}](?:{'|'.join(parts)})")


def _rest(node: Trie, gap: str) -> str:
    """What may follow a beginning of names; the longest name first."""
    branches = [
        (gap if character == " " else _either(character)) + _rest(child, gap)
        for character, child in sorted(node.items())
        if character
    ]
    if not branches:
        return ""
    joined = branches[0] if len(branches) == 1 and "" not in node else f"(?:{'|'.join(branches)})"
    return joined + "?" * ("" in node)


def _either(character: str) -> str:
    """A character as a pattern; A to Z in either case."""
    lower = character.translate(_LOWER)
    return f"[{lower.translate(_UPPER)}{lower}]" if "a" <= lower <= "z" else re.escape(character)

"""Personal numbers and addresses are taken out of text: telephones, identity numbers, e-mail and IP addresses.

Covered: Cambodian telephone numbers with 0 or +855 and other international ones with a plus sign, in ASCII and Khmer
digits; nine-digit national identity numbers, next to a word that says so or written 9 digits with their check group;
e-mail addresses; IPv4 and IPv6. Not covered: names, street addresses, birth dates.
"""

from __future__ import annotations

import ipaddress
import re

_D = "[0-9\u17e0-\u17e9]"
_EDGE = f"(?<![\\w+.,/-])(?<!{_D})"
_STOP = f"(?!{_D})(?![/-]{_D})"
_GAP = "[ \u00a0.\\-]?"
_ZERO = "[0\u17e0]"
_EMAIL = re.compile(r"(?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![\w-])")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_KHMER_COUNTRY = "[8\u17e8][5\u17e5][5\u17e5]"
_PHONE = re.compile(
    f"{_EDGE}(?:\\(?(?:\\+|00|\u17e0\u17e0)|\\(){_KHMER_COUNTRY}\\)?{_GAP}(?:\\({_ZERO}\\))?{_GAP}{_D}(?:{_GAP}{_D}){{7,9}}{_STOP}"
    f"|{_EDGE}\\(?{_ZERO}[1-9\u17e1-\u17e9]{_D}\\)?{_GAP}/?{_GAP}{_D}(?:{_GAP}{_D}){{5,6}}{_STOP}"
    f"|{_EDGE}\\+[1-9]{_D}{{0,2}}{_GAP}{_D}(?:{_GAP}{_D}){{6,11}}{_STOP}"
)
_ID_WORD = (
    "អត្តសញ្ញាណ(?:ប័ណ្ណ|បណ្ណ)?(?:សញ្ជាតិ)?(?:ខ្មែរ)?|អត្តលេខ|លេខសម្គាល់(?:ខ្លួន)?|អ\\.?ត\\.?ខ"
    "|(?i:national\\s+id(?:entity)?(?:\\s+(?:card|number|no))*|identity\\s+(?:card|number)|id\\s*(?:card|number|no)|nid|\\bID\\b)"
)
_ID_AFTER_WORD = re.compile(
    f"((?:{_ID_WORD})[^0-9\u17e0-\u17e9\n]{{0,24}})((?<!{_D}){_D}(?:[ \u00a0-]?{_D}){{8}}(?:[ ]?\\([ ]?{_D}{{1,2}}[ ]?\\))?){_STOP}"
)
_ID_WITH_CHECK = re.compile(f"{_EDGE}()({_D}{{9}}[ ]?\\([ ]?{_D}{{1,2}}[ ]?\\))")


def redact(text: str) -> tuple[str, dict[str, int]]:
    """Return `text` with `[PHONE]`, `[ID]`, `[EMAIL]`, `[IP]` in place of what was found, and how many of each kind."""
    counts: dict[str, int] = {}
    if "@" in text:
        text = _replace(_EMAIL, "[EMAIL]", "email", text, counts)
    if not any(character.isdigit() for character in text):
        return text, counts
    text = _replace_ids(text, counts)
    text = _replace(_PHONE, "[PHONE]", "phone", text, counts)
    return _replace_addresses(text, counts), counts


def _replace(pattern: re.Pattern[str], mark: str, kind: str, text: str, counts: dict[str, int]) -> str:
    text, found = pattern.subn(mark, text)
    if found:
        counts[kind] = counts.get(kind, 0) + found
    return text


def _replace_ids(text: str, counts: dict[str, int]) -> str:
    for pattern in (_ID_AFTER_WORD, _ID_WITH_CHECK):
        text = _replace(pattern, "\\g<1>[ID]", "id", text, counts)
    return text


def _replace_addresses(text: str, counts: dict[str, int]) -> str:
    def mark(match: re.Match[str]) -> str:
        try:
            ipaddress.ip_address(match[0])
        except ValueError:
            return match[0]
        counts["ip"] = counts.get("ip", 0) + 1
        return "[IP]"

    if "." in text:
        text = _IPV4.sub(mark, text)
    return _IPV6.sub(mark, text) if "::" in text or text.count(":") > 6 else text

"""Which font draws a piece of a page: style sheets, style attributes, and the `font` element."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from lxml import etree

from baray.data.readers.base import refuse
from baray.data.readers.legacy import LEGACY_FIX, FontTally, is_legacy

Element: TypeAlias = Any
"""An element of lxml, which has no types."""

_FAMILY = re.compile(r"(?i)font(?:-family)?\s*:\s*([^;}]+)")
_LAST = re.compile(r"(?:.*[>+~])?(?:([\w-]+)|\*)?(?:([.#])([\w-]+))?")
_MOST_SELECTORS = 1000
_SIZE = re.compile(r"(?i)^.*\d(?:pt|px|em|rem|%|ex|in|cm|mm)?(?:/[\w.%]+)?\s+(?=[\"'a-z])")


def check_fonts(root: Element, css: str, ignored: frozenset[str]) -> None:
    """Raise `legacy_font` for a page that is drawn in fonts from before Unicode. `ignored` elements show no text."""
    rules = _rules(_without_comments(" ".join([css, *(style.text or "" for style in root.iter("style"))])))
    if not (any(is_legacy(font) for font in rules.values()) or _named_inside(root)):
        return
    tally = FontTally()
    fonts: dict[Element, str] = {}
    for element in root.iter(etree.Element):
        outer = fonts.get(element.getparent(), "")
        fonts[element] = _own(element, rules) or outer
        if element.tag not in ignored:
            tally.add(element.text or "", fonts[element])
        tally.add(element.tail or "", outer)
    if tally.found():
        raise refuse("legacy_font", tally.detail(), LEGACY_FIX)


def _without_comments(sheet: str) -> str:
    """`sheet` up to a comment that has no end."""
    parts, at = [], 0
    while (start := sheet.find("/*", at)) >= 0:
        parts.append(sheet[at:start])
        at = sheet.find("*/", start + 2) + 2
        if at < 2:
            return " ".join(parts)
    return " ".join([*parts, sheet[at:]])


def _named_inside(root: Element) -> bool:
    """Whether an element itself names such a font: most pages do not, and are not walked again."""
    named = (
        value for element in root.iter(etree.Element) for value in (element.get("face"), element.get("style")) if value
    )
    return any(is_legacy(value) or is_legacy(_first(value)) for value in named)


def _rules(sheet: str) -> dict[str, str]:
    """Last part of a selector (`p`, `.old`, `#id`) -> the first font that its rule names."""
    found: dict[str, str] = {}
    for rule in sheet.split("}"):
        outside, _, body = rule.rpartition("{")
        selectors = outside.rpartition("{")[2]  # of a rule inside @media
        font = _first(body) if outside else ""
        if not font or "@font-face" in selectors.lower():
            continue
        for selector in selectors.split(",")[:_MOST_SELECTORS]:
            last = (selector.split() or [""])[-1]
            match = _LAST.match(last[:200])
            if match is not None:
                found[(match[2] or "") + match[3] if match[3] else (match[1] or "*").lower()] = font
    return found


def _own(element: Element, rules: dict[str, str]) -> str:
    """Font that `element` is given itself, the most particular one first."""
    named = _first(element.get("style", "")) or element.get("face", "").split(",")[0].strip()
    keys = [f"#{element.get('id', '')}", *(f".{name}" for name in element.get("class", "").split()), element.tag]
    return named or next((rules[key] for key in keys if key in rules), rules.get("*", ""))


def _first(declarations: str) -> str:
    """The first font in `font-family: ...` or `font: 12pt ...`."""
    match = _FAMILY.search(declarations)
    return _SIZE.sub("", match[1].strip()).split(",")[0].strip(" \"'") if match else ""

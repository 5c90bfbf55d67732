"""HTML: the main text, without scripts, navigation and other boilerplate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from lxml import etree

from baray.data.readers.base import Found, ReadOptions, Record, SourceFile, file_title, first_line, refuse
from baray.data.readers.encodings import decode
from baray.data.readers.styled import check_fonts
from baray.data.readers.tables import row_lines

Element: TypeAlias = Any
"""An element of lxml, which has no types."""

_CHARSET = re.compile(
    rb"(?i)<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([a-z0-9_:.-]{2,40})|<\?xml[^>]{0,80}encoding=[\"']([a-z0-9_.-]{2,40})"
)
_DROP = frozenset(
    "script style noscript template nav aside footer button select textarea input iframe svg math object embed canvas"
    " video audio head dialog".split()
)
_DROP_ROLES = frozenset("navigation contentinfo search menu menubar dialog complementary".split())
_BLOCK = frozenset(
    "address article blockquote body dd div dl dt fieldset figcaption figure form h1 h2 h3 h4 h5 h6 header hr li main ol p"
    " pre section table tr ul caption details summary legend center td th option label".split()
)
_HEADINGS = ("h1", "h2", "h3")
_MENU = re.compile(
    r"(?i)(?:^|[\s_-])(?:nav|navbar|menu|breadcrumbs?|sidebar|cookies?|footer|adverts?|skip-link)(?:$|[\s_-])"
)
_HIDDEN = re.compile(r"(?i)display\s*:\s*none|visibility\s*:\s*hidden")
_SPACE = re.compile(r"[ \t\r\f\v\u00a0]*\n[ \t\r\n\f\v\u00a0]*|[ \t\r\f\v\u00a0]+")
_REMOVED = "removed"
_MAIN_SHARE = 0.4
_MENU_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page says."""

    text: str
    title: str
    """Its first heading, else what it calls itself, else its first line."""
    notes: tuple[str, ...]


def read_html(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """Main text of a page. Raises `legacy_font`, `decode_error`, `broken_file`."""
    page = read_page(file.read(options.max_bytes), charset=file.charset)
    yield Record(index=0, text=page.text, title=page.title or file_title(file.path), notes=page.notes)


def read_page(data: bytes, *, css: str = "", charset: str = "") -> Page:
    """The page whose bytes are `data`; `css` are style sheets beside it, `charset` is what its server said."""
    declared = _CHARSET.search(data[:4096])
    found = decode(data, declared=charset or ((declared[1] or declared[2]).decode() if declared else ""))
    root = _parse(found.text)
    if root is None:
        return Page(text="", title="", notes=found.notes)
    check_fonts(root, css, _DROP)
    page_title = " ".join((root.findtext(".//title") or "").split())
    body = root.find("body")
    body = root if body is None else body
    _prune(body)
    main = _main(body)
    text = _text(main)
    heading = next((_inline(one) for level in _HEADINGS for one in main.iter(level)), "")
    return Page(text=text, title=heading or page_title or first_line(text), notes=found.notes)


def _parse(text: str) -> Element:
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, huge_tree=False)
    try:
        return etree.fromstring(text.encode("utf-8", "replace"), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        if not text.strip():
            return None
        raise refuse("broken_file", f"The page cannot be parsed: {error}.") from error


def _prune(body: Element) -> None:
    """Take boilerplate out of the tree."""
    whole = max(1, len(_flat(body)))
    for element in list(body.iter(etree.Element)):
        if element is body:
            continue
        if _is_dropped(element) or (_looks_like_menu(element) and len(_flat(element)) < _MENU_SHARE * whole):
            element.tag = _REMOVED
    etree.strip_elements(body, _REMOVED, with_tail=False)


def _is_dropped(element: Element) -> bool:
    if element.tag in _DROP or "hidden" in element.attrib or element.get("aria-hidden") == "true":
        return True
    if _HIDDEN.search(element.get("style", "")):
        return True
    banner = element.tag == "header" or element.get("role") == "banner"
    if banner:
        # The header of a page is boilerplate, but not one that holds the title.
        return next(element.iter(*_HEADINGS), None) is None
    return element.get("role") in _DROP_ROLES


def _looks_like_menu(element: Element) -> bool:
    if element.tag not in {"div", "ul", "ol", "section", "table", "p", "span"}:
        return False
    return _MENU.search(f"{element.get('class', '')} {element.get('id', '')}") is not None


def _main(body: Element) -> Element:
    """`main` or the only article, where most of the text stands in it."""
    candidates = [*body.iter("main"), *body.xpath(".//*[@role='main']")] or list(body.iter("article"))
    if len(candidates) == 1 and len(_flat(candidates[0])) >= _MAIN_SHARE * len(_flat(body)):
        return candidates[0]
    return body


def _text(main: Element) -> str:
    raw = "".join(_pieces(main))
    lines = (_SPACE.sub(" ", line).strip() for line in raw.split("\n"))
    return "\n".join(line for line in lines if line)


def _pieces(main: Element) -> Iterator[str]:
    walker = etree.iterwalk(main, events=("start", "end"))
    for event, element in walker:
        block = element.tag in _BLOCK
        if event == "start":
            if element.tag == "table" and next(element.iterdescendants("table"), None) is None:
                yield "\n" + "\n".join(_table(element)) + "\n"
                walker.skip_subtree()
                continue
            yield "\n" if block or element.tag == "br" else ""
            yield _layout_free(element, element.text)
        else:
            yield "\n" if block else ""
            yield _layout_free(element.getparent(), element.tail) if element is not main else ""


def _layout_free(parent: Element, text: str | None) -> str:
    """Text with the line ends of the source file as spaces, except in `pre`."""
    if not text:
        return ""
    if parent is not None and (parent.tag == "pre" or next(parent.iterancestors("pre"), None) is not None):
        return text
    return text.replace("\n", " ").replace("\r", " ")


def _table(table: Element) -> Iterator[str]:
    caption = table.find("caption")
    if caption is not None and _inline(caption):
        yield _inline(caption)
    rows = [[_inline(cell) for cell in row if cell.tag in {"td", "th"}] for row in table.iter("tr")]
    first = table.find(".//tr")
    marked = first is not None and len(first) > 0 and all(cell.tag == "th" for cell in first)
    yield from row_lines(rows, header=True if marked and len(rows) > 1 else None)


def _inline(element: Element) -> str:
    return " ".join("".join(_pieces_flat(element)).split())


def _pieces_flat(element: Element) -> Iterator[str]:
    for part in element.iter():
        if part is not element and (part.tag == "br" or part.tag in _BLOCK):
            yield " "
        yield part.text or ""
        if part is not element:
            yield part.tail or ""


def _flat(element: Element) -> str:
    return "".join("".join(element.itertext()).split())

"""Build the one-window sample from the text in `tools/sample_text`.

Owns: `documents/`, `letters.csv` and the question sets below `src/baray/samples/one-window`.
Does not own: its `README.md` and `questions.jsonl`, which are written by hand.

The same text gives the same bytes, except that LibreOffice puts a date into PDF files: pages (PDF, PNG) are
only drawn again with `--pages`. Pages need LibreOffice, poppler-utils and the Khmer OS fonts; all else needs
the standard library alone.
"""

import argparse
import csv
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape

TEXT = Path(__file__).parent / "sample_text"
SAMPLE = Path(__file__).parent.parent / "src" / "baray" / "samples" / "one-window"
GREETED, THANKED = 0.7, 0.6
REQUESTS_PER_SUBJECT = 2
ZIP_DATE = (2024, 1, 1, 0, 0, 0)
SCAN_DPI = 200
PAGES = frozenset({".pdf", ".png"})
BROKEN_BYTES = 700
FIELDS_WITH_FLAGS = 6
OFFICES = {
    "civil": "Civil registry unit / ផ្នែកអត្រានុកូលដ្ឋាន",
    "land": "Land and construction unit / ផ្នែកដីធ្លី និងសំណង់",
    "business": "Business and tax unit / ផ្នែកអាជីវកម្ម និងពន្ធដារ",
    "transport": "Transport unit / ផ្នែកដឹកជញ្ជូន",
    "social": "Social, education and health unit / ផ្នែកសង្គមកិច្ច អប់រំ និងសុខាភិបាល",
    "utilities": "Water, electricity and waste unit / ផ្នែកទឹក ភ្លើង និងសំរាម",
    "agriculture": "Agriculture unit / ផ្នែកកសិកម្ម",
    "reception": "Information desk / តុព័ត៌មាន",
    "secretariat": "Secretariat / លេខាធិការដ្ឋាន",
}
LETTER_UNITS = ("civil", "land", "business", "transport", "social", "utilities")
HEADINGS = {
    "en": "One-Window Service Office, Preah Sakor province (fictional)",
    "km": "ការិយាល័យច្រកចេញចូលតែមួយ ខេត្តព្រះសាគរ (ប្រឌិត)",
}
MARKS = {"en": "Sample document, fictional.", "km": "ឯកសារគំរូ (ប្រឌិត)។"}
BOOK = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
CONTENT_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
OPENXML = "application/vnd.openxmlformats-officedocument"
A4_PAGE = '<w:sectPr><w:pgSz w:w="11906" w:h="16838"/></w:sectPr>'
XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One section of the source text: a Document to write and the questions it answers."""

    path: str
    label: str
    valid_from: str
    valid_until: str
    office: str
    flags: dict[str, str]
    lines: tuple[str, ...]
    questions: tuple[str, ...]
    tuning: tuple[str, ...]

    @property
    def suffix(self) -> str:
        return Path(self.path).suffix

    @property
    def language(self) -> str:
        return language_of(" ".join(self.lines))


def main() -> int:
    """Write the sample; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=SAMPLE, help="folder to write to (the sample of the package)")
    parser.add_argument("--pages", action="store_true", help="draw PDF and PNG files again")
    arguments = parser.parse_args()
    sources = read_sources()
    write_documents(sources, arguments.out / "documents", drawn=PAGES if arguments.pages else frozenset())
    write_documents_csv(sources, arguments.out / "documents")
    write_questions(sources, arguments.out)
    write_letters(arguments.out)
    sys.stdout.write(f"{len(sources)} documents in {arguments.out}\n")
    return 0


def write_documents(sources: list[Source], folder: Path, *, drawn: frozenset[str]) -> None:
    """Write every file below `folder`; pages only of the formats in `drawn`."""
    for source in sources:
        if source.suffix in PAGES - drawn:
            continue
        target = folder / source.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(render(source))
    for source in sources:
        if "copy" in source.flags:
            shutil.copyfile(folder / source.flags["copy"], folder / source.path)


def language_of(text: str) -> str:
    """Return `km` when Khmer letters outnumber Latin ones."""
    khmer = sum("\u1780" <= letter <= "\u17ff" for letter in text)
    latin = sum(letter.isascii() and letter.isalpha() for letter in text)
    return "km" if khmer > latin else "en"


def read_sources() -> list[Source]:
    """Read every section of the source text, in file order, with `like=` sections filled in."""
    sources: dict[str, Source] = {}
    for file in sorted((TEXT / "documents").glob("*.txt")):
        for section in file.read_text(encoding="utf-8").split("=== ")[1:]:
            source = parse_section(section)
            sources[source.path] = source
    for path, source in sources.items():
        if "like" in source.flags:
            old, new = source.flags["replace"].split("=>")
            model = sources[source.flags["like"]].lines
            sources[path] = replace(source, lines=tuple(line.replace(old, new) for line in model))
    return list(sources.values())


def parse_section(section: str) -> Source:
    """Read one section: the header line, then text, test questions and tuning questions."""
    header, _, body = section.partition("\n")
    fields = [field.strip() for field in header.split("|")]
    lines = body.strip().replace("{z}", "\u200b").split("\n")
    return Source(
        path=fields[0],
        label=fields[1],
        valid_from=fields[2],
        valid_until=fields[3],
        office=fields[4],
        flags=parse_flags(fields[5] if len(fields) == FIELDS_WITH_FLAGS else ""),
        lines=tuple(line for line in lines if not line.startswith(("Q: ", "T: "))),
        questions=tuple(line[3:] for line in lines if line.startswith("Q: ")),
        tuning=tuple(line[3:] for line in lines if line.startswith("T: ")),
    )


def parse_flags(text: str) -> dict[str, str]:
    """Read `a b=c d=many words`: a key is a word at a boundary, followed by `=`, or one of the bare flags."""
    bare = {"broken", "empty", "zip", "misordered"}
    if text in bare:
        return {text: ""}
    return {
        match[1]: match[2].strip()
        for match in re.finditer(r"(copy|like|group|replace)=(.*?)(?=\s(?:copy|like|group|replace)=|$)", text)
    }


def render(source: Source) -> bytes:
    """Return the bytes of the file that `source` describes."""
    if "empty" in source.flags or "copy" in source.flags:
        return b""
    if "zip" in source.flags:
        # A database of an old office program, which no reader is there for; only its first bytes.
        head = "\0\1\0\0Standard Jet DB\0\1\0\0\0"
        return pack({"forms.mdb": head + "Sample document, fictional. Old forms of the transport unit." + "\0" * 64})
    if "broken" in source.flags:
        return render_docx(source)[:BROKEN_BYTES]
    if "misordered" in source.flags:
        source = replace(source, lines=tuple(misorder(line) for line in source.lines))
    renderers = {
        ".docx": render_docx,
        ".pdf": render_pdf,
        ".png": render_scan,
        ".html": render_html,
        ".xlsx": render_xlsx,
        ".csv": render_csv,
        ".jsonl": render_jsonl,
        ".md": render_markdown,
        ".txt": render_text,
    }
    return renderers[source.suffix](source)


def misorder(line: str) -> str:
    """Type vowels before subscripts and signs before vowels: a common mistake that looks right on paper."""
    line = re.sub("([\u1780-\u17a2])(\u17d2[\u1780-\u17a2])([\u17b6-\u17c5])", r"\1\3\2", line)
    return re.sub("(\u17bb)([\u17c6\u17c7])", r"\2\1", line)


def page_lines(source: Source) -> list[str]:
    """Return heading, text and the mark that says it is a sample."""
    return [HEADINGS[source.language], *source.lines, MARKS[source.language]]


def render_markdown(source: Source) -> bytes:
    blocks: list[str] = []
    for line in page_lines(source):
        is_list = line.startswith("- ") and bool(blocks) and blocks[-1].startswith("- ")
        blocks[-1:] = [f"{blocks[-1]}\n{line}"] if is_list else [*blocks[-1:], line]
    return ("\n\n".join(blocks) + "\n").encode()


def render_text(source: Source) -> bytes:
    lines = [line.lstrip("# ") if line.startswith("#") else line for line in page_lines(source)]
    return ("\n".join(lines) + "\n").encode()


def render_html(source: Source) -> bytes:
    body = []
    for line in source.lines:
        tag, text = html_tag(line)
        body.append(f"<{tag}>{html.escape(text, quote=False)}</{tag}>")
    joined = re.sub(r"((?:<li>.*</li>\n?)+)", r"<ul>\n\1</ul>\n", "\n".join(body) + "\n")
    title = html.escape(source.lines[0].lstrip("# "), quote=False)
    return (
        f'<!DOCTYPE html>\n<html lang="{source.language}">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        "<style>body { font-family: sans-serif; max-width: 40em }</style>\n</head>\n<body>\n"
        f"<header>{HEADINGS[source.language]}</header>\n<main>\n{joined}</main>\n<footer>{MARKS[source.language]}</footer>\n</body>\n</html>\n"
    ).encode()


def html_tag(line: str) -> tuple[str, str]:
    """Return the element and the text of one source line."""
    for mark, tag in (("## ", "h2"), ("# ", "h1"), ("- ", "li")):
        if line.startswith(mark):
            return tag, line.removeprefix(mark)
    return "p", line


def render_csv(source: Source) -> bytes:
    columns = source.lines[0].count(",")
    return ("\n".join([*source.lines, f'"{MARKS[source.language]}"' + "," * columns]) + "\n").encode()


def render_jsonl(source: Source) -> bytes:
    rows = [json.dumps(json.loads(line), ensure_ascii=False) for line in source.lines]
    return ("\n".join(rows) + "\n").encode()


def render_docx(source: Source) -> bytes:
    """Write a minimal Word file: one paragraph a line, heading styles, Khmer font for complex script."""
    normal = '<w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/></w:style>'
    styles = normal + "".join(word_style(name, size) for name, size in (("Heading1", 32), ("Heading2", 26)))
    paragraphs = "".join(word_paragraph(line) for line in page_lines(source))
    body = f"<w:body>{paragraphs}{A4_PAGE}</w:body>"
    main_type = f"{OPENXML}.wordprocessingml"
    return pack(
        {
            "[Content_Types].xml": content_types(
                {"/word/document.xml": f"{main_type}.document.main+xml", "/word/styles.xml": f"{main_type}.styles+xml"}
            ),
            "_rels/.rels": relations({"officeDocument": "word/document.xml"}),
            "word/_rels/document.xml.rels": relations({"styles": "styles.xml"}),
            "word/styles.xml": f'{XML}<w:styles xmlns:w="{WORD}">{styles}</w:styles>',
            "word/document.xml": f'{XML}<w:document xmlns:w="{WORD}">{body}</w:document>',
        }
    )


def word_style(name: str, size: int) -> str:
    return (
        f'<w:style w:type="paragraph" w:styleId="{name}"><w:name w:val="heading {name[-1]}"/>'
        f'<w:rPr><w:b/><w:bCs/><w:sz w:val="{size}"/><w:szCs w:val="{size}"/></w:rPr></w:style>'
    )


def word_paragraph(line: str) -> str:
    tag, text = html_tag(line)
    style = {
        "h1": '<w:pPr><w:pStyle w:val="Heading1"/></w:pPr>',
        "h2": '<w:pPr><w:pStyle w:val="Heading2"/></w:pPr>',
    }.get(tag, "")
    size = "" if style else '<w:sz w:val="24"/><w:szCs w:val="24"/>'
    fonts = '<w:rFonts w:ascii="Noto Sans" w:hAnsi="Noto Sans" w:cs="Khmer OS Battambang"/>'
    bullet = "- " if tag == "li" else ""
    words = f'<w:t xml:space="preserve">{escape(bullet + text)}</w:t>'
    return f'<w:p>{style}<w:r><w:rPr>{fonts}{size}<w:lang w:bidi="km-KH"/></w:rPr>{words}</w:r></w:p>'


def render_xlsx(source: Source) -> bytes:
    """Write a minimal workbook with one sheet of inline strings and numbers."""
    rows = [*(line.split(" | ") for line in source.lines), [MARKS["en"], MARKS["km"]]]
    cells = "".join(
        f'<row r="{number}">{"".join(map(sheet_cell, row))}</row>' for number, row in enumerate(rows, start=1)
    )
    main_type = f"{OPENXML}.spreadsheetml"
    sheets = f'<sheets><sheet name="Fees" sheetId="1" r:id="{relation_id("worksheet")}"/></sheets>'
    return pack(
        {
            "[Content_Types].xml": content_types(
                {"/xl/workbook.xml": f"{main_type}.sheet.main+xml", "/xl/sheet.xml": f"{main_type}.worksheet+xml"}
            ),
            "_rels/.rels": relations({"officeDocument": "xl/workbook.xml"}),
            "xl/_rels/workbook.xml.rels": relations({"worksheet": "sheet.xml"}),
            "xl/workbook.xml": f'{XML}<workbook xmlns="{BOOK}" xmlns:r="{OFFICE_RELATIONS}">{sheets}</workbook>',
            "xl/sheet.xml": f'{XML}<worksheet xmlns="{BOOK}"><sheetData>{cells}</sheetData></worksheet>',
        }
    )


def sheet_cell(value: str) -> str:
    return f"<c><v>{value}</v></c>" if value.isdecimal() else f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'


def content_types(parts: dict[str, str]) -> str:
    overrides = "".join(f'<Override PartName="{name}" ContentType="{kind}"/>' for name, kind in parts.items())
    defaults = (
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
    )
    return f'{XML}<Types xmlns="{CONTENT_TYPES}">{defaults}{overrides}</Types>'


def relation_id(kind: str) -> str:
    return f"r-{kind}"


def relations(targets: dict[str, str]) -> str:
    head = f'<Relationships xmlns="{RELATIONS}">'
    links = "".join(
        f'<Relationship Id="{relation_id(kind)}" Type="{OFFICE_RELATIONS}/{kind}" Target="{target}"/>'
        for kind, target in targets.items()
    )
    return f"{XML}{head}{links}</Relationships>"


def pack(parts: dict[str, str]) -> bytes:
    """Zip `parts` with a fixed date, so that the same text gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in parts.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), text.encode(), compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def render_pdf(source: Source) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return draw_pdf(source, Path(folder)).read_bytes()


def draw_pdf(source: Source, folder: Path) -> Path:
    """Let LibreOffice lay out the Word file in `folder`; it shapes Khmer and embeds only the glyphs in use."""
    word_file = folder / "page.docx"
    word_file.write_bytes(render_docx(source))
    profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
    command = ["soffice", profile, "--headless", "--convert-to", "pdf", "--outdir", str(folder), str(word_file)]
    subprocess.run(command, check=True, capture_output=True, timeout=180)
    return folder / "page.pdf"


def render_scan(source: Source) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = draw_pdf(source, folder)
        command = ["pdftoppm", "-r", str(SCAN_DPI), "-gray", "-png", "-singlefile", str(page), str(folder / "scan")]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return (folder / "scan.png").read_bytes()


def write_documents_csv(sources: list[Source], folder: Path) -> None:
    with (folder / "documents.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "label", "valid_from", "valid_until", "office"])
        writer.writerows([s.path, s.label, s.valid_from, s.valid_until, OFFICES[s.office]] for s in sources)


def write_questions(sources: list[Source], out: Path) -> None:
    """Write the test and tuning sets of each language; copies and re-issues answer the same questions."""
    sets: dict[tuple[str, str], list[dict[str, object]]] = {}
    groups: dict[str, list[str]] = {}
    for source in sources:
        groups.setdefault(group_of(source), []).append(source.path)
    answer_in = {source.path: groups[group_of(source)] for source in sources}
    for source in sources:
        add_questions(sets, "tests", source.questions, answer_in[source.path])
        add_questions(sets, "tuning", source.tuning, answer_in[source.path])
    for line in (TEXT / "everyday-questions.txt").read_text(encoding="utf-8").splitlines():
        question, path = line.split(" => ")
        add_questions(sets, "tests", (question,), answer_in[path])
    for line in (TEXT / "out-of-scope.txt").read_text(encoding="utf-8").splitlines():
        add_questions(sets, "tests" if line.startswith("Q: ") else "tuning", (line[3:],), None)
    for (folder, language), rows in sets.items():
        target = out / folder / f"questions-{language}.jsonl"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def group_of(source: Source) -> str:
    return source.flags.get("group", source.path)


def add_questions(
    sets: dict[tuple[str, str], list[dict[str, object]]],
    folder: str,
    questions: tuple[str, ...],
    paths: list[str] | None,
) -> None:
    for question in questions:
        language = language_of(question)
        sets.setdefault((folder, language), []).append({"question": question, "language": language, "answer_in": paths})


def write_letters(out: Path) -> None:
    """Put an opening and a closing around every letter of the source text; each letter is used once."""
    rows = []
    for language in ("km", "en"):
        frames = letter_lines("frames.txt", language)
        openings = [line[3:] for line in frames if line.startswith("O: ")]
        closings = [line[3:] for line in frames if line.startswith("C: ")]
        for unit in LETTER_UNITS:
            letters = [*letter_lines(f"{language}-{unit}.txt", language), *short_letters(unit, language)]
            rows += [(language, unit, frame_letter(openings, letter, closings)) for letter in letters]
    rows.sort(key=lambda row: chance("order", row[2]))
    with (out / "letters.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "language", "unit", "text"])
        writer.writerows((f"letter-{number:03}", *row) for number, row in enumerate(rows, start=1))


def letter_lines(name: str, language: str) -> list[str]:
    lines = (TEXT / "letters" / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if language_of(line) == language]


def short_letters(unit: str, language: str) -> list[str]:
    """Ask two different things about each subject of a unit."""
    requests = letter_lines("requests.txt", language)
    subjects = [line.split("\t") for line in letter_lines("subjects.txt", language)]
    letters = []
    for subject in (part.strip() for name, parts in subjects if name == unit for part in parts.split(";")):
        by_chance = sorted(requests, key=lambda request: chance(request, subject))
        letters += [request.replace("{x}", subject) for request in by_chance[:REQUESTS_PER_SUBJECT]]
    return letters


def frame_letter(openings: list[str], letter: str, closings: list[str]) -> str:
    """Most people greet and thank; some do one of the two; some do neither."""
    opening = pick("opening", letter, openings) if chance("greets", letter) < GREETED else ""
    closing = pick("closing", letter, closings) if chance("thanks", letter) < THANKED else ""
    return " ".join(part for part in (opening, letter, closing) if part)


def pick(purpose: str, letter: str, choices: list[str]) -> str:
    return choices[int(chance(purpose, letter) * len(choices))]


def chance(purpose: str, letter: str) -> float:
    """Return a number in [0, 1) fixed by the letter's text, so that a new letter changes no other."""
    digest = hashlib.sha256(f"{purpose}\n{letter}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


if __name__ == "__main__":
    sys.exit(main())

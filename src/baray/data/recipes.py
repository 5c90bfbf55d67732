"""The recipes of this room: frozen configurations, their options with help, defaults and units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeAlias, TypeVar

from baray.core import Refused

HANDLERS = {
    "text": "baray.data.pipeline.handler:build",
    "tokens": "baray.data.tokens.handler:build",
    "table": "baray.data.tables.handler:build",
    "images": "baray.data.tables.images:build",
    "desk": "baray.data.indexing:build",
}
"""Recipe -> dotted name of the handler that an attempt's process loads."""
TAKES = {"text": ("source",), "tokens": ("dataset",), "table": ("source",), "images": ("source",), "desk": ("dataset",)}
"""Recipe -> kinds of input that it is made of."""
ALL_CPUS = frozenset({"tokens"})
"""Recipes that take all free cores unless told otherwise."""
MOUNTS = {"tokens": {"tokenizer": "model"}}
"""Recipe -> options that name a version to mount beside the input: option -> kind."""
MOUNTS_IF_GIVEN = {"text": {"against": "dataset"}}
"""Recipe -> options that may name versions, with commas, to mount beside the input: option -> kind."""
READER_MODULE = "baray.data.queries.reader"
QUERY_MODULE = "baray.data.queries.sql"
"""Program that shows rows and drops of a Dataset version: `python -m` of this name."""

FILTERS = ("gopher_repetition", "gopher_quality", "c4", "fineweb")
"""Names of the filters of recipe `text`, in their order."""
LANGUAGES = ("en", "km", "other")
"""Languages that may have thresholds of their own."""

Value: TypeAlias = Any
"""A value of an option: text, whole number, number, or yes and no."""

T = TypeVar("T", bound="TextRecipe | TokensRecipe | TableRecipe | ImagesRecipe | DeskIndexRecipe")


def _option(default: Value, text: str, *, unit: str = "", least: float = -math.inf, most: float = math.inf) -> Value:
    return field(default=default, metadata={"help": text, "unit": unit, "least": least, "most": most})


def _limit(default: str, text: str, unit: str, *, paper: str = "Gopher") -> Value:
    """A threshold of a filter, a number for all languages and others for some: `50, km=100`."""
    help_text = f"{text} ({paper}). For one language: km=NUMBER."
    return field(
        default=default, metadata={"help": help_text, "unit": unit, "least": 0, "most": math.inf, "limit": True}
    )


def _repeated(reason: str, default: str) -> Value:
    return _limit(default, f"gopher_repetition: most of a Document that may be {reason}", "share")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRecipe:
    """Any files -> cleaned, deduplicated Documents."""

    rows: str = _option(
        "auto",
        "One Document per row of CSV, XLSX and JSONL: yes, no, or auto (JSONL; CSV with a column of texts, or of over"
        " 2,000 rows or 5 MB).",
    )
    text_field: str = _option("text", "Column or key that holds the text of a row, where rows are Documents.")
    languages: str = _option("", "Keep only Documents in these languages: km, en, other, with commas. Empty keeps all.")
    ocr: bool = _option(default=True, text="Read scans with the tesseract program.")
    ocr_pages: int = _option(50, "Most pages of one file that are read as scans.", unit="pages", least=0, most=5000)
    max_file_megabytes: int = _option(
        200,
        "Larger files are refused, also inside archives; rows are read whatever their number.",
        unit="MB",
        least=1,
        most=4000,
    )
    max_unpacked_megabytes: int = _option(
        20_000, "Most that one archive or compressed file may unpack to.", unit="MB", least=1, most=10_000_000
    )
    min_letters: int = _option(12, "Documents with fewer letters and digits are dropped.", unit="letters", least=0)
    max_symbols: float = _option(
        0.6, "Most of a Document that may be neither letter, mark nor digit.", unit="share", least=0, most=1
    )
    max_repeated_lines: float = _option(
        0.7, "Most of a Document's lines that may repeat an earlier line.", unit="share", least=0, most=1
    )
    redact: bool = _option(default=True, text="Take telephone and identity numbers, e-mail and IP addresses out.")
    near_duplicates: float = _option(
        0.8,
        "Drop a Document whose 5-gram Jaccard similarity to a kept one is at least this; 0 keeps all.",
        unit="share",
        least=0,
        most=1,
    )
    numbers_must_agree: bool = _option(
        default=True,
        text="Never call two Documents near duplicates when a number other than a date differs (a fee, a room).",
    )
    duplicate_lines: int = _option(
        0,
        "Take out lines that stand in more Documents than this (a menu, a footer), before duplicates are looked for; 0 keeps all.",
        unit="Documents",
        least=0,
    )
    against: str = _option(
        "",
        "Leave out Documents that equal or nearly equal one of an earlier text Dataset: dataset:NAME or dataset:NAME@vN, with"
        " commas.",
    )
    filters: str = _option(
        "",
        "Filters for text of the web, with commas: gopher_repetition, gopher_quality, c4, fineweb; or all. They would drop"
        " many a letter of an office, so none is the default. Words of Khmer are syllable clusters here.",
    )
    gopher_duplicate_paragraphs: str = _repeated("repeated paragraphs, by number", "0.3")
    gopher_duplicate_paragraph_characters: str = _repeated("repeated paragraphs", "0.2")
    gopher_duplicate_lines: str = _repeated("repeated lines, by number", "0.3")
    gopher_duplicate_line_characters: str = _repeated("repeated lines", "0.2")
    gopher_top_2_gram: str = _repeated("its most frequent run of 2 words", "0.2")
    gopher_top_3_gram: str = _repeated("its most frequent run of 3 words", "0.18")
    gopher_top_4_gram: str = _repeated("its most frequent run of 4 words", "0.16")
    gopher_duplicate_5_gram: str = _repeated("repeated runs of 5 words", "0.15, km=0.4")
    gopher_duplicate_6_gram: str = _repeated("repeated runs of 6 words", "0.14, km=0.35")
    gopher_duplicate_7_gram: str = _repeated("repeated runs of 7 words", "0.13, km=0.31")
    gopher_duplicate_8_gram: str = _repeated("repeated runs of 8 words", "0.12, km=0.27")
    gopher_duplicate_9_gram: str = _repeated("repeated runs of 9 words", "0.11, km=0.23")
    gopher_duplicate_10_gram: str = _repeated("repeated runs of 10 words", "0.1, km=0.2")
    gopher_min_words: str = _limit("50, km=100", "gopher_quality: fewest words that are no signs", "words")
    gopher_max_words: str = _limit("100000, km=200000", "gopher_quality: most words that are no signs", "words")
    gopher_min_word_length: str = _limit("3, km=1.3", "gopher_quality: least mean length of a word", "letters")
    gopher_max_word_length: str = _limit("10, km=7", "gopher_quality: greatest mean length of a word", "letters")
    gopher_max_symbols: str = _limit("0.1", "gopher_quality: most number signs, and most ellipses", "for each word")
    gopher_max_bullets: str = _limit("0.9", "gopher_quality: most lines that begin with a bullet", "share")
    gopher_max_open_lines: str = _limit("0.3", "gopher_quality: most lines that end with an ellipsis", "share")
    gopher_min_alphabetic: str = _limit("0.8, km=0.6", "gopher_quality: fewest words with a letter", "share")
    gopher_min_stop_words: str = _limit("2, other=0", "gopher_quality: fewest different stop words", "words")
    c4_line_ends: bool = _option(default=True, text="c4: remove lines that do not end as a sentence does (C4).")
    c4_min_line_words: str = _limit(
        "3, km=1", "c4: lines with fewer words between spaces are removed", "words", paper="C4"
    )
    c4_min_sentences: str = _limit(
        "5, km=1", "c4: fewest sentences in the lines that are left; the others are taken out", "sentences", paper="C4"
    )
    fineweb_min_line_ends: str = _limit(
        "0.12", "fineweb: fewest lines that end as a sentence does", "share", paper="FineWeb"
    )
    fineweb_short_line: str = _limit("30", "fineweb: a line of so many letters is short", "letters", paper="FineWeb")
    fineweb_max_short_lines: str = _limit("0.67", "fineweb: most lines that are short", "share", paper="FineWeb")
    fineweb_max_repeated: str = _limit(
        "0.01", "fineweb: most of it that may be repeated lines", "share", paper="FineWeb"
    )
    fineweb_max_newlines: str = _limit("0.3, km=0.15", "fineweb: most line ends", "for each word", paper="FineWeb")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensRecipe:
    """A text Dataset -> tokens to train a language model on, in memory-mapped shards."""

    tokenizer: str = _option("", "Model that cuts text into tokens, as model:NAME or model:NAME@vN; it must be given.")
    held_out: str = _option("1%", "Part of the Documents that is only measured on, chosen by their ids.")
    shard_tokens: int = _option(100_000_000, "Most tokens of one shard.", unit="tokens", least=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRecipe:
    """Files with rows -> typed columns, with units, keys and what is odd about them."""

    key: str = _option(
        "", "Columns that tell rows apart, with commas; rows without or with one that was there are dropped."
    )
    types: str = _option(
        "",
        "Types of columns, as fee=integer,opened=date: text, boolean, integer, number, date, time; rows with another value are"
        " dropped. A column that is not named has the type that all its values have.",
    )
    units: str = _option("", "Units of columns, as fee=KHR,length=m; kept with the column.")
    sheet: str = _option("", "Sheet of a workbook; empty: the first that is shown.")
    duplicates: str = _option("keep", "Rows that are the same in all columns, where no key is given: keep or drop.")
    max_file_megabytes: int = _option(
        200, "Larger workbooks and JSON arrays are refused.", unit="MB", least=1, most=4000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesRecipe:
    """Pictures -> rows that other tools open as pictures; place, time and camera are taken out of them."""

    classes: str = _option("folders", "What a picture shows: folders (the name of its folder) or none.")
    longest_side: int = _option(
        0, "Make larger pictures this large; 0 keeps their size.", unit="pixels", least=0, most=20_000
    )
    least_side: int = _option(32, "Smaller pictures are dropped.", unit="pixels", least=1, most=20_000)
    near_duplicates: int = _option(
        0,
        "Drop a picture whose difference hash has at most so many of 64 bits other than that of a kept one; 0: only equal ones.",
        unit="bits",
        least=0,
        most=32,
    )
    max_megapixels: int = _option(50, "Larger pictures are refused.", unit="million pixels", least=1, most=1000)
    max_file_megabytes: int = _option(200, "Larger files are refused.", unit="MB", least=1, most=4000)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskIndexRecipe:
    """A Dataset -> the Index that a Desk searches, one segment per label. It has no options."""


RECIPES: dict[
    str, type[TextRecipe] | type[TokensRecipe] | type[TableRecipe] | type[ImagesRecipe] | type[DeskIndexRecipe]
] = {
    "text": TextRecipe,
    "tokens": TokensRecipe,
    "table": TableRecipe,
    "images": ImagesRecipe,
    "desk": DeskIndexRecipe,
}
"""Recipe name -> its configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionHelp:
    """What a user reads about one option."""

    name: str
    default: str | float | bool
    unit: str
    help: str


def describe(recipe: str) -> list[OptionHelp]:
    """The options of `recipe`, in order."""
    return [
        OptionHelp(name=one.name, default=_default(one), unit=one.metadata["unit"], help=one.metadata["help"])
        for one in fields(RECIPES[recipe])
    ]


def read_options(config: type[T], options: dict[str, Value]) -> T:
    """Make `config` from `options`, whose values may be text from a command line. Raises Refused `bad_option`."""
    known = {one.name: one for one in fields(config)}
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise Refused("bad_option", f"There is no option '{unknown[0]}'.", fix="Choose from: " + ", ".join(known) + ".")
    values: dict[str, Value] = {name: _typed(name, value, _default(known[name])) for name, value in options.items()}
    for name, value in values.items():
        _check_range(name, value, known[name].metadata)
    recipe = config(**values)
    if isinstance(recipe, TextRecipe):
        _check_words(recipe)
    if isinstance(recipe, TokensRecipe):
        percent(recipe.held_out)
    if isinstance(recipe, ImagesRecipe) and recipe.classes not in {"folders", "none"}:
        raise Refused(
            "bad_option", f"'{recipe.classes}' for option 'classes' is unknown.", fix="Write folders or none."
        )
    if isinstance(recipe, TableRecipe) and recipe.duplicates not in {"keep", "drop"}:
        raise Refused(
            "bad_option", f"'{recipe.duplicates}' for option 'duplicates' is unknown.", fix="Write keep or drop."
        )
    return recipe


def _default(option: Field[Value]) -> Value:
    return option.default


def _typed(name: str, value: Value, default: Value) -> object:
    text = str(value).strip().lower()
    if isinstance(default, bool):
        if text in {"true", "yes", "1", "on"}:
            return True
        if text in {"false", "no", "0", "off"}:
            return False
        raise Refused("bad_option", f"'{value}' for option '{name}' is neither yes nor no.", fix="Write true or false.")
    if isinstance(default, str):
        return {"true": "yes", "false": "no"}.get(text, text) if name == "rows" else str(value).strip()
    try:
        return type(default)(text)
    except ValueError as error:
        message = f"'{value}' for option '{name}' is not a number."
        raise Refused("bad_option", message, fix=f"The default is {default}.") from error


def _check_range(name: str, value: Value, limits: Mapping[str, Value]) -> None:
    least, most = limits["least"], limits["most"]
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    if not least <= value <= most:
        bounds = f"at least {least}" if most == math.inf else f"{least} to {most}"
        fix = f"Take {bounds} {limits['unit']}."
        raise Refused("bad_option", f"{value} for option '{name}' is out of range.", fix=fix)


def _check_words(recipe: TextRecipe) -> None:
    filter_set(recipe)
    for one in fields(recipe):
        if one.metadata.get("limit"):
            by_language(one.name, getattr(recipe, one.name))
    if recipe.rows not in {"auto", "yes", "no"}:
        raise Refused("bad_option", f"'{recipe.rows}' for option 'rows' is unknown.", fix="Write yes, no or auto.")
    wrong = sorted(language_set(recipe) - {"km", "en", "other"})
    if wrong:
        raise Refused(
            "bad_option", f"'{wrong[0]}' for option 'languages' is unknown.", fix="Choose from km, en, other."
        )


def percent(text: str) -> float:
    """`1%` or `1` as a number between 0 and 50. Raises Refused `bad_option`."""
    try:
        found = float(text.strip().removesuffix("%"))
    except ValueError:
        found = -1.0
    if not 0 < found <= 50:
        raise Refused("bad_option", f"'{text}' is not a share that can be held out.", fix="Write for example 1%.")
    return found


def language_set(recipe: TextRecipe) -> frozenset[str]:
    """Languages that `recipe` keeps; empty means all."""
    return frozenset(part.strip() for part in recipe.languages.split(",") if part.strip())


def filter_set(recipe: TextRecipe) -> frozenset[str]:
    """Filters that `recipe` asks for. Raises Refused `bad_option`."""
    names = [part.strip() for part in recipe.filters.split(",") if part.strip()]
    wrong = sorted(set(names) - {*FILTERS, "all", "none"})
    if wrong:
        known = ", ".join((*FILTERS, "all"))
        raise Refused("bad_option", f"'{wrong[0]}' for option 'filters' is unknown.", fix=f"Choose from {known}.")
    return frozenset(FILTERS) if "all" in names else frozenset(names) - {"none"}


def by_language(name: str, text: str) -> dict[str, float]:
    """A threshold for each of `LANGUAGES`. Raises Refused `bad_option`."""
    found: dict[str, float] = {}
    for part in text.split(","):
        language, equals, number = part.strip().rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value < math.inf or (equals and language not in LANGUAGES):
            message = f"'{part.strip()}' for option '{name}' is no threshold."
            raise Refused("bad_option", message, fix="Write a number, or for example 50, km=100.")
        found |= {language: value} if equals else dict.fromkeys(LANGUAGES, value) | found
    if set(found) != set(LANGUAGES):
        missing = ", ".join(one for one in LANGUAGES if one not in found)
        raise Refused(
            "bad_option", f"Option '{name}' has no number for {missing}.", fix="Write one that is for all first."
        )
    return found

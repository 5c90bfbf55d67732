"""The filters by name, their rules in the order in which they are asked, and what each rule looks at.

Each rule is of a paper: Gopher (Rae et al. 2021, appendix A1), C4 (Raffel et al. 2020, section 2.2), FineWeb (Penedo et al.
2024, section 3.6). Thresholds are options of the recipe; for Khmer, whose words here are syllable clusters, some differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import polars as pl

from baray.data.kernel import measures
from baray.data.kernel.measures import LanguageRules
from baray.data.recipes import LANGUAGES, TextRecipe, by_language

GROUPS = {
    "gopher_repetition": measures.REPETITION,
    "gopher_quality": measures.QUALITY,
    "c4": measures.C4,
    "fineweb": measures.FINEWEB,
}
STOP_WORDS: dict[str, tuple[str, ...]] = {
    "en": ("the", "be", "to", "of", "and", "that", "have", "with"),
    "km": ("ជា", "នៅ", "ពី", "ថា", "ទៅ", "ឲ្យ", "ឱ្យ", "ក៏", "ទេ"),
    "other": (),
}
"""Of English those of Gopher; of Khmer such as are one cluster. At most 64 a language."""
LINE_ENDS = {"en": ".?!\"'", "km": ".?!\"'។៕៚", "other": ".?!\"'"}
"""Signs with which a line may end for C4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One reason to drop a Document."""

    step: str
    """Name of the filter."""
    reason: str
    broken: pl.Expr
    """Whether a row of measures breaks the rule."""
    detail: pl.Expr
    """What was measured, in words."""


def rules(names: frozenset[str], limits: Mapping[str, pl.Expr]) -> list[Rule]:
    """Rules of the filters `names`, in order. `limits`: threshold of each row, by the name of the option."""
    found: list[Rule] = []
    for name, make in (("gopher_repetition", _repetition), ("gopher_quality", _quality), ("c4", _c4)):
        if name in names:
            found += make(limits)
    if "fineweb" in names:
        found += _fineweb(limits, cut="c4" in names)
    return found


def _repetition(limits: Mapping[str, pl.Expr]) -> list[Rule]:
    length = pl.col("characters")
    shares = [
        (
            "duplicate_paragraphs",
            _share(pl.col("repeated_paragraphs"), pl.col("paragraphs")),
            "of its paragraphs repeat",
        ),
        (
            "duplicate_paragraph_characters",
            _share(pl.col("repeated_paragraph_letters"), length),
            "of it is in repeated paragraphs",
        ),
        ("duplicate_lines", _share(pl.col("repeated_lines"), pl.col("lines")), "of its lines repeat"),
        ("duplicate_line_characters", _share(pl.col("repeated_line_letters"), length), "of it is in repeated lines"),
    ]
    shares += [
        (f"top_{size}_gram", _share(pl.col(f"top_{size}"), length), f"of it is one run of {size} words")
        for size in range(2, 5)
    ]
    shares += [
        (
            f"duplicate_{size}_gram",
            _share(pl.col(f"repeated_{size}"), length),
            f"of it is repeated runs of {size} words",
        )
        for size in range(5, 11)
    ]
    return [
        _above("gopher_repetition", reason, share, limits[f"gopher_{reason}"], text) for reason, share, text in shares
    ]


def _quality(limits: Mapping[str, pl.Expr]) -> list[Rule]:
    words, plain, lines, stops = (pl.col(name) for name in ("words", "plain_words", "split_lines", "stop_words"))
    mean = _share(pl.col("plain_letters"), plain)
    step, symbols = "gopher_quality", limits["gopher_max_symbols"]
    counted = [
        ("too_few_words", plain < limits["gopher_min_words"], plain, "words"),
        ("too_many_words", plain > limits["gopher_max_words"], plain, "words"),
        ("words_too_short", mean < limits["gopher_min_word_length"], mean.round(2), "letters a word"),
        ("words_too_long", mean > limits["gopher_max_word_length"], mean.round(2), "letters a word"),
    ]
    shares = [
        ("too_many_hashes", _share(pl.col("hashes"), words), symbols, "as many hashes as words"),
        ("too_many_ellipses", _share(pl.col("ellipses"), words), symbols, "as many ellipses as words"),
        (
            "too_many_bullets",
            _share(pl.col("bullet_lines"), lines),
            limits["gopher_max_bullets"],
            "of its lines are bullets",
        ),
        (
            "too_many_open_lines",
            _share(pl.col("open_lines"), lines),
            limits["gopher_max_open_lines"],
            "of its lines end open",
        ),
    ]
    lettered, fewest = _share(pl.col("alphabetic_words"), words), limits["gopher_min_alphabetic"]
    few_stops = stops < limits["gopher_min_stop_words"]
    return [
        *(_counted(step, reason, broken, value, text) for reason, broken, value, text in counted),
        *(_above(step, reason, share, limit, text) for reason, share, limit, text in shares),
        _below(step, "too_few_alphabetic_words", lettered, fewest, "of its words have a letter"),
        _counted(step, "too_few_stop_words", few_stops, stops, "different stop words"),
    ]


def _c4(limits: Mapping[str, pl.Expr]) -> list[Rule]:
    state, sentences = pl.col("c4_state"), pl.col("c4_sentences")
    return [
        Rule(step="c4", reason="lorem_ipsum", broken=state == 2, detail=pl.lit("It holds the filler 'lorem ipsum'.")),
        Rule(step="c4", reason="curly_bracket", broken=state == 3, detail=pl.lit("It holds a curly bracket: code.")),
        _counted(
            "c4", "too_few_sentences", sentences < limits["c4_min_sentences"], sentences, "sentences in good lines"
        ),
    ]


def _fineweb(limits: Mapping[str, pl.Expr], *, cut: bool) -> list[Rule]:
    """Rules of FineWeb, on the lines that C4 leaves where both are asked for (`cut`)."""
    lines, ended, shorts, repeated = (
        pl.col(name)
        for name in (
            ("c4_kept", "c4_ended", "c4_short", "c4_repeated")
            if cut
            else ("inked_lines", "ended_lines", "short_lines", "repeated_letters")
        )
    )
    letters = pl.col("c4_letters") if cut else pl.col("characters") - pl.col("newlines")
    newlines = (pl.col("c4_kept") - 1) if cut else pl.col("newlines")
    words = pl.col("c4_words") if cut else pl.col("words")
    step = "fineweb"
    return [
        Rule(step=step, reason="empty", broken=lines == 0, detail=pl.lit("It has no line.")),
        _below(
            step,
            "few_line_ends",
            _share(ended, lines),
            limits["fineweb_min_line_ends"],
            "of its lines end with a full stop",
        ),
        _above(step, "short_lines", _share(shorts, lines), limits["fineweb_max_short_lines"], "of its lines are short"),
        _above(
            step,
            "repeated_line_characters",
            _share(repeated, letters),
            limits["fineweb_max_repeated"],
            "of it is in repeated lines",
        ),
        _above(step, "list", _share(newlines, words), limits["fineweb_max_newlines"], "as many lines as words"),
    ]


def line_rules(recipe: TextRecipe) -> list[LanguageRules]:
    """What the compiled pass must know of each of `LANGUAGES`."""
    words, short = (by_language(name, getattr(recipe, name)) for name in ("c4_min_line_words", "fineweb_short_line"))
    return [
        LanguageRules(
            stop_words=STOP_WORDS[language],
            line_ends=LINE_ENDS[language] if recipe.c4_line_ends else "",
            least_words=int(words[language]),
            short_line=int(short[language]),
        )
        for language in LANGUAGES
    ]


def limits_of(recipe: TextRecipe) -> dict[str, pl.Expr]:
    """The threshold of each row, by the name of the option; rows have the column `language`."""
    found: dict[str, pl.Expr] = {}
    for option in fields(recipe):
        if option.metadata.get("limit"):
            values = by_language(option.name, getattr(recipe, option.name))
            found[option.name] = pl.col("language").replace_strict(values, return_dtype=pl.Float64)
    return found


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """Nothing of nothing is 0: what is not there breaks no upper bound."""
    return pl.when(whole > 0).then(part / whole).otherwise(0.0)


def _above(step: str, reason: str, share: pl.Expr, limit: pl.Expr, text: str) -> Rule:
    return Rule(step=step, reason=reason, broken=share > limit, detail=_percent(share, text))


def _below(step: str, reason: str, share: pl.Expr, limit: pl.Expr, text: str) -> Rule:
    return Rule(step=step, reason=reason, broken=share < limit, detail=_percent(share, text))


def _counted(step: str, reason: str, broken: pl.Expr, value: pl.Expr, text: str) -> Rule:
    return Rule(step=step, reason=reason, broken=broken, detail=pl.format("It has {} " + text + ".", value))


def _percent(share: pl.Expr, text: str) -> pl.Expr:
    return pl.format("{} % " + text + ".", (share * 100).round(1))

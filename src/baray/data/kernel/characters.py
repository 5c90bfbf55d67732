"""What each code point is, as bits: the compiled pass asks nothing else of a character.

The bits follow the tokeniser of English in spaCy (letters, marks that it cuts off in front and behind), the sign lists of
datatrove (symbols, ends of sentences), Python's own `isspace`, `isalpha`, `isalnum` and `splitlines`, and the Khmer block.
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.uint32]

SPACE = 1 << 0
"""White space, as `str.isspace` says."""
BREAK = 1 << 1
"""Ends a line for `str.splitlines`."""
DIGIT = 1 << 2
"""0 to 9."""
LOWER = 1 << 3
UPPER = 1 << 4
LETTER = 1 << 5
QUOTE = 1 << 6
ICON = 1 << 7
PREFIX = 1 << 8
"""Cut off in front of a word."""
SUFFIX = 1 << 9
"""Cut off behind a word."""
STOP_LEFT = 1 << 10
"""A full stop behind it is cut off."""
ALPHABETIC = 1 << 11
"""`str.isalpha`."""
PLAIN = 1 << 12
"""Not a symbol in datatrove's sense."""
TERMINAL = 1 << 13
"""Ends a line well, in datatrove's sense."""
SENTENCE = 1 << 14
"""As a word by itself, ends a sentence."""
NOT_PUNCTUATION = 1 << 15
BASE = 1 << 16
"""Khmer letter that begins a syllable."""
MARK = 1 << 17
"""Khmer sign that belongs to the letter before."""
ALNUM = 1 << 18
"""`str.isalnum`: part of a token of a shingle."""
CONTENT = 1 << 19
"""Letter, mark or number."""
NAME = 1 << 20
"""May stand at either end of a label of a host name."""
INFIX = 1 << 21
"""May part a word in two."""
UNPLAIN_WORD = 1 << 22
"""A word that holds it is not of letters alone."""

TABLE = 0x20000
"""Code points above it are told by their plane."""

CHINESE_END = 0x323B0
"""Where the planes of Chinese characters end: above is nothing that the pass knows."""

_PUNCTUATION_OF_SPACY = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧"
_CURRENCY = "$£€¥฿₽﷼"
_CURRENCY_BLOCK = range(0x20A0, 0x20C0)
_UNCASED = (
    "591-5f4 620-64a 66e-6d5 6e5-6ff 750-77f 8a0-8bd 900-9ff b80-cff d80-dff 1100-137f 2e80-2fdf 2ff0-30ff 31c0-31ef"
    " 3200-4dbf 4e00-9fff ac00-d7af f900-faff fb1d-fbb1 fbd3-fd3d fd50-fdc7 fdf0-fdfb fe30-fe4f fe70-fefc 1ee00-1eebb 1f200-1f2ff"
)
"""Blocks of scripts without capitals: each letter of them is taken for both."""
_CASED = "41-5a 61-7a c0-24f 250-2af 386-3ce 401-45f 490-491 496-497 4a2-4a3 4ae-4af 4ba-4bb 4d8-4d9 4e8-4e9 1e00-1eff"
_TERMINAL = (
    "21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736 17d4-17d6"
    " 17d9-17da 1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 2e2e"
    " 2e3c 2e53-2e54 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52"
    " fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048 110be-110c1 11141-11143 111c5-111c6"
    " 111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 115c9-115d7 11641-11642 1173c-1173e 11944"
    " 11946 11a42-11a43 11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 16b37-16b38 16b44 16e98 1bc9f 1da88"
)
_NO_SENTENCE_END = "17d6 17d9 837 839 83d-83e"
"""Ends of lines that leave a sentence open: the Khmer colon, and marks that begin a book."""
_SYMBOLS = (
    "0-8 b-1f 21-2f 3a-40 5b-60 7b-9f ab b4 bb 2013-2014 2019 201c-201e 2026 2236 2501 25ba 3001 3008-300d 3010-3011 ff05"
    " ff08-ff09 ff0c ff11 ff1a-ff1b ff5e"
)
_LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


@functools.cache
def flag_table() -> Flags:
    """Bits of each code point below `TABLE`, and behind them those of what stands above: a letter, and something else."""
    table = np.zeros(TABLE + 2, dtype=np.uint32)
    table[:TABLE] = np.fromiter((_of_python(chr(code)) for code in range(TABLE)), dtype=np.uint32, count=TABLE)
    _add_lists(table)
    letters = (table & LETTER) != 0
    table[~letters | ((table & (PREFIX | SUFFIX | QUOTE | ICON)) != 0)] |= UNPLAIN_WORD
    table[TABLE] = ALPHABETIC | PLAIN | NOT_PUNCTUATION | ALNUM | CONTENT | UNPLAIN_WORD
    table[TABLE + 1] = PLAIN | NOT_PUNCTUATION | UNPLAIN_WORD
    return table


@functools.cache
def folded_table() -> Flags:
    """Each code point below `TABLE` as texts are compared: without capitals, Khmer digits as ASCII digits."""
    table = np.arange(TABLE, dtype=np.uint32)
    for code in range(TABLE):
        small = chr(code).lower()
        if len(small) == 1:
            table[code] = ord(small)
    table[0x17E0:0x17EA] = np.arange(0x30, 0x3A, dtype=np.uint32)
    return table


def codes(ranges: str) -> npt.NDArray[np.int64]:
    """Code points of a list such as `61-7a ff01`."""
    bounds = [part.split("-") for part in ranges.split()]
    return np.concatenate([np.arange(int(pair[0], 16), int(pair[-1], 16) + 1) for pair in bounds])


def _of_python(character: str) -> int:
    category = unicodedata.category(character)
    bits = SPACE * character.isspace() | ALPHABETIC * character.isalpha() | ALNUM * character.isalnum()
    bits |= NOT_PUNCTUATION * (category[0] != "P") | CONTENT * (category[0] in "LMN") | ICON * (category == "So")
    return int(bits | BREAK * (character in _LINE_BREAKS) | NAME * ("\u00a1" <= character <= "\uffff"))


def _add_lists(table: Flags) -> None:
    cased = codes(_CASED)
    for code in cased:
        category = unicodedata.category(chr(code))
        table[code] |= {"Ll": LOWER | LETTER, "Lu": UPPER | LETTER, "Lt": LETTER}.get(category, 0)
    table[codes(_UNCASED)] |= LOWER | UPPER | LETTER
    table[codes("30-39")] |= DIGIT
    table[codes("30-39 41-5a 61-7a")] |= NAME
    table[codes("1780-17b3")] |= BASE
    table[codes("17b4-17d3 17dd")] |= MARK
    table[codes("1780-17d3 17dd")] &= ~np.uint32(ALNUM)
    table[codes(_TERMINAL)] |= TERMINAL | SENTENCE
    table[codes(_NO_SENTENCE_END)] &= ~np.uint32(SENTENCE)
    table[:TABLE] |= PLAIN
    table[np.concatenate([codes(_SYMBOLS), codes(_TERMINAL)])] &= ~np.uint32(PLAIN)
    both = [ord(one) for one in _PUNCTUATION_OF_SPACY + _QUOTES + "—–"]
    table[both] |= PREFIX | SUFFIX
    table[[ord(one) for one in _QUOTES]] |= QUOTE
    icons = (table & ICON) != 0
    table[icons] |= PREFIX | SUFFIX
    table[[ord(one) for one in "§%=" + _CURRENCY]] |= PREFIX
    table[list(_CURRENCY_BLOCK)] |= PREFIX
    before_stop = [ord(one) for one in "0123456789%²-+|(?:)" + _PUNCTUATION_OF_SPACY + _QUOTES]
    table[before_stop] |= STOP_LEFT
    table[(table & LOWER) != 0] |= STOP_LEFT
    table[[ord(one) for one in ".…,+-*^–—~:<>=/"]] |= INFIX
    table[icons] |= INFIX

"""Words of English that the rules for marks at their edges would cut wrongly: contractions, abbreviations, faces.

They are made here from the parts that they consist of, so that the compiled pass cuts English as spaCy does, by whose
words datatrove decides. A word maps to its pieces; one piece means that the word stays whole.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

MULTIPLIER = 0x9FB21C651E98DF25
"""Base of the polynomial by which code points are hashed, modulo 2^64."""
UNIT_SALT = 0x5851F42D4C957F2D
"""Sets the hashes of units of measure apart from those of words."""
SLOTS = 1 << 13
LONGEST = 12
"""Code points of the longest entry."""
MERGES = 1 << 31
"""Bit of an entry that is put together again from pieces that stand side by side."""

_PRONOUNS = {
    "i": "'m 'm+a 'll 'll+'ve 'd 'd+'ve 've",
    "you": "'ll 'll+'ve 'd 'd+'ve 've 're",
    "he": "'ll 'll+'ve 'd 'd+'ve 's",
    "she": "'ll 'll+'ve 'd 'd+'ve 's",
    "it": "'ll 'll+'ve 'd 'd+'ve 's",
    "we": "'ll 'll+'ve 'd 'd+'ve 've 're",
    "they": "'ll 'll+'ve 'd 'd+'ve 've 're",
}
_ASKING = "'s 'll 'll+'ve 're 've 'd 'd+'ve"
_POINTING = {"that": "'s 'll 'll+'ve 'd 'd+'ve", "this": "'s 'll 'll+'ve 'd 'd+'ve"}
_PLURALS = "'ll 'll+'ve 're 've 'd 'd+'ve"
_NEGATED = "ca could do does did had may might must need ought sha should wo would".split()
_NEGATED_ALONE = "ai are is was were have has dare".split()
_PERFECT = "could might must should would".split()
_ENGLISH_WORDS = frozenset("ill its hell shell shed were well whore".split())
"""Words of their own that look like a contraction without its apostrophe."""
_WHOLE = (
    "'S 's ‘S ‘s and/or w/o 're 'Cause 'cause 'cos 'Cos 'coz 'Coz 'cuz 'Cuz 'bout ma'am Ma'am o'clock O'clock 'd '' ' C++"
    " lovin' Lovin' havin' Havin' doin' Doin' goin' Goin' nothin' Nothin' nuthin' Nuthin' ol' Ol' somethin' Somethin'"
    " 'em 'll 'nuff <space> \\n \\t \\\")"
    # months, states of America, titles and firms
    " Jan. Feb. Mar. Apr. Jun. Jul. Aug. Sep. Sept. Oct. Nov. Dec."
    " Ak. Ala. Ariz. Ark. Calif. Colo. Conn. Del. Fla. Ga. Ia. Id. Ill. Ind. Kan. Kans. Ky. La. Mass. Mich. Minn. Miss."
    " Neb. Nebr. Nev. Okla. Ore. Pa. Tenn. Va. Wash. Wis. N.C. N.D. N.H. N.J. N.M. N.Y. S.C. D.C. Md. Mo. Mont."
    " Mt. Adm. Bros. co. Co. Corp. Dr. Gen. Gov. Inc. Jr. Ltd. Messrs. Mr. Mrs. Ms. Ph.D. Prof. Rep. Rev. Sen. St. vs. v.s."
    " a.m. p.m. e.g. E.g. E.G. i.e. I.e. I.E. ä. ö. ü."
)
_FACES = (
    ":1 :3 :-3 =3 =[ :0 :-0 :o) (o: =| :| :-| :/ :-/ =/ :() >:o >:( :* :-* <3 <33 <333 </3 ;_; ._. >.< >.> <.<"
    " @_@ 0.0 o.0 0.o 0_o o_0"
    " 0_0 o_o o_O O_o O_O o.o o.O O.o O.O v.v V.V v_v V_V -_- -__- ^_^ ^__^ ^___^ xD XD xDD XDD 8D 8-D =D ;D ;-D"
    " (^_^) (-_-) (._.) (>_<) (*_*) (¬_¬) ಠ_ಠ ಠ︵ಠ (ಠ_ಠ) ¯\\(ツ)/¯ (╯°□°）╯︵┻━┻ ><(((*>"
    " 8) 8-) (-8 ;) ;-) (; (-; =) (= ]= =] [= =( ): )-:"
    " :') :'-) :'( :'-( :> :-> [: [-: :} :-}"
)
_UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa mbar"
    " mb MB kb KB gb GB tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² мм³ нм кг г мг м/с км/ч кПа Па мбар"
    " Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ $ £ € ¥ ฿ ₽ ﷼ US$ C$ A$"
)


@functools.cache
def tables() -> tuple[Words, npt.NDArray[np.uint32]]:
    """Keys and pieces by slot, to be searched from `hash % SLOTS` on; a key of 0 is free.

    Pieces: the code points of each of up to four pieces in six bits, the first lowest; above them `MERGES`.
    """
    keys, pieces = np.zeros(SLOTS, dtype=np.uint64), np.zeros(SLOTS, dtype=np.uint32)
    entries = {word_hash(word): _packed(word, parts) for word, parts in words().items()}
    units = (*_UNITS.split(), *map(chr, range(0x20A0, 0x20C0)))
    entries |= {word_hash(unit) ^ UNIT_SALT: len(unit) for unit in units}
    for key, packed in entries.items():
        slot = mixed(key) % SLOTS
        while keys[slot]:
            slot = (slot + 1) % SLOTS
        keys[slot], pieces[slot] = key, packed
    return keys, pieces


def words() -> dict[str, tuple[str, ...]]:
    """Each special word and its pieces."""
    found: dict[str, tuple[str, ...]] = {}
    for stem, ends in _stems():
        for start in (stem, stem.title()):
            for end in ends.split():
                tail = end.split("+")
                found["".join((start, *tail))] = (start, *tail)
                bare = [piece.replace("'", "") for piece in tail]
                found["".join((start, *bare))] = (start, *bare)
    for word in _ENGLISH_WORDS:
        for form in (word, word.title()):
            found.pop(form, None)
    for hour, period in itertools.product(range(1, 13), ("a.m.", "am", "p.m.", "pm")):
        found[f"{hour}{period}"] = (str(hour), period)
    found |= {word: (word,) for word in (*_WHOLE.split(), *_faces(), *(f"{chr(code)}." for code in range(97, 123)))}
    found |= {f"°{letter}.": ("°", letter, ".") for letter in "cfkCFK"}
    found |= {"".join(parts): parts for parts in _in_two()}
    curled = {word: parts for word, parts in found.items() if "'" in word}
    return found | {_curled(word): tuple(map(_curled, parts)) for word, parts in curled.items()}


def _curled(word: str) -> str:
    return word.replace("'", "\u2019")


def word_hash(word: str) -> int:
    """The polynomial of a word's code points."""
    value = 0
    for character in word:
        value = (value * MULTIPLIER + ord(character)) % 2**64
    return value


def mixed(value: int) -> int:
    """The finaliser of SplitMix64."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
    return value ^ (value >> 31)


def _stems() -> list[tuple[str, str]]:
    asking = [(word, _ASKING) for word in ("who", "what", "when", "where", "why", "how", "there")]
    plurals = [(word, _PLURALS) for word in ("these", "those")]
    negated = [(word, "n't n't+'ve") for word in _NEGATED] + [(word, "n't") for word in _NEGATED_ALONE]
    perfect = [(word, "'ve") for word in (*_PERFECT, "not")]
    return [*_PRONOUNS.items(), *asking, *_POINTING.items(), *plurals, *negated, *perfect]


def _in_two() -> list[tuple[str, ...]]:
    lower = ["can not", "gon na", "got ta", "let 's", "c'm on", "how 'd 'y"]
    both = [one for word in lower for one in (word, word[0].upper() + word[1:])]
    return [tuple(one.split()) for one in (*both, "y' all", "y all")]


def _faces() -> set[str]:
    made = {eyes + nose + mouth for eyes in ":;=" for nose in ("", "-") for mouth in ")(]"}
    made |= {":" + nose + mouth * times for nose in ("", "-") for mouth in ")(" for times in (2, 3)}
    made |= {":" + nose + mouth for nose in ("", "-") for mouth in "PpOoXxD"}
    made |= {mouth + nose + ":" for mouth in "(" for nose in ("", "-")}
    return (made - {"=-)", "=-(", "=-]", ";]", ";-]", ";(", ";-("}) | set(_FACES.split())


def _packed(word: str, parts: tuple[str, ...]) -> int:
    packed = sum(len(part) << (6 * at) for at, part in enumerate(parts))
    uncut = word.strip("'\u2019") == word and all(letter.isalnum() or letter in "'\u2019" for letter in word)
    return packed | (0 if uncut or len(parts) > 1 else MERGES)

"""What of a Khmer question is its frame: words of asking, and general words that any question and any paper hold.

Khmer is written without spaces, so that a frame shows only where the question is cut into words. The cut serves to weigh
evidence and never to find documents: a wrong one makes a trigram count a little less, or a little more.
"""

from __future__ import annotations

from baray.text.breaks import cut
from baray.text.index.concepts import khmer_phrases
from baray.text.index.terms import search_form
from baray.text.khmer import clusters
from baray.text.lexicon import FUNCTION_WORDS, WORDS

ASKING_KM = """
តើខ្ញុំត្រូវ តើខ្ញុំអាច តើយើងត្រូវ តើគេ តើអ្វី តើអ្វីខ្លះ តើនៅ តើមាន តើការ តើត្រូវ តើអាច តើធ្វើ តើ អ្វីខ្លះ អ្វីទៅ
ជាអ្វី ដូចម្តេច ដូចម្ដេច យ៉ាងណា យ៉ាងដូចម្តេច ដោយរបៀបណា របៀបណា តាមរបៀបណា នៅឯណា នៅទីណា ទីណា នៅកន្លែងណា
កន្លែងណា ប៉ុន្មាន អស់ប៉ុន្មាន ប៉ុន្មានថ្ងៃ រយៈពេលប៉ុន្មាន ថ្ងៃណា នៅពេលណា ពេលណា ម៉ោងប៉ុន្មាន អ្នកណា នរណា
ហេតុអ្វី មូលហេតុអ្វី ឬទេ ដែរឬទេ បានទេ បានឬទេ ខ្ញុំចង់ ចង់បាន ចង់ដឹង ចង់សួរ ខ្ញុំ យើង សូមជួយ សូមប្រាប់
ត្រូវការ ត្រូវធ្វើ ត្រូវ អាច ធ្វើដូចម្តេច ធ្វើយ៉ាងណា មានអ្វីខ្លះ ដើម្បី ចាំបាច់ គួរ ខ្លះ ទេ ណា ដែល
យ៉ាងម៉េច ម៉េច ធ្វើម៉េច បែបណា តាមវិធីណា វិធីណា ដោយវិធីណា យ៉ាងណាខ្លះ ញឹកញាប់ប៉ុណ្ណា ប៉ុន្មានដង ប៉ុន្មាននាក់ ញឹកញាប់
ជាញឹកញាប់ មើល ឃើញ ប្រាប់ សួរ ដឹង ធ្វើអ្វី ត្រូវធ្វើអ្វី តើខ្ញុំគួរ តើគួរ អាចបានទេ បានដែរឬទេ តើនេះ តើវា
របស់ខ្ញុំ របស់ និង ឬ សម្រាប់ ថ្លៃ តម្លៃ អស់ ទៅណា ត្រូវទៅ ដែរ ត្រូវបង់ បង់លុយ បង់ប្រាក់
""".split()
"""Phrases that questions are made of."""

# Words of any matter, beside those of grammar: a question and its paper rarely choose the same ones.
_GENERAL_KM = """
ចង់ អត់ សួរ ប្រាប់ បំផុត ពេញ ទើប ឲ្យបាន ដាក់ ត្រង់ ធ្វើ មាន ប្រើ កន្លែង រក ខាង បានទេ ដែរឬទេ ឬអត់ អី ស្អី ម៉េច ចឹង អញ្ចឹង
គឺជា ដោយសារតែ តែម្តង ភ្លាម ភ្លាមៗ ជាមុន ជាមុនសិន សិន មុនគេ ក្រោយគេ ចុងក្រោយ ដំបូង ជាប់ ជានិច្ច តែងតែ ជាដើម ជាច្រើន
ទាំងពីរ ទាំងនោះ នោះទេ តាមចិត្ត តាមណា បន្តិច បន្តិចបន្តួច ច្រើនបំផុត តិចបំផុត យ៉ាងហោចណាស់ ណាស់ ពេក ល្អ ងាយ ពិបាក
ធម្មតា ចាប់ពី រហូតដល់ រហូត ក្រៅពី ទៅលើ ទៅក្នុង ចេញពី មកពី នៅលើ នៅក្នុង នៅត្រង់ នៅខាង ខាងលើ ខាងក្រោម ខាងក្នុង
ខាងក្រៅ នោះ ទាំងមូល ដូចគ្នា ខុសគ្នា គ្នា ម្នាក់ នាក់ ម្នាក់ៗ ពួកយើង អ្នកផ្សេង គេហៅ ហៅ ថា ហៅថា មានន័យ ន័យ
កើត កើតឡើង ទៅជា ក្លាយ ក្លាយជា ចាំ ត្រូវចាំ ឃើញថា ស្គាល់ ជួប ធ្វើឲ្យ ធ្វើអោយ អោយ អាចនឹង ក៏ ក៏ដោយ បើសិន បើសិនជា
ពេលដែល នៅពេលដែល ពេលនោះ សព្វថ្ងៃ ឥឡូវ ឥឡូវនេះ មុននឹង ក្រោយពី ក្រោយមក បន្ទាប់ពី បន្ទាប់មក ក្នុងមួយ មួយណា មួយដែល
ណាខ្លះ អ្វីមុន អ្វីវិញ អ្វីដែល គ្រប់យ៉ាង រាល់ពេល ផ្ទាល់ ផ្ទាល់ខ្លួន
""".split()
_GENERAL_SHARE = 0.2


def content_shares(run: str) -> list[float]:
    """For each code point of a run of Khmer in search form: 1 for content, little for general words, 0 for asking."""
    pieces = cut(clusters(run), _KNOWN, _LONGEST)
    shares: list[float] = []
    for at, (piece, known) in enumerate(pieces):
        share = _SHARES.get(piece, 1.0) if known else 1.0
        if share == _GENERAL_SHARE and len(clusters(piece)) == 1 and _lone(pieces, at + 1):
            share = 1.0
        shares.extend([share] * len(piece))
    return shares


def _lone(pieces: list[tuple[str, bool]], at: int) -> bool:
    """Whether an unknown cluster stands alone at `at`: nearly always the tail of the word that begins before it."""
    return at < len(pieces) and not pieces[at][1] and (at + 1 == len(pieces) or pieces[at + 1][1])


def _frame_shares() -> dict[str, float]:
    general = {search_form(word): _GENERAL_SHARE for word in (*FUNCTION_WORDS, *_GENERAL_KM)}
    return general | {search_form(phrase): 0.0 for phrase in ASKING_KM}


_SHARES = _frame_shares()
_KNOWN = frozenset({search_form(word) for word in WORDS} | _SHARES.keys() | khmer_phrases())
_LONGEST = max(len(clusters(word)) for word in _KNOWN)

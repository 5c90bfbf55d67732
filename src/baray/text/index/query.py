"""What a question asks for: its terms with weights, and its intent (fee, time, place, papers, ...).

Words of asking ("how much", "តើ...ប៉ុន្មាន") say which sentence answers, not which document: they weigh little when
documents are ranked, and nothing when it is judged whether the documents cover the question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from baray.text.index.concepts import concepts_in
from baray.text.index.frames import ASKING_KM, content_shares
from baray.text.index.layout import STEP
from baray.text.index.stem import stem
from baray.text.index.terms import STOP_WORDS, is_khmer, search_form, terms, token_terms, tokens, trigrams
from baray.text.language import language

_ASKING_WEIGHT = 0.1
_EXPANSION_WEIGHT = 0.025
_CONCEPT_SHARE = 0.65
_REPEATED = 0.2
# A name in Latin letters counts as much as a Khmer word, which makes several trigrams.
_NAME_IN_KHMER = 4.0

_ASKING_EN = """
cost pay much many long need require bring take give find see ask say mean use want
age limit maximum minimum every document paper submit attach price charge
often look happen show rid try kind sort exactly actually really possible way please help explain mean let anywhere
somewhere always ever never again still already whether instead else
""".split()

# Words of any matter: a question and its paper rarely choose the same ones, so that one more or less tells little.
_GENERAL_EN = """
able accept add allow allowed already always amount answer appear arrange arrive available away back become before begin
belong best better big bigger biggest bring call care carry case catch cause certain change check choose close collect
come complete condition consider contain continue count cover cut date day decide decision deep deliver depend detail
differ difference different difficult early earlier earliest easy either else end enough enter entitled exact except
expect expensive extra fail fall far fast few fewer fill final finish first follow free full gain general getting go
going good great half hand handle happen hard hear heavy help high higher hold hour ill important include inform inside
involve join keep kind large larger largest last late later latest lead least leave left less let lie live local long
longer look low lower lowest main make manage manner matter meet member mention method minute miss month move name near
nearest necessary next normal note number obtain offer often old older once only open order otherwise outside own part
pass people per period person pick piece place plan point possible prepare present prevent private proceed process
produce proper provide public put quick quickly rate reach ready reason receive record reduce refuse regular remain
remember remove reply request reserve reserved rest result return right rule run safe same save second seek send
separate serve service set several share short show shut side since single size small smaller smallest someone soon
special spend stand start state stay step still stop strict subject success suitable supply sure talk term thing think
time today together top total touch treat true try turn type until usual usually various view visit wait walk week well
whole win wish within without work write wrong year yet young younger youngest
"""
_GENERAL_WEIGHT = 0.45


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A kind of question, and how documents speak of its answer."""

    name: str
    """fee, duration, hours, place, papers, deadline, age or who; key, how, number or meaning."""
    asked: re.Pattern[str]
    """Found in the search form of such a question."""
    said: tuple[str, ...]
    """Words of a sentence that answers it."""
    said_pattern: re.Pattern[str]
    """Found in the search form of a sentence that answers it."""


def _intent(name: str, asked: str, said: str, said_pattern: str) -> Intent:
    return Intent(name=name, asked=re.compile(asked), said=tuple(said.split()), said_pattern=re.compile(said_pattern))


INTENTS = (
    _intent(
        "fee",
        r"\bhow much\b|\bcosts?\b|\bfees?\b|\bprices?\b|\bcharge|\bpay\b|\bfree of\b|\bfor free\b|\bit free\b|\bexpensive|ថ្លៃ|តម្លៃ"
        r"|កម្រៃ|អស់ប៉ុន្មាន|បង់ប្រាក់|បង់លុយ|អស់លុយ|បង់.{0,24}ប៉ុន្មាន|លុយប៉ុន្មាន|ប្រាក់ប៉ុន្មាន",
        "fee riel ថ្លៃសេវា កម្រៃសេវា រៀល",
        r"\d[\d.,]*\s*(?:riels?|khr|usd|dollars?|រៀល|ដុល្លារ)|៛|\$|free of charge|no fee|no charge"
        r"|ឥតគិតថ្លៃ|មិនគិតថ្លៃ",
    ),
    _intent(
        "duration",
        r"\bhow long\b"
        r"|\bhow (?:many|soon|quick\w*|fast) ?(?:working|weeks?|months?|hours?)?\s*(?:days?)?\b.*\b(?:take|ready|wait|days?)\b"
        r"|\bdays does\b|រយៈពេលប៉ុន្មាន|ប៉ុន្មានថ្ងៃ|ប៉ុន្មានខែ|ប៉ុន្មានម៉ោង|យូរប៉ុន្មាន|យូរទេ|យូរណាស់"
        r"|នឹងបានទទួល",
        "days ថ្ងៃធ្វើការ រយៈពេល",
        r"\d\s*(?:working |calendar )?(?:days?|weeks?|months?|hours?|minutes?|ថ្ងៃ|ខែ|សប្តាហ៍|ម៉ោង|នាទី)"
        r"|\bsame day\b|\bone day\b|រយៈពេល|ក្នុងថ្ងៃ",
    ),
    _intent(
        "hours",
        r"\b(?:opening|office|working) (?:hours|times?|days)\b|\bwhat time\b"
        r"|\bopen\b(?! (?:a|an|all|the|my|this|files?)\b)|\bclosed?\b"
        r"|ម៉ោងធ្វើការ|បើកម៉ោង|ម៉ោងប៉ុន្មាន|បើកទ្វារ|បើកធ្វើការ|បិទ",
        "open hours ម៉ោង បើក",
        r"\d\s*(?::\d\d)?\s*(?:a\.?m\b|p\.?m\b|o'clock)|\d:\d\d|ម៉ោង\s*\d|\d\s*ព្រឹក|monday|ចន្ទ",
    ),
    _intent(
        "place",
        r"\bwhere\b|\bwhich (?:office|unit|counter|window|desk)\b|\baddress\b|\blocation\b|នៅឯណា|នៅទីណា"
        r"|ទីណា|កន្លែងណា|ការិយាល័យណា|បញ្ជរណា|អាសយដ្ឋាន|ទីតាំង",
        "office counter ការិយាល័យ បញ្ជរ",
        r"\boffice\b|\bcounter\b|\bwindow\b|\bunit\b|\bhall\b|ការិយាល័យ|បញ្ជរ|សាលា|មន្ទីរ|អង្គភាព|លេខ\s*\d",
    ),
    _intent(
        "papers",
        r"\b(?:what|which) (?:\w+ ){0,2}(?:documents?|papers?)\b"
        r"|\b(?:what|which)\b.*\b(?:bring|submit|attach|required?|needed|needs?)\b"
        r"|\b(?:documents|papers)\b.*\b(?:need|require|bring)|ឯកសារអ្វី|ត្រូវការអ្វី|ត្រូវមានអ្វី|យកអ្វី|ភ្ជាប់អ្វី|ឯកសារណា"
        r"|ត្រូវការឯកសារ|លក្ខខណ្ឌអ្វី",
        "documents copy ឯកសារ ច្បាប់ចម្លង",
        r"\bcop(?:y|ies)\b|\boriginals?\b|\bphotos?\b|\bforms?\b|\bidentity cards?\b|\bdocuments?\b"
        r"|\brequired\b|\bbring\b|ច្បាប់ចម្លង|ថតចម្លង|ឯកសារ|ពាក្យស្នើ|រូបថត|អត្តសញ្ញាណប័ណ្ណ|ត្រូវភ្ជាប់",
    ),
    _intent(
        "deadline",
        r"^\W*(?:by |until |since |from )?when\b"
        r"|\bwhen (?:is|are|do|does|can|must|will|should|may)\b|\bdeadline\b"
        r"|\bby what date\b|\bwithin how\b|\bexpire|\bvalid\b|ពេលណា|ថ្ងៃណា"
        r"|ថ្ងៃទី|ផុតកំណត់|សុពលភាព|ត្រឹមថ្ងៃ",
        "before within days ថ្ងៃ មុន",
        r"\d\s*(?:(?:st|nd|rd|th|(?:working |calendar )?(?:days?|weeks?|months?|years?|hours?)|a\.?m|p\.?m)\b"
        r"|ថ្ងៃ|ខែ|ឆ្នាំ|ម៉ោង)|\d:\d\d"
        r"|\b(?:before|within|until|after|from \d|at \d|day)\b|(?:mon|tues|wednes|thurs|fri|satur|sun)day"
        r"|\b(?:january|february|march|april|june|july|august|september|october|november|december)\b"
        r"|មុនថ្ងៃ|ក្នុងរយៈពេល|ថ្ងៃទី|ម៉ោង|ថ្ងៃ(?:ចន្ទ|អង្គារ|ពុធ|ព្រហស្បតិ|សុក្រ|សៅរ៍|អាទិត្យ)|មករា|កុម្ភៈ|មីនា|មេសា|ឧសភា|មិថុនា|កក្កដា|សីហា"
        r"|កញ្ញា|តុលា|វិច្ឆិកា|ធ្នូ|រាល់",
    ),
    _intent(
        "age",
        r"\bages?\b|\bhow old\b|អាយុ",
        "years ឆ្នាំ",
        r"\d+\s*(?:years?|ឆ្នាំ)|\baged?\b|\bbetween \d+ and \d+\b|\b(?:under|over|at) \d+\b|អាយុ",
    ),
    _intent(
        "who",
        r"\bwho\b|\bwhom\b|\bsigns?\b|\bresponsible\b|អ្នកណា|នរណា|អ្នកទទួលខុសត្រូវ|មានសិទ្ធិ",
        "applicant officer ប្រធាន អ្នក",
        r"\bchief\b|\bofficer\b|\bgovernor\b|\bhead\b|\bdirector\b|\bowner\b|\bparents?\b|ប្រធាន|អភិបាល"
        r"|មន្ត្រី|មេឃុំ|ម្ចាស់|ឪពុក|ម្តាយ|បុគ្គល",
    ),
)


# Ways of asking that hold only where the question shows none of the above.
GENERAL_INTENTS = (
    _intent(
        "key",
        r"\b(?:keys?|keystrokes?|shortcuts?)\b|គ្រាប់ចុច",
        "",
        r"\bpress\b|\b(?:ctrl|shift|alt|enter|esc|del)\b|\bf\d|គ្រាប់ចុច|ចុច",
    ),
    _intent(
        "how",
        r"\bhow (?:do|can|could|should|to|may|must)\b|\bwhich (?:buttons?|command|menu)\b"
        r"|\bwhat (?:do|must|should|can) i (?:press|click|choose)\b"
        r"|\bwhat is the way\b|ដូចម្តេច|យ៉ាងណា|យ៉ាងម៉េច|ធ្វើម៉េច|ដោយរបៀប|តាមរបៀប|របៀបណា|វិធីណា|បែបណា",
        "",
        STEP + r"|\bby \w+ing\b|\b(?:press|click)(?:ing)?\b|^ដើម្បី.*(?:ចុច|ជ្រើស|បើក|សង្កត់)",
    ),
    _intent(
        "number",
        r"\bhow (?:many|much|big|far|heavy|large|high|often|early|wide|old|small|tall|deep)\b|ប៉ុន្មាន|ប៉ុណ្ណា",
        "",
        r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|once|twice|each|every|whenever|only|all|percent|half)\b"
        r"|មួយ|ពីរ|បី|បួន|ប្រាំ|រៀងរាល់|ភាគរយ",
    ),
    _intent(
        "meaning",
        r"^\W*what (?:is|are|does)\b|\bmeans?\b|\bwhat for\b|ជាអ្វី|អ្វីទៅ|មានន័យ|សម្រាប់អ្វី|ប្រើធ្វើអ្វី",
        "",
        r"^.{2,60}\b(?:is|are) (?:a|an|the|used)\b"
        r"|\bmeans\b|^(?:returns|calculates|defines|specifies|closes|saves|displays|inserts|allows|sets|lets)\b"
        r"|គឺជា|^.{4,40}ជា",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryTerm:
    """One term of a question."""

    term: str
    """As `terms` gives it."""
    weight: float
    """Before the Index's own weight: 1 for content, little for words of asking."""
    content: bool
    """Whether it picks and ranks documents, and not only the sentence that answers."""
    evidence: float
    """What it counts, before the Index's own weight, where it is judged how much of the question a document covers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question, read."""

    terms: tuple[QueryTerm, ...]
    """Distinct terms, in order of first use."""
    intents: tuple[Intent, ...]
    """What it asks for; empty if that is not plain."""
    language: str
    """`km`, `en` or `other`."""


def read_question(question: str) -> Query:
    """The Query of `question`."""
    form = search_form(question)
    intents = tuple(intent for intent in INTENTS if intent.asked.search(form))
    intents = intents or tuple(intent for intent in GENERAL_INTENTS if intent.asked.search(form))[:1]
    spoken = language(question)
    weights: dict[str, float] = {}
    evidence: dict[str, float] = {}
    for token in tokens(question):
        times = _NAME_IN_KHMER if spoken == "km" and token[0].isalpha() and not is_khmer(token) else 1.0
        for term, weight, counts in _weighed(token):
            weights[term] = weights[term] + _REPEATED * weight if term in weights else weight
            evidence[term] = max(times * counts, evidence.get(term, 0.0))
    found = [
        QueryTerm(term=term, weight=weight, content=term not in _ASKING_TERMS, evidence=evidence[term])
        for term, weight in weights.items()
    ]
    said = dict.fromkeys(term for intent in intents for word in intent.said for term in terms(word))
    found.extend(
        QueryTerm(term=term, weight=_EXPANSION_WEIGHT, content=False, evidence=0.0)
        for term in said
        if term not in weights
    )
    return Query(terms=tuple(found), intents=intents, language=spoken)


def _weighed(token: str) -> list[tuple[str, float, float]]:
    """The terms of one token, each with its weight and its evidence: where words have a concept, it takes most of theirs."""
    if is_khmer(token):
        return _weighed_khmer(token)
    found = [] if token in STOP_WORDS else token_terms(token)
    if not found or found[0] in _ASKING_TERMS:
        return [(term, _ASKING_WEIGHT, 0.0) for term in found[:1]]
    weight = _GENERAL_WEIGHT if found[0] in _GENERAL_TERMS else 1.0
    if len(found) == 1:
        return [(found[0], weight, weight)]
    word, concept = weight * (1 - _CONCEPT_SHARE), weight * _CONCEPT_SHARE
    return [(found[0], word, word), (found[1], concept, concept)]


def _weighed_khmer(run: str) -> list[tuple[str, float, float]]:
    grams = trigrams(run)
    concepts = concepts_in(run)
    weights = [_ASKING_WEIGHT if gram in _ASKING_TERMS else 1.0 for gram in grams]
    taken = _hand_over(weights, concepts)
    counts = _evidence(run, grams)
    counted = _hand_over(counts, concepts)
    return [
        *zip(grams, weights, counts, strict=True),
        *((concept, weight, count) for (concept, _, _), weight, count in zip(concepts, taken, counted, strict=True)),
    ]


def _evidence(run: str, grams: list[str]) -> list[float]:
    """What each trigram counts: as its least code point, as one that crosses into a frame stands in no paper anyway."""
    shares = content_shares(run)
    return [
        0.0 if gram in _ASKING_TERMS else min(shares[place : place + len(gram)]) for place, gram in enumerate(grams)
    ]


def _hand_over(shares: list[float], concepts: list[tuple[str, int, int]]) -> list[float]:
    """What each concept takes from the trigrams of its words: it is taken from `shares`."""
    found: list[float] = []
    for _, start, end in concepts:
        taken = 0.0
        for place in range(start, min(len(shares), max(start + 1, end - 2))):
            taken += _CONCEPT_SHARE * shares[place]
            shares[place] *= 1 - _CONCEPT_SHARE
        found.append(taken)
    return found


def _asking_terms() -> frozenset[str]:
    khmer = {term for phrase in ASKING_KM for run in tokens(phrase) for term in trigrams(run)}
    return frozenset(khmer | {stem(word) for word in _ASKING_EN})


_ASKING_TERMS = _asking_terms()
_GENERAL_TERMS = frozenset(stem(word) for word in _GENERAL_EN.split())

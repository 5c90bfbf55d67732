"""A light stemmer for English: word forms of one office term should meet in one key; the key need not be a word."""

from __future__ import annotations

_VOWELS = frozenset("aeiouy")
# Longest first; (ending, what stands in its place, letters that must remain before it).
_DERIVED = (
    ("ations", "", 3),
    ("ation", "", 3),
    ("ments", "", 3),
    ("ment", "", 3),
    ("ances", "", 4),
    ("ences", "", 4),
    ("ance", "", 4),
    ("ence", "", 4),
    ("ness", "", 4),
    ("ants", "", 4),
    ("ents", "", 4),
    ("ant", "", 4),
    ("ent", "", 4),
    ("age", "", 4),
    ("ate", "", 3),
    ("ful", "", 4),
    ("al", "", 4),
    ("ly", "", 4),
)
_IRREGULAR = {
    "children": "child",
    "lost": "los",
    "losing": "los",
    "official": "offi",
    "officials": "offi",
    "officer": "offi",
    "officers": "offi",
    "permission": "permit",
    "permissions": "permit",
    "building": "build",
    "born": "birth",
    "died": "death",
    "dead": "death",
    "women": "woman",
    "men": "man",
    "people": "person",
    "weekdays": "weekday",
}


# A verb and its forms that no rule makes. Left out are forms that are more often another word: left, saw, felt, ground, lay.
_VERBS = """
arise arose arisen | awake awoke awoken | bear borne | beat beaten | become became | begin began begun begins beginning
bend bent | bet bets | bind binding | bite bitten | bleed bled | blow blew blown | break broke broken | breed bred
bring brought | build built | burn burnt | buy bought | catch caught | choose chose chosen | cling clung | come came
cost costs | creep crept | cut cuts cutting | deal dealt | dig dug digging | draw drew drawn | dream dreamt
drink drank drunk | drive drove driven | eat ate eaten | fall fell fallen | feed fed | fight fought | find found
flee fled | fly flew flown flies | forbid forbade forbidden | forget forgot forgotten | forgive forgave forgiven
freeze froze frozen | get got gotten getting | give gave given | go went gone goes going | grow grew grown | hang hung
hear heard | hide hid hidden hiding | hit hits hitting | hold held | hurt hurts | keep kept | kneel knelt | know knew known
lay laid | lead led | lean leant | leap leapt | learn learnt | leave leaves leaving | lend lent | let lets letting
lie lying lies | light lit | make made making | mean meant | meet met | mistake mistook mistaken
overcome overcame | pay paid | prove proven | put puts putting | quit quitting | read reads | ride rode ridden | ring rang rung
rise risen | run ran running | say said | seek sought | sell sold | send sent | set sets setting | sew sewn
shake shook shaken | shine shone | shoot shot | show shown | shrink shrank shrunk | shut shutting | sing sang sung
sink sank sunk | sit sat sitting | sleep slept | slide slid | speak spoke spoken | speed sped | spell spelt
spend spent | spill spilt | spin spun | split splitting | spread spreads | spring sprang sprung | stand stood | steal stole stolen
stick stuck | sting stung | strike struck stricken | swear swore sworn | sweep swept | swell swollen | swim swam swum
swing swung | take took taken taking | teach taught | tear tore torn | tell told | think thought | throw threw thrown
undergo underwent undergone | understand understood | undertake undertook undertaken | undo undid undone
wake woke woken | wear wore worn | weave wove woven | weep wept | win won winning | withdraw withdrew withdrawn
withhold withheld | withstand withstood | write wrote written writing | overwrite overwrote overwritten
redo redid redone | rebuild rebuilt | resend resent | repay repaid | resell resold | retake retook retaken
rewrite rewrote rewritten | mislead misled | foresee foresaw foreseen | oversee oversaw overseen | use used using
"""


def stem(word: str) -> str:
    """The key of a lower-case English `word`; short words and words with digits stay as they are."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    word = _BASES.get(word, word)
    if len(word) < 4 or not word.isalpha():
        return word
    word = _inflected(_singular(word))
    for ending, instead, rest in _DERIVED:
        if word.endswith(ending) and len(word) - len(ending) >= rest:
            word = word[: -len(ending)] + instead
            break
    return _last_letters(word)


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _inflected(word: str) -> str:
    if word.endswith("ied") and len(word) > 4:
        return word[:-3] + "y"
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and not _VOWELS.isdisjoint(rest):
            return rest[:-1] if rest[-1] == rest[-2] and rest[-1] not in "lsz" else rest
    return word


def _last_letters(word: str) -> str:
    """Endings that differ between verb, noun and spelling: -e, -y, -er, -ion, -ic, -ce."""
    if word.endswith(("tion", "sion")) and len(word) > 5:
        word = word[:-3]
    if word.endswith(("ize", "iz")) and len(word) > 5:  # one spelling of -ise
        word = word.removesuffix("e")[:-1] + "s"
    if word.endswith("our") and len(word) > 5:  # one spelling of -or
        word = word[:-2] + "r"
    if word.endswith("e") and len(word) > 3:
        word = word[:-1]
    if word.endswith("er") and len(word) > 4:
        word = word[:-2] + "r"
    if word.endswith("ic") and len(word) > 4:
        word = word[:-1]
    if word.endswith("ns") and len(word) > 4:
        word = word[:-1] + "c"
    return word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word


def _bases(lines: str) -> dict[str, str]:
    """The verb by each of its irregular forms."""
    verbs = [verb.split() for line in lines.strip().split("\n") for verb in line.split("|")]
    return {form: verb[0] for verb in verbs for form in verb[1:]}


_BASES = _bases(_VERBS)

"""The Khmer of errors of the filters for text. Drafted, not yet reviewed by a native editor."""

from __future__ import annotations

from baray.client.problems.khmer import Khmer

TEXT_PROBLEMS: dict[str, Khmer] = {
    "bad_lexicon": Khmer(
        says="វចនានុក្រមនេះសរសេរមិនត្រឹមត្រូវទេ។",
        fix="សរសេរមួយពាក្យមួយបន្ទាត់៖ ពាក្យ ថេប ចំនួន",
        forms={
            "Line {number} of the lexicon is {entry} and not a word, a tab and a count of 1 or more.": (
                "បន្ទាត់ទី {number} នៃវចនានុក្រមគឺ {entry} មិនមែន ពាក្យ ថេប ចំនួន ទេ។"
            ),
            "The lexicon holds no word.": "វចនានុក្រមគ្មានពាក្យទេ។",
        },
    ),
    "broken_text": Khmer(
        says="អត្ថបទនេះមិនមែនជា UTF-8 ទេ។",
        fix="រក្សាទុកអត្ថបទជា UTF-8",
        forms={"Byte {at} of the input (0x{byte}) is not UTF-8.": "បៃទី {at} នៃអត្ថបទ (0x{byte}) មិនមែនជា UTF-8 ទេ។"},
    ),
}

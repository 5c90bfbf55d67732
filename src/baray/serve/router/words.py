"""The words of the public pages, in Khmer and English. Khmer drafted, not yet reviewed by a native editor."""

from __future__ import annotations

WORDS: dict[str, dict[str, str]] = {
    "km": {
        "ask": "សួរសំណួរ",
        "your_question": "សំណួររបស់អ្នក",
        "hint": "សរសេរជាភាសាខ្មែរ ឬអង់គ្លេស។ ចម្លើយដកស្រង់ពីឯកសាររបស់ការិយាល័យ។",
        "send": "ស្វែងរកចម្លើយ",
        "try": "ឧទាហរណ៍សំណួរ",
        "answered": "ចម្លើយពីឯកសារ",
        "expired": "ឯកសារផុតសុពលភាព",
        "out-of-scope": "មិនមានក្នុងឯកសារទេ",
        "expired_text": "ឯកសារដែលនិយាយអំពីរឿងនេះ បានផុតសុពលភាពហើយ។ យើងមិនយកវាមកឆ្លើយទេ។",
        "out-of-scope_text": "ឯកសាររបស់ការិយាល័យនេះ មិនមានចម្លើយចំពោះសំណួរនេះទេ។",
        "refer": "សូមសួរ៖",
        "refer_counter": "សូមសួរមន្ត្រីនៅបញ្ជរ។",
        "source": "ឯកសារប្រភព",
        "file": "ឈ្មោះឯកសារ",
        "valid_until": "មានសុពលភាពដល់",
        "valid_always": "មិនមានកំណត់ថ្ងៃផុតសុពលភាព",
        "office": "ការិយាល័យទទួលបន្ទុក",
        "also": "ឯកសារពាក់ព័ន្ធផ្សេងទៀត",
        "receipt": "លេខចម្លើយ",
        "asked_on": "ថ្ងៃសួរ",
        "sample": "នេះជាគំរូសាកល្បង។ ខេត្ត ថ្លៃសេវា និងឯកសារទាំងនេះ មិនមែនជាការពិតទេ។",
        "care": "ម៉ាស៊ីនដកស្រង់ចម្លើយពីឯកសារ។ សូមអានឯកសារប្រភព មុនពេលបង់ប្រាក់ ឬធ្វើដំណើរ។",
        "privacy": "ទំព័រនេះមិនប្រើខូគី និងមិនតាមដានអ្នកទេ។ យើងលុបលេខទូរសព្ទ និងលេខអត្តសញ្ញាណ មុនពេលរក្សាទុកសំណួរ។",
        "not_found": "រកមិនឃើញទំព័រនេះទេ",
        "not_found_text": "សូមពិនិត្យអាសយដ្ឋានម្តងទៀត ឬសួរការិយាល័យ។",
        "busy": "សូមរង់ចាំបន្តិច",
        "busy_text": "ប្រព័ន្ធកំពុងរវល់។ សូមសួរម្តងទៀតក្នុងពេលបន្តិចទៀត។",
        "other_language": "English",
    },
    "en": {
        "ask": "Ask a question",
        "your_question": "Your question",
        "hint": "Write in Khmer or English. Answers are quoted from this office's documents.",
        "send": "Find the answer",
        "try": "For example",
        "answered": "Answered from the documents",
        "expired": "The document has expired",
        "out-of-scope": "Not in the documents",
        "expired_text": "The document about this is no longer valid, so it is not used as an answer.",
        "out-of-scope_text": "The documents of this office do not answer this question.",
        "refer": "Please ask:",
        "refer_counter": "Please ask an officer at the counter.",
        "source": "Source document",
        "file": "File",
        "valid_until": "Valid until",
        "valid_always": "No end date stated",
        "office": "Responsible office",
        "also": "Other documents about this",
        "receipt": "Answer number",
        "asked_on": "Asked on",
        "sample": "This is a sample. The province, its fees and its documents are not real.",
        "care": "A machine quotes the documents. Read the source before you pay or travel.",
        "privacy": "No cookies, no tracking. Telephone and identity numbers are removed before a question is kept.",
        "not_found": "There is no such page",
        "not_found_text": "Check the address, or ask the office.",
        "busy": "One moment, please",
        "busy_text": "The system is busy. Please ask again shortly.",
        "other_language": "ភាសាខ្មែរ",
    },
}

KHMER_MONTHS = ("មករា", "កុម្ភៈ", "មីនា", "មេសា", "ឧសភា", "មិថុនា", "កក្កដា", "សីហា", "កញ្ញា", "តុលា", "វិច្ឆិកា", "ធ្នូ")
ENGLISH_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_TO_KHMER = str.maketrans("0123456789", "០១២៣៤៥៦៧៨៩")


def say_date(day: str, language: str) -> str:
    """An ISO date as people write it."""
    year, month, number = (int(part) for part in day.split("-"))
    if language == "km":
        return f"ថ្ងៃទី{number} ខែ{KHMER_MONTHS[month - 1]} ឆ្នាំ{year}".translate(_TO_KHMER)
    return f"{number} {ENGLISH_MONTHS[month - 1]} {year}"

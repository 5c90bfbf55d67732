"""The Khmer of errors around asking language models. Drafted, not yet reviewed by a native editor."""

from __future__ import annotations

from baray.client.problems.khmer import Khmer

_AGAIN = "សូមរង់ចាំបន្តិច រួចសួរម្តងទៀត"
REPLICA_PROBLEMS: dict[str, Khmer] = {
    "replica_lost": Khmer(says="ម៉ូដែលបានឈប់ឆ្លើយនៅពាក់កណ្តាលទី។", fix=_AGAIN),
    "replica_slow": Khmer(says="ម៉ូដែលឆ្លើយយឺតពេក។", fix="សុំចម្លើយខ្លីជាងនេះ"),
    "asleep": Khmer(says="ម៉ូដែលកំពុងចាប់ផ្តើម។", fix="សូមរង់ចាំកន្លះនាទី រួចសួរម្តងទៀត"),
}

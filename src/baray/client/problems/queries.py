"""The Khmer of errors of Datasets and of SQL questions. Drafted, not yet reviewed by a native editor."""

from __future__ import annotations

from baray.client.problems.khmer import Khmer

QUERY_PROBLEMS: dict[str, Khmer] = {
    "nothing_kept": Khmer(says="គ្មានអ្វីអាចរក្សាទុកក្នុងសំណុំទិន្នន័យនេះបានទេ។", fix="មើលកំណត់ហេតុសម្រាប់ឯកសារនីមួយៗ"),
    "bad_query": Khmer(says="សំណួរ SQL នេះមិនអាចឆ្លើយបានទេ។", fix="សួរដោយប្រើ SELECT តែមួយ"),
    "query_too_large": Khmer(says="សំណួរនេះត្រូវការអង្គចងចាំច្រើនពេក។", fix="សួរយកជួរ ឬជួរឈរតិចជាង"),
    "query_too_long": Khmer(says="សំណួរនេះប្រើពេលយូរពេក។", fix="សួរយកជួរតិចជាង (LIMIT)"),
    "queries_busy": Khmer(says="កំពុងឆ្លើយសំណួរផ្សេងទៀត។", fix="សូមសួរម្តងទៀតក្នុងមួយនាទី"),
}

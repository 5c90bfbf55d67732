"""The Khmer of errors around asking language models. Drafted, not yet reviewed by a native editor."""

from __future__ import annotations

from baray.client.problems.khmer import Khmer

_AGAIN = "សូមរង់ចាំបន្តិច រួចសួរម្តងទៀត"
REPLICA_PROBLEMS: dict[str, Khmer] = {
    "replica_lost": Khmer(says="ម៉ូដែលបានឈប់ឆ្លើយនៅពាក់កណ្តាលទី។", fix=_AGAIN),
    "replica_slow": Khmer(says="ម៉ូដែលឆ្លើយយឺតពេក។", fix="សុំចម្លើយខ្លីជាងនេះ"),
    "too_many_requests": Khmer(says="សោនេះសួរញឹកញាប់ពេក។", fix="សួរយឺតជាងនេះ ឬសុំសោដែលមានកម្រិតខ្ពស់ជាង"),
    "quota_spent": Khmer(says="សោនេះបានប្រើតូខឹនអស់សម្រាប់ថ្ងៃនេះ។", fix="រង់ចាំថ្ងៃស្អែក ឬសុំសោដែលមានកម្រិតខ្ពស់ជាង"),
    "bad_bounds": Khmer(says="កម្រិតនៃសោនេះសរសេរមិនត្រឹមត្រូវទេ។", fix="សរសេរលេខមិនអវិជ្ជមាន និងឈ្មោះដូចជា main/counter"),
    "asleep": Khmer(says="ម៉ូដែលកំពុងចាប់ផ្តើម។", fix="សូមរង់ចាំកន្លះនាទី រួចសួរម្តងទៀត"),
    "bad_engine": Khmer(says="មិនអាចប្រើម៉ាស៊ីនដំណើរការនេះបានទេ។", fix="លុប --engine ចេញ ឬសរសេរ auto, torch, llamacpp ឬ vllm"),
    "bad_replicas": Khmer(says="ចំនួនច្បាប់ដំណើរការ មិនត្រឹមត្រូវ។", fix="សរសេរ MIN:MAX ឧទាហរណ៍ 1:2"),
    "stopped": Khmer(says="សេវានេះត្រូវបានបញ្ឈប់។", fix="ដាក់ឲ្យដំណើរការម្តងទៀត៖ baray service deploy"),
    "cut": Khmer(says="ចម្លើយបានដាច់ពាក់កណ្តាលទី។", fix="សួរម្តងទៀត ឬមើល៖ baray service logs NAME"),
    "no_log": Khmer(says="សេវានេះគ្មានដំណើរការផ្ទាល់ខ្លួនទេ។", fix="មើលសេវា៖ baray service list"),
}

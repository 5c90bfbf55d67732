"""The Khmer of errors of engines that serve language models. Drafted, not yet reviewed by a native editor."""

from __future__ import annotations

from baray.client.problems.khmer import Khmer

_AGAIN = "សូមរង់ចាំបន្តិច រួចសួរម្តងទៀត"
_TORCH = "ប្រើម៉ាស៊ីនឆ្លើយ torch"
ENGINE_PROBLEMS: dict[str, Khmer] = {
    "bad_safetensors": Khmer(says="ឯកសារទម្ងន់របស់ម៉ូដែលខូច ឬបាត់។", fix="ពិនិត្យម៉ូដែល៖ {command}"),
    "unknown_layout": Khmer(says="ម៉ូដែលនេះមានទម្រង់ដែលមិនអាចប្រើនៅទីនេះ។", fix="ប្រើម៉ូដែលទម្រង់ Qwen3 ឬ Llama"),
    "unknown_tokenizer": Khmer(says="មិនអាចសរសេរម៉ូដែលនេះជា GGUF បានទេ។", fix="នាំចេញតាមទម្រង់ hf៖ {command}"),
    "model_too_large": Khmer(says="ម៉ូដែលនេះធំជាងអង្គចងចាំដែលមាន។", fix="ឱ្យអង្គចងចាំច្រើនជាង ឬបរិបទខ្លីជាង"),
    "engine_crashed": Khmer(says="ម៉ាស៊ីនឆ្លើយមិនអាចដំណើរការម៉ូដែលនេះបានទេ។", fix=_TORCH),
    "engine_broken": Khmer(says="ម៉ាស៊ីនឆ្លើយបានឈប់នៅពាក់កណ្តាលទី។", fix=_AGAIN),
    "generation_failed": Khmer(says="ម៉ូដែលមិនអាចបន្តសំណើនេះបានទេ។", fix="សួរផ្សេងពីនេះ"),
    "no_embeddings": Khmer(says="ម៉ាស៊ីនឆ្លើយនេះមិនផ្តល់វ៉ិចទ័រទេ។", fix=_TORCH),
    "no_vllm": Khmer(says="គ្មាន vLLM នៅទីនេះទេ។", fix=_TORCH),
    "no_chat_template": Khmer(says="ម៉ូដែលនេះមិនអាចជជែកបានទេ។", fix="សួរតាម POST /v1/completions"),
    "bad_messages": Khmer(says="ម៉ូដែលមិនទទួលសារទាំងនេះទេ។", fix="ពិនិត្យតួនាទី និងលំដាប់នៃសារ"),
    "context_length_exceeded": Khmer(says="អត្ថបទវែងជាងដែលម៉ូដែលអាចអាន។", fix="ផ្ញើអត្ថបទខ្លីជាង ឬសុំចម្លើយខ្លីជាង"),
    "unsafe_folder": Khmer(says="ថតសម្រាប់រន្ធតភ្ជាប់មិនមែនជារបស់អ្នកប្រើនេះតែម្នាក់ទេ។", fix="លុបថតនោះចេញ រួចចាប់ផ្តើមម្តងទៀត"),
    "replica_away": Khmer(says="ម៉ូដែលមិនទទួលសំណើឥឡូវនេះទេ។", fix=_AGAIN),
    "replica_busy": Khmer(says="មានសំណើច្រើនកំពុងរង់ចាំ។", fix=_AGAIN),
}

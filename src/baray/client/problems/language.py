"""The Khmer of errors around tokenizers, tokens, evaluations and broken uploads. Drafted, not yet reviewed by a native editor."""

from __future__ import annotations

from baray.client.problems.khmer import Khmer

_TEXT = "សំណុំទិន្នន័យអត្ថបទ"
LANGUAGE_PROBLEMS: dict[str, Khmer] = {
    "wrong_input": Khmer(says="របៀបនេះត្រូវការធាតុចូលប្រភេទផ្សេង។", fix="មើលរបៀប៖ baray recipes NAME"),
    "not_text": Khmer(says=f"វាមិនមែនជា{_TEXT}ទេ។", fix=f"បង្កើត{_TEXT}ជាមុន៖ {{command}}"),
    "not_tokens": Khmer(says="សំណុំទិន្នន័យនេះគ្មានតូខឹនទេ។", fix="បង្កើតវាជាមុន៖ {command}"),
    "no_tokenizer": Khmer(says="គ្មានម៉ូដែលសម្រាប់កាត់អត្ថបទជាតូខឹនទេ។", fix="បង្វឹក ឬប្រាប់មួយ៖ {command}"),
    "too_few_tokens": Khmer(says="សំណុំទិន្នន័យមានតូខឹនតិចពេក។", fix="ប្រើអត្ថបទច្រើនជាង ឬ --set context=64"),
    "too_few_documents": Khmer(says="មានឯកសារតិចពេក មិនអាចទុកខ្លះសម្រាប់វាស់បានទេ។", fix="ប្រើអត្ថបទច្រើនជាង"),
    "does_not_fit": Khmer(says="វាមិនសមនឹងម៉ាស៊ីននេះទេ។", fix="ប្រើម៉ូដែលតូចជាង ឬបរិបទខ្លីជាង"),
    "disk_full": Khmer(says="ថាសពេញ។ ចំណុចរក្សាទុកមុន នៅមានដដែល។", fix="សម្អាតថាស រួចបន្ត៖ {command}"),
    "not_installed": Khmer(says="មិនទាន់ដំឡើងកម្មវិធីដែលត្រូវការ។", fix="លើម៉ាស៊ីនមេ៖ scripts/setup lm"),
    "not_comparable": Khmer(says="ម៉ូដែលទាំងពីរមិនមែនប្រភេទដូចគ្នាទេ។", fix="ប្រៀបធៀបជំនាន់នៃប្រភេទដូចគ្នា"),
    "not_measurable": Khmer(says="មិនអាចវាស់ម៉ូដែលនេះបានទេ។", fix="ប្រើម៉ូដែលដែលបង្វឹកនៅទីនេះ"),
    "no_documents": Khmer(says="គ្មានឯកសារសម្រាប់វាស់ទេ។", fix="ប្រើសំណុំទិន្នន័យផ្សេង"),
    "no_conversations": Khmer(says="គ្មានការសន្ទនាសម្រាប់រៀនទេ។", fix="ដាក់មួយបន្ទាត់មួយការសន្ទនា៖ messages ឬ prompt និង answer"),
    "not_a_language_model": Khmer(says="វាមិនមែនជាម៉ូដែលភាសាទេ។", fix="ប្រើម៉ូដែលនៃ lm ឬដែលបាននាំចូល៖ --base model:NAME"),
    "no_end_token": Khmer(says="តូខឹនសម្រាប់បញ្ចប់អត្ថបទ រកមិនឃើញ។", fix="ដាក់ eos_token_id ក្នុង config.json រួចនាំចូលម្តងទៀត"),
    "unknown_layout": Khmer(says="ម៉ាស៊ីននៅទីនេះមិនស្គាល់ម៉ូដែលប្រភេទនេះទេ។", fix="ប្រើម៉ូដែលប្រភេទ qwen3 ឬ llama"),
    "unsafe_model": Khmer(
        says="ថតនេះមានឯកសារដែលអាចដំណើរការកូដ មិនបាននាំចូលអ្វីទេ។", fix="រក្សាទម្ងន់ជា safetensors ហើយយកឯកសារនោះចេញ"
    ),
    "bad_safetensors": Khmer(says="ឯកសារ safetensors ខូច ឬមិនត្រឹមត្រូវ។", fix="យកឯកសារម្តងទៀតពីអ្នកបង្កើត រួចប្រៀបធៀប digest"),
    "incomplete_model": Khmer(says="ថតម៉ូដែលនេះមិនគ្រប់ទេ។", fix="ប្រើថតដែល save_pretrained(DIR) នៃ transformers សរសេរ"),
    "not_verified": Khmer(says="ហត្ថលេខារបស់ម៉ូដែលមិនត្រឹមត្រូវ។", fix="សូមផ្ទៀងផ្ទាត់៖ {command}"),
    "engines_missing": Khmer(says="ខ្វះកម្មវិធីសម្រាប់សរសេរ GGUF។", fix="រៀបចំវា៖ {command}"),
    "gguf_failed": Khmer(says="សរសេរ GGUF មិនបាន។", fix="សូមព្យាយាមម្តងទៀត"),
    "no_checkpoint": Khmer(says="រកចំណុចរក្សាទុកនៃការបង្វឹកមិនឃើញទេ។", fix="មើលកំណត់ហេតុ៖ baray run logs RUN"),
    "one_machine": Khmer(says="ការបង្វឹកមួយ ដំណើរការលើម៉ាស៊ីនតែមួយ។", fix="កុំដាក់ --nodes; ប្រើ --set processes=2"),
    "process_failed": Khmer(says="ដំណើរការមួយនៃការបង្វឹកបានបរាជ័យ។", fix="មើលកំណត់ហេតុ៖ baray run logs RUN"),
    "not_killed": Khmer(
        says="ដំណើរការបង្វឹកជារបស់អ្នកប្រើផ្សេង។", fix="ដំណើរការដោយអ្នកដែលចាប់ផ្តើមម៉ាស៊ីនមេ ឬ baray demo --home DIR"
    ),
    "bad_start": Khmer(says="ការផ្ញើឯកសារបន្ត ចាប់ផ្តើមខុសកន្លែង។", fix="ដំណើរការពាក្យបញ្ជាដដែលម្តងទៀត"),
    "upload_busy": Khmer(says="ឯកសារនេះកំពុងត្រូវបានផ្ញើរួចហើយ។", fix="សូមព្យាយាមម្តងទៀតបន្តិចទៀត"),
    "program_failed": Khmer(says="កម្មវិធីខាងក្រៅមួយបានបរាជ័យ។", fix="សូមមើលអ្វីដែលវានិយាយខាងក្រោម"),
}

"""The Khmer of errors around tokenizers, tokens and evaluations. Drafted, not yet reviewed by a native editor."""

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
    "other_layout": Khmer(says="ម៉ូដែលនេះមានទម្រង់ផ្សេង។", fix="ប្រើម៉ូដែលដែលបង្វឹកដោយ baray train lm"),
    "no_documents": Khmer(says="គ្មានឯកសារសម្រាប់វាស់ទេ។", fix="ប្រើសំណុំទិន្នន័យផ្សេង"),
}

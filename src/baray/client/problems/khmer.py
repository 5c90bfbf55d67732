"""The Khmer of each error, by its code. Drafted, not yet reviewed by a native editor."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Khmer:
    """The Khmer of one code."""

    says: str
    """What happened, without values."""
    fix: str
    """What to do; `{command}` is the command of the English fix, and is left out with its line where there is none."""
    forms: dict[str, str] = field(default_factory=dict)
    """English message with `{names}` for values -> Khmer with the same names."""


NOUNS = {
    "source": "ប្រភពឯកសារ",
    "dataset": "សំណុំទិន្នន័យ",
    "index": "សន្ទស្សន៍",
    "model": "ម៉ូដែល",
    "service": "អ្នកផ្តល់ចម្លើយ",
    "desk": "តុឆ្លើយសំណួរ",
    "run": "ការដំណើរការ",
    "answer": "ចម្លើយ",
    "project": "គម្រោង",
    "actor": "គណនី",
    "token": "សោចូល",
    "witness": "សាក្សី",
    "node": "ម៉ាស៊ីន",
    "leave": "ការអនុញ្ញាតផ្លូវចេញ",
    "file": "ឯកសារ",
    "entry": "កំណត់ហេតុ",
    "page": "ទំព័រ",
    "route": "ទំព័រ",
    "head": "ក្បាលបញ្ជី",
    "version": "ជំនាន់",
    "queued": "កំពុងរង់ចាំ",
    "running": "កំពុងដំណើរការ",
    "succeeded": "បានជោគជ័យ",
    "failed": "បានបរាជ័យ",
    "cancelled": "ត្រូវបានបោះបង់",
}
_LOOK = "មើលអ្វីដែលមាន៖ {command}"
_RESTART = "ចាប់ផ្តើមម៉ាស៊ីនមេឡើងវិញ៖ baray down រួច baray up --detach"
_VERIFY = "សូមផ្ទៀងផ្ទាត់៖ baray ledger verify រួចយកច្បាប់បម្រុងមកវិញ"
_AGAIN = "សូមរង់ចាំមួយវិនាទី រួចព្យាយាមម្តងទៀត"
_LETTERS = "បន្ថែមលិខិត រួចបង្វឹកម្តងទៀត ឬដាក់ឈ្មោះជួរឈរ៖ --set text=COLUMN --set target=COLUMN"

PROBLEMS: dict[str, Khmer] = {
    # what was written on the command line or in a request
    "wrong_usage": Khmer(says="ពាក្យបញ្ជានេះសរសេរមិនត្រឹមត្រូវទេ។", fix="មើលជំនួយ៖ {command}"),
    "not_found": Khmer(
        says="រកអ្វីដែលអ្នកសួរមិនឃើញទេ។",
        fix=_LOOK,
        forms={"There is no {kind} '{name}'.": "គ្មាន{kind} '{name}' ទេ ឬអ្នកមិនអាចមើលវាបាន។"},
    ),
    "bad_ref": Khmer(
        says="ឈ្មោះយោងនេះមិនត្រឹមត្រូវទេ។",
        fix="សរសេរ KIND:NAME@vN ឧទាហរណ៍ dataset:letters@v3",
        forms={
            "'{text}' is not a ref.": "'{text}' មិនមែនជាឈ្មោះយោងទេ។",
            "'{text}' is a {found}, but a {kind} is needed.": "'{text}' ជា{found} ប៉ុន្តែត្រូវការ{kind}។",
            "'{ref}' cannot be shown.": "មិនអាចបង្ហាញ '{ref}' បានទេ។",
        },
    ),
    "bad_name": Khmer(
        says="ឈ្មោះនេះប្រើមិនបានទេ។",
        fix="ប្រើអក្សរ a-z លេខ 0-9 និង '-' ពី 1 ដល់ 63 តួ។ អក្សរខ្មែរអាចដាក់ក្នុងចំណងជើង (--title)",
        forms={"'{name}' cannot be a name.": "'{name}' ប្រើជាឈ្មោះមិនបានទេ។"},
    ),
    "bad_label": Khmer(
        says="ស្លាកសម្ងាត់នេះមិនត្រឹមត្រូវទេ។",
        fix="សរសេរ public, internal, restricted ឬ secret",
        forms={"'{text}' is not a label.": "'{text}' មិនមែនជាស្លាកសម្ងាត់ទេ។"},
    ),
    "bad_audience": Khmer(
        says="អ្នកអាចសួរ ត្រូវបានសរសេរមិនត្រឹមត្រូវ។",
        fix="សរសេរ public, project ឬឈ្មោះគណនី",
        forms={
            "The audience is empty.": "មិនទាន់ប្រាប់ថាអ្នកណាអាចសួរ។",
            "There is no actor '{name}'.": "គ្មានគណនី '{name}' ទេ។",
        },
    ),
    "bad_option": Khmer(
        says="ជម្រើសនៃរូបមន្តនេះមិនត្រឹមត្រូវទេ។",
        fix="មើលជម្រើស និងតម្លៃដើម៖ baray recipes",
        forms={
            "There is no option '{name}'.": "គ្មានជម្រើស '{name}' ទេ។",
            "{name}={value} is not a whole number.": "{name}={value} មិនមែនជាចំនួនគត់ទេ។",
            "{name}={value} is outside {low} to {high}.": "{name}={value} នៅក្រៅពី {low} ដល់ {high}។",
            "{value} for option '{name}' is out of range.": "{value} សម្រាប់ជម្រើស '{name}' ហួសកម្រិត។",
            "'{value}' for option '{name}' is neither yes nor no.": "'{value}' សម្រាប់ជម្រើស '{name}' មិនមែន true ឬ false ទេ។",
        },
    ),
    "bad_setting": Khmer(
        says="ការកំណត់នេះមិនត្រឹមត្រូវទេ។",
        fix="សរសេរ KEY=VALUE ឧទាហរណ៍ --set min_words=3",
        forms={"'{pair}' is not KEY=VALUE.": "'{pair}' មិនមែន KEY=VALUE ទេ។"},
    ),
    "bad_quantity": Khmer(
        says="ទំហំ ឬរយៈពេលនេះមិនត្រឹមត្រូវទេ។",
        fix="សរសេរដូចជា 4GB, 2h, 10min ឬ 90s ហើយធំជាងសូន្យ",
        forms={"'{text}' is not a quantity.": "'{text}' មិនមែនជាទំហំ ឬរយៈពេលទេ។"},
    ),
    "bad_request": Khmer(
        says="សំណើនេះមានអ្វីមួយខ្វះ ឬមិនត្រឹមត្រូវ។",
        fix="កែតម្លៃដែលអត្ថបទអង់គ្លេសខាងក្រោមប្រាប់ រួចព្យាយាមម្តងទៀត",
        forms={
            "'{name}' has {size} characters.": "'{name}' មាន {size} តួអក្សរ វែងពេក។",
            "'{name}' is missing or not text.": "ខ្វះ '{name}' ឬវាមិនមែនជាអត្ថបទ។",
            "{name} is {value}: it must be above zero.": "{name} គឺ {value} ត្រូវតែធំជាងសូន្យ។",
            "Name a dataset or a source to train on, and only one.": "ត្រូវប្រាប់សំណុំទិន្នន័យ ឬប្រភពឯកសារ តែមួយគត់។",
        },
    ),
    "bad_server": Khmer(
        says="អាសយដ្ឋានម៉ាស៊ីនមេមិនត្រឹមត្រូវទេ។",
        fix="សរសេរដូចជា http://127.0.0.1:8642",
        forms={"'{url}' is not the address of a server.": "'{url}' មិនមែនជាអាសយដ្ឋានម៉ាស៊ីនមេទេ។"},
    ),
    "bad_json": Khmer(says="សំណើមិនមែន JSON ទេ។", fix='ផ្ញើដូចជា {"model": "desk", "question": "..."}'),
    "too_large": Khmer(says="ធំពេក។", fix="បំបែកជាផ្នែកតូចៗ រួចផ្ញើម្តងទៀត"),
    "too_slow": Khmer(says="ការផ្ញើយឺតពេក។", fix="ផ្ញើម្តងទៀត"),
    "exists": Khmer(
        says="ឈ្មោះនេះមានរួចហើយ។",
        fix="ជ្រើសឈ្មោះផ្សេង",
        forms={"There is a project '{name}' already.": "មានគម្រោង '{name}' រួចហើយ។"}
        | {"There is an actor '{name}' already.": "មានគណនី '{name}' រួចហើយ។"},
    ),
    "wrong_kind": Khmer(says="ឈ្មោះនេះត្រូវបានប្រើសម្រាប់ប្រភេទផ្សេង។", fix="ជ្រើសឈ្មោះផ្សេង"),
    "no_recipe": Khmer(
        says="គ្មានរូបមន្តនេះទេ។",
        fix="មើលរូបមន្តដែលមាន៖ baray recipes",
        forms={"There is no recipe '{name}'.": "គ្មានរូបមន្ត '{name}' ទេ។"},
    ),
    "not_a_desk": Khmer(says="ឈ្មោះនេះមិនមែនជាតុឆ្លើយសំណួរទេ។", fix="មើលវា៖ {command}"),
    "same_name": Khmer(says="ឯកសារចូលពីរមានឈ្មោះដូចគ្នា។", fix="ដាក់ឈ្មោះខុសគ្នា"),
    "unexpected_label": Khmer(
        says="ស្លាកសម្ងាត់នៃលទ្ធផលនឹងខុសពីអ្វីដែលរំពឹង។",
        fix="រកមើលអ្វីដែលលើកវាឡើង៖ {command}",
        forms={"'{name}' would be '{label}', not '{expected}'.": "'{name}' នឹងជា '{label}' មិនមែន '{expected}' ទេ។"},
    ),
    # files
    "no_such_file": Khmer(
        says="រកឯកសារមិនឃើញ ឬអានមិនបាន។",
        fix="ពិនិត្យផ្លូវឯកសារ និងសិទ្ធិអានរបស់អ្នក",
        forms={"There is no file or folder {path}.": "គ្មានឯកសារ ឬថត {path} ទេ។"},
    ),
    "no_such_folder": Khmer(
        says="រកថតមិនឃើញ។",
        fix="ប្រាប់ --source ជាថតដែលមានឯកសារ",
        forms={"There is no folder {folder}.": "គ្មានថត {folder} ទេ។"},
    ),
    "no_files": Khmer(
        says="គ្មានឯកសារក្នុងថតនេះទេ។",
        fix="ប្រាប់ថតដែលមានឯកសារ ឬឯកសារផ្ទាល់",
        forms={"No files in {paths}.": "គ្មានឯកសារក្នុង {paths} ទេ។"},
    ),
    "same_path": Khmer(says="ឯកសារពីរនឹងមានឈ្មោះដូចគ្នា។", fix="ប្តូរឈ្មោះមួយ ឬដាក់ទាំងពីរក្នុងថតតែមួយ រួចប្រាប់ថតនោះ"),
    "file_changed": Khmer(
        says="ឯកសារមួយបានប្រែប្រួលពេលកំពុងផ្ញើ។",
        fix="បន្ថែមម្តងទៀត ពេលគ្មាននរណាកំពុងសរសេរវា",
        forms={"{file} changed while it was sent.": "{file} បានប្រែប្រួលពេលកំពុងផ្ញើ។"},
    ),
    "not_empty": Khmer(
        says="ថតនេះមានឯកសាររួចហើយ។",
        fix="ប្រាប់ថតថ្មី ឬថតទទេ",
        forms={"{folder} is not empty.": "ថត {folder} មិនទទេទេ។"},
    ),
    "not_utf8": Khmer(
        says="ឯកសារមួយមិនមែន UTF-8 ទេ។",
        fix="រក្សាទុកឯកសារជា UTF-8 រួចបន្ថែមប្រភពឯកសារម្តងទៀត",
        forms={"{path} is not UTF-8 (byte {place}).": "{path} មិនមែន UTF-8 ទេ (បៃទី {place})។"},
    ),
    "bad_documents_csv": Khmer(
        says="documents.csv មានកំហុស។",
        fix="កែ documents.csv (path,label,valid_from,valid_until,office) រួចបន្ថែមម្តងទៀត",
        forms={"documents.csv line {line} {what}.": "documents.csv បន្ទាត់ទី {line} មានកំហុស។"},
    ),
    "bad_jsonl": Khmer(
        says="ឯកសារ JSONL មានកំហុស។",
        fix="សរសេរ JSON មួយក្នុងមួយបន្ទាត់",
        forms={"{path}, line {number} is not a JSON object.": "{path} បន្ទាត់ទី {number} មិនមែន JSON ទេ។"},
    ),
    "bad_question": Khmer(
        says="សំណួរក្នុងឯកសារមានកំហុស។",
        fix='សរសេរ {"question": "...", "language": "km", "answer_in": ["file.docx"]} ឬ null',
        forms={
            "Line {number} of {path} is not a question ({error}: {why}).": "បន្ទាត់ទី {number} នៃ {path} មិនមែនជាសំណួរទេ។"
        },
    ),
    "no_questions": Khmer(
        says="គ្មានសំណួរក្នុងឯកសារនេះទេ។",
        fix="សរសេរ JSON មួយក្នុងមួយបន្ទាត់",
        forms={"{path} holds no questions.": "{path} គ្មានសំណួរទេ។"},
    ),
    "bad_path": Khmer(says="ផ្លូវឯកសារនេះប្រើមិនបានទេ។", fix="ផ្ញើផ្លូវនីមួយៗតែម្តង ហើយនៅក្នុងថត"),
    "bad_digest": Khmer(says="ឯកសារដែលបានទទួល មិនដូចដើមទេ។", fix="ផ្ញើ ឬទាញយកម្តងទៀត"),
    "missing_blobs": Khmer(says="ឯកសារខ្លះមិនទាន់បានផ្ញើ។", fix="ដំណើរការពាក្យបញ្ជាដដែលម្តងទៀត"),
    "duplicate_document": Khmer(says="ឯកសារពីរមានលេខសម្គាល់ដូចគ្នា។", fix="ដាក់លេខសម្គាល់ខុសគ្នា"),
    "no_letters": Khmer(says="គ្មានឯកសារលិខិត CSV ឬ JSONL ទេ។", fix="បន្ថែម letters.csv ដែលមានជួរឈរ id,language,unit,text"),
    "missing_column": Khmer(
        says="ខ្វះជួរឈរមួយ។",
        fix=_LETTERS,
        forms={
            "{where} has no column '{column}'; it has {columns}.": "{where} គ្មានជួរឈរ '{column}' ទេ មានតែ {columns}។"
        },
    ),
    "too_few_classes": Khmer(says="លិខិតមានថ្នាក់តិចពេក ត្រូវការពីរឡើងទៅ។", fix=_LETTERS),
    "too_few_letters": Khmer(
        says="ថ្នាក់មួយមានលិខិតតិចពេក។",
        fix=_LETTERS,
        forms={
            "The class '{name}' has {count} different letters; {needed} are needed.": (
                "ថ្នាក់ '{name}' មានលិខិតខុសគ្នា {count} ត្រូវការ {needed}។"
            )
        },
    ),
    "one_input": Khmer(says="ត្រូវការប្រភពលិខិតតែមួយ។", fix="ប្រាប់ប្រភពឯកសារ ឬសំណុំទិន្នន័យតែមួយ"),
    # who may do what
    "not_signed_in": Khmer(says="ត្រូវមានគណនីដើម្បីធ្វើវា។", fix="ដាក់ BARAY_TOKEN ឬចូលប្រើ៖ baray login"),
    "bad_token": Khmer(
        says="សោចូលប្រើមិនបាន៖ សរសេរខុស ផុតកំណត់ ឬត្រូវបានដកហូត។",
        fix="បង្កើតថ្មី៖ baray token create NAME រួចដាក់វាក្នុង BARAY_TOKEN",
        forms={"The account of this token is disabled.": "គណនីនៃសោចូលនេះត្រូវបានបិទ។ សូមសួរអ្នកគ្រប់គ្រង។"},
    ),
    "run_token": Khmer(
        says="សោរបស់ការដំណើរការ អាចអានការដំណើរការនោះ និងបន្ថែមតួលេខរបស់វាប៉ុណ្ណោះ។", fix="ប្រើសោផ្ទាល់ខ្លួន៖ {command}"
    ),
    "bad_report": Khmer(says="តួលេខដែលបានផ្ញើ អានមិនបាន។", fix='ផ្ញើ {"step": 1, "name": "loss", "value": 0.5}'),
    "too_fast": Khmer(says="ផ្ញើញឹកញាប់ពេក។", fix="ផ្ញើតួលេខច្រើនក្នុងពេលតែមួយ"),
    "too_many_points": Khmer(says="តួលេខច្រើនពេក។", fix="ផ្ញើតែរៀងរាល់ដប់ ឬមួយរយជំហានម្តង"),
    "bad_link": Khmer(says="តំណចូលប្រើនេះបានប្រើរួច ឬចាស់ពេក។", fix="បង្កើតថ្មី៖ baray login"),
    "bad_expiry": Khmer(says="សោចូលមិនអាចមានសុពលភាពយូរដូច្នេះទេ។", fix="ជ្រើសយ៉ាងច្រើន 90 ថ្ងៃ (90d)"),
    "bad_role": Khmer(
        says="តួនាទីនេះមិនមានទេ។",
        fix="ជ្រើស viewer, member, steward ឬ owner",
        forms={"'{role}' is not a role.": "'{role}' មិនមែនជាតួនាទីទេ។"},
    ),
    "bad_scope": Khmer(says="សិទ្ធិនៃសោចូលនេះមិនត្រឹមត្រូវទេ។", fix="ជ្រើស read, ask, run ឬ admin"),
    "role_too_weak": Khmer(
        says="តួនាទីរបស់អ្នកមិនអនុញ្ញាតទេ។",
        fix="សួរម្ចាស់គម្រោង៖ {command}",
        forms={"{name} is {role} here; {about} needs {needed}.": "{name} មានតួនាទី {role} ប៉ុន្តែ {about} ត្រូវការ {needed}។"},
    ),
    "site_role_needed": Khmer(says="តួនាទីរបស់អ្នកលើប្រព័ន្ធ មិនអនុញ្ញាតទេ។", fix="សួរអ្នកគ្រប់គ្រងប្រព័ន្ធ៖ {command}"),
    "scope_missing": Khmer(says="សោចូលនេះគ្មានសិទ្ធិធ្វើវាទេ។", fix="បង្កើតសោចូលដែលមានសិទ្ធិ៖ {command}"),
    "proof_needed": Khmer(
        says="ត្រូវបញ្ជាក់អត្តសញ្ញាណរបស់អ្នកឡើងវិញ ក្នុងរយៈពេលប្រាំនាទី។",
        fix="បញ្ជាក់នៅទំព័រ /account/prove រួចព្យាយាមម្តងទៀត ឬ baray login",
    ),
    "clearance_too_low": Khmer(
        says="កម្រិតអនុញ្ញាតរបស់អ្នកទាបជាងស្លាកសម្ងាត់នៃអ្វីដែលនឹងបង្កើត។",
        fix="សួរអ្នកគ្រប់គ្រងឲ្យលើកកម្រិតអនុញ្ញាតរបស់អ្នក ឬប្រើគម្រោងផ្សេង៖ baray project list",
    ),
    "no_way_in": Khmer(
        says="អ្នកនេះមិនទាន់មានវិធីចូលប្រើផ្ទាល់ខ្លួននៅឡើយទេ។",
        fix="ឲ្យគេចូលតាមតំណភ្ជាប់ ហើយបន្ថែម passkey ឬពាក្យសម្ងាត់ និងលេខកូដ រួចធ្វើម្តងទៀត",
    ),
    "own_role": Khmer(says="គ្មាននរណាអាចប្តូរតួនាទីខ្លួនឯងបានទេ។", fix="សួរម្ចាស់គម្រោងម្នាក់ទៀត"),
    "last_operator": Khmer(says="នេះជាអ្នកគ្រប់គ្រងចុងក្រោយ។", fix="តែងតាំងម្នាក់ទៀតជាមុន៖ {command}"),
    "not_a_person": Khmer(says="គណនីកម្មវិធីមិនអាចចូលប្រើដូចមនុស្សបានទេ។", fix="ប្រើសោចូលរបស់វា"),
    "may_not_impersonate": Khmer(
        says="អ្នកមិនអាចសួរជំនួសអ្នកដទៃបានទេ។",
        fix="សួរក្នុងនាមខ្លួនឯង ឬ --as public",
        forms={"{name} may not ask as {other}.": "{name} មិនអាចសួរក្នុងនាម {other} បានទេ។"},
    ),
    "label_blocks_audience": Khmer(
        says="ស្លាកសម្ងាត់មិនអនុញ្ញាតឲ្យសាធារណៈប្រើម៉ូដែលនេះទេ។",
        fix="ប្រើ --audience project ឬបង្វឹកវាលើលិខិតសាធារណៈ",
    ),
    # accounts and signing in
    "bad_sign_in": Khmer(says="ឈ្មោះ ពាក្យសម្ងាត់ ឬលេខកូដ មិនត្រឹមត្រូវ។", fix="ព្យាយាមម្តងទៀត ឬបង្កើតតំណនៅម៉ាស៊ីនមេ៖ baray login"),
    "too_many": Khmer(says="ព្យាយាមច្រើនដងពេក។", fix="រង់ចាំបន្តិច ឬបង្កើតតំណនៅម៉ាស៊ីនមេ៖ baray login"),
    "weak_password": Khmer(says="ពាក្យសម្ងាត់នេះងាយទាយពេក។", fix="ប្រើពាក្យបួន ឬប្រាំ ដែលមិនទាក់ទងគ្នា"),
    "wrong_code": Khmer(says="លេខកូដមិនត្រឹមត្រូវនៅពេលនេះ។", fix="ដាក់ម៉ោងទូរស័ព្ទឲ្យត្រូវ រួចចាប់ផ្តើមម្តងទៀត"),
    "code_unreadable": Khmer(
        says="មិនអាចអានសោនៃលេខកូដរបស់កម្មវិធីបានទេ។",
        fix="ដាក់ keys/seal.key របស់ផ្ទះនេះមកវិញ ឬចូលតាមតំណភ្ជាប់មួយ (baray user invite NAME --again) រួចបន្ថែមកម្មវិធីម្តងទៀត",
    ),
    "bad_flow": Khmer(says="ការចូលប្រើនេះបានចាប់ផ្តើមយូរពេក ឬនៅកន្លែងផ្សេង។", fix="ចាប់ផ្តើមម្តងទៀត"),
    "bad_passkey": Khmer(says="កូនសោសម្ងាត់នេះមិនត្រូវបានទទួលទេ។", fix="ព្យាយាមម្តងទៀត ឬចូលប្រើតាមរបៀបផ្សេង"),
    "no_passkey": Khmer(says="គណនីនេះគ្មានកូនសោសម្ងាត់ទេ។", fix="បន្ថែមមួយនៅទំព័រគណនី៖ /account"),
    "passkey_needs_name": Khmer(
        says="កូនសោសម្ងាត់ត្រូវការឈ្មោះដែលមាន TLS។", fix="ដាក់ BARAY_PUBLIC_URL=https://NAME ឬបើក http://localhost:PORT"
    ),
    "no_account": Khmer(says="គណនីខាងក្រៅនេះមិនមែនជារបស់នរណានៅទីនេះទេ។", fix="សុំលិខិតអញ្ជើញ រួចភ្ជាប់គណនីនៅទំព័រគណនី"),
    "no_outside": Khmer(says="មិនទាន់បានរៀបចំគណនីខាងក្រៅទេ។", fix="មើល docs/operator.md ឬចូលប្រើតាមរបៀបផ្សេង"),
    "bad_outside": Khmer(says="គណនីខាងក្រៅមិនត្រូវបានទទួលទេ។", fix="ចាប់ផ្តើមម្តងទៀត ឬចូលប្រើតាមរបៀបផ្សេង"),
    "outside_away": Khmer(says="អ្នកផ្តល់គណនីខាងក្រៅមិនឆ្លើយទេ។", fix="ចូលប្រើតាមរបៀបផ្សេង ឬប្រាប់អ្នកគ្រប់គ្រង"),
    "session_needed": Khmer(says="សោចូលធ្វើវាមិនបានទេ ត្រូវមានមនុស្សចូលប្រើ។", fix="ដំណើរការ៖ baray login"),
    # changing labels
    "not_lower": Khmer(
        says="ស្លាកសម្ងាត់នោះមិនទាបជាងទេ។",
        fix="ដើម្បីលើកវា៖ {command}",
        forms={"{to} is not below {label}, the label of {ref}.": "{to} មិនទាបជាង {label} ដែលជាស្លាកសម្ងាត់នៃ {ref} ទេ។"},
    ),
    "not_higher": Khmer(says="ស្លាកសម្ងាត់នេះខ្ពស់គ្រប់គ្រាន់ហើយ។", fix="ដើម្បីបន្ទាប ត្រូវមានពីរនាក់ចុះហត្ថលេខា៖ {command}"),
    "no_reason": Khmer(says="មូលហេតុខ្វះ ឬវែងពេក។", fix="សរសេរមូលហេតុខ្លី៖ --reason TEXT"),
    "not_pending": Khmer(says="សំណើនេះបានបញ្ចប់រួចហើយ។", fix="ស្នើម្តងទៀត៖ {command}"),
    "expired": Khmer(says="សំណើនេះផុតកំណត់ហើយ។", fix="ស្នើម្តងទៀត៖ {command}"),
    "changed_since": Khmer(says="អ្វីដែលសំណើនេះនិយាយ បានប្រែប្រួលហើយ។", fix="មើលវា រួចស្នើម្តងទៀត៖ {command}"),
    "bad_signature": Khmer(says="ហត្ថលេខានេះមិនត្រឹមត្រូវទេ។", fix="មើលម្តងទៀត រួចចុះហត្ថលេខា៖ {command}"),
    "no_key": Khmer(
        says="មិនទាន់មានកូនសោសម្រាប់ចុះហត្ថលេខា។",
        fix="បង្កើតមួយ៖ {command}",
        forms={"{name} has no key to sign with.": "{name} មិនទាន់មានកូនសោសម្រាប់ចុះហត្ថលេខា។"},
    ),
    # a way out of the sandbox
    "egress_label": Khmer(
        says="ស្លាកសម្ងាត់នេះ មិនអាចមានផ្លូវចេញក្រៅទៅគោលដៅនោះទេ។",
        fix="កុំប្រើ --allow-egress ឬប្រើតែទិន្នន័យសាធារណៈ ឬសុំអ្នកទទួលខុសត្រូវគម្រោង៖ {command}",
    ),
    "label_blocks_project": Khmer(says="ស្លាកសម្ងាត់នេះខ្ពស់ជាងអ្វីដែលគម្រោងអាចរក្សាទុក។", fix="សុំម្ចាស់គម្រោង៖ {command}"),
    "self_approval": Khmer(says="អ្នកដែលបានស្នើ មិនអាចចុះហត្ថលេខាលើសំណើរបស់ខ្លួនទេ។", fix="សុំពីរនាក់ផ្សេងចុះហត្ថលេខា"),
    "signed_already": Khmer(says="អ្នកបានចុះហត្ថលេខាលើសំណើនេះរួចហើយ។", fix="សុំម្នាក់ទៀតចុះហត្ថលេខា"),
    "bad_target": Khmer(
        says="គោលដៅនៃបណ្តាញនេះមិនត្រឹមត្រូវទេ។",
        fix="សរសេរឈ្មោះ និងច្រក៖ example.org:443",
        forms={"'{target}' is no target for egress.": "'{target}' មិនមែនជាគោលដៅនៃបណ្តាញទេ។"},
    ),
    "reduced_sandbox": Khmer(says="ម៉ាស៊ីននេះការពារមិនពេញលេញសម្រាប់ការដំណើរការនេះ។", fix="មើលអ្វីត្រូវដំឡើង៖ baray doctor"),
    "bad_file": Khmer(says="មិនដឹងប្រភេទឯកសារពីឈ្មោះនេះទេ។", fix="បញ្ចប់ឈ្មោះដោយ .html, .txt ឬ .json"),
    # Runs
    "run_cancelled": Khmer(
        says="ការដំណើរការនេះត្រូវបានបោះបង់។",
        fix="ព្យាយាមម្តងទៀត៖ {command}",
        forms={"Run {run} was cancelled.": "ការដំណើរការ {run} ត្រូវបានបោះបង់។"},
    ),
    "not_ended": Khmer(
        says="ការដំណើរការនេះមិនទាន់បរាជ័យទេ។",
        fix="ព្យាយាមម្តងទៀតបានតែការដំណើរការដែលបរាជ័យ ឬត្រូវបានបោះបង់៖ baray run list",
    ),
    "after_failed": Khmer(says="ការដំណើរការមុនមិនបានជោគជ័យ។", fix="ព្យាយាមការដំណើរការមុនម្តងទៀត៖ baray run retry RUN"),
    "still_running": Khmer(says="ការដំណើរការនៅបន្ត។", fix="មើលវា៖ {command}"),
    "run_failed": Khmer(says="ការដំណើរការបានបរាជ័យ។", fix="មើលកំណត់ត្រារបស់វា៖ {command}"),
    "exit_code": Khmer(
        says="ពាក្យបញ្ជាបានបញ្ចប់ដោយបរាជ័យ។",
        fix="មើលកំណត់ត្រារបស់វា៖ {command}",
        forms={"It ended with exit code {code}.": "ពាក្យបញ្ជាបានបញ្ចប់ដោយលេខកូដ {code}។"},
    ),
    "signalled": Khmer(says="ពាក្យបញ្ជាត្រូវបានបញ្ឈប់។", fix="មើលកំណត់ត្រារបស់វា៖ {command}"),
    "time_limit": Khmer(says="ដំណើរការលើសរយៈពេលកំណត់។", fix="សុំរយៈពេលយូរជាង៖ --time"),
    "memory_limit": Khmer(says="ប្រើអង្គចងចាំលើសកំណត់។", fix="សុំអង្គចងចាំច្រើនជាង៖ --memory"),
    "disk_limit": Khmer(says="សរសេរលើថាសពេញដល់កំណត់។", fix="សរសេរតិចជាង ឬសម្អាតថាស"),
    "start_failed": Khmer(says="មិនអាចចាប់ផ្តើមពាក្យបញ្ជាបានទេ។", fix="មើលកំណត់ត្រារបស់វា៖ {command}"),
    "no_output": Khmer(
        says="ពាក្យបញ្ជាមិនបានសរសេរអ្វីទេ។",
        fix="សរសេរឯកសារក្នុង /out/NAME",
        forms={"The command wrote nothing to /out/{name}.": "ពាក្យបញ្ជាមិនបានសរសេរអ្វីក្នុង /out/{name} ទេ។"},
    ),
    "no_sandbox": Khmer(says="ម៉ាស៊ីននេះមិនអាចដំណើរការពាក្យបញ្ជាដោយសុវត្ថិភាពបានទេ។", fix="មើលអ្វីត្រូវដំឡើង៖ baray doctor"),
    # the server and its home
    "unreachable": Khmer(
        says="គ្មានម៉ាស៊ីនមេឆ្លើយទេ។",
        fix="ចាប់ផ្តើមវា៖ baray up ឬដាក់ BARAY_SERVER ជាអាសយដ្ឋានម៉ាស៊ីនមេដែលកំពុងដំណើរការ",
        forms={"No Baray server answers at {url} ({reason}).": "គ្មានម៉ាស៊ីនមេបារាយណ៍ឆ្លើយនៅ {url} ទេ។"},
    ),
    "state_unknown": Khmer(says="ការតភ្ជាប់បានដាច់៖ មិនដឹងថាបានធ្វើរួច ឬនៅទេ។", fix="សូមមើលមុននឹងធ្វើម្តងទៀត៖ baray run list"),
    "not_running": Khmer(
        says="គ្មានម៉ាស៊ីនមេកំពុងដំណើរការទេ។",
        fix="ចាប់ផ្តើមវា៖ baray up --detach",
        forms={"No server runs in {home}.": "គ្មានម៉ាស៊ីនមេកំពុងដំណើរការក្នុង {home} ទេ។"},
    ),
    "server_not_started": Khmer(says="ម៉ាស៊ីនមេមិនបានចាប់ផ្តើមទេ។", fix="មើលមូលហេតុ៖ baray doctor ឬ baray up"),
    "not_started": Khmer(says="ម៉ាស៊ីនមេមិនបានចាប់ផ្តើមទេ។", fix="មើលមូលហេតុក្នុងថត log នៃទីតាំងទិន្នន័យ ឬ baray doctor"),
    "not_stopped": Khmer(says="ម៉ាស៊ីនមេមិនទាន់ឈប់ទេ។", fix="រង់ចាំបន្តិច រួច baray down ម្តងទៀត"),
    "home_not_readable": Khmer(
        says="ទីតាំងទិន្នន័យជារបស់អ្នកប្រើផ្សេង។",
        fix="ប្រើគណនីនោះ ឬដាក់ BARAY_HOME ជាថតរបស់អ្នក ឬ BARAY_SERVER និង BARAY_TOKEN",
        forms={"{path} belongs to another user.": "{path} ជារបស់អ្នកប្រើផ្សេង។"},
    ),
    "home_in_use": Khmer(says="ទីតាំងទិន្នន័យកំពុងប្រើ។", fix="បញ្ឈប់វាជាមុន៖ baray down"),
    "bad_home": Khmer(says="មិនអាចបង្កើតទីតាំងទិន្នន័យបានទេ។", fix="ជ្រើសថតផ្សេង៖ --home DIR"),
    "no_home": Khmer(
        says="គ្មានទីតាំងទិន្នន័យនៅទីនេះទេ។",
        fix="ប្រាប់មួយ៖ --home DIR ឬ BARAY_HOME",
        forms={"There is no home in {home}.": "គ្មានទីតាំងទិន្នន័យក្នុង {home} ទេ។"},
    ),
    "not_migrated": Khmer(says="មូលដ្ឋានទិន្នន័យជាជំនាន់ចាស់។", fix="ដំណើរការ៖ baray migrate"),
    "newer_database": Khmer(says="មូលដ្ឋានទិន្នន័យជារបស់បារាយណ៍ជំនាន់ថ្មីជាង។", fix="ប្រើបារាយណ៍ជំនាន់ថ្មីនោះ"),
    "port_in_use": Khmer(says="ច្រកនេះប្រើមិនបានទេ។", fix="ជ្រើសច្រកផ្សេង៖ baray up --port PORT (0 យកច្រកទំនេរ)"),
    "port_taken": Khmer(says="ច្រកនេះប្រើមិនបានទេ។", fix="ជ្រើសច្រកផ្សេង៖ baray up --router-port PORT (0 យកច្រកទំនេរ)"),
    "not_loopback": Khmer(
        says="អាសយដ្ឋាននេះចូលបានពីម៉ាស៊ីនផ្សេង ដោយគ្មាន TLS។", fix="ដាក់ TLS ពីមុខ រួចបន្ថែម --behind-proxy ឬកុំប្រើ --host"
    ),
    "not_stored": Khmer(says="មិនបានរក្សាទុកអ្វីទេ។", fix="ពិនិត្យទំហំទំនេរលើថាស រួចព្យាយាមម្តងទៀត"),
    "receipt_not_kept": Khmer(says="មិនអាចកត់ត្រាចម្លើយ ដូច្នេះមិនផ្តល់ចម្លើយទេ។", fix="សម្អាតថាស រួចសួរម្តងទៀត"),
    "store_io": Khmer(says="មិនអាចបញ្ជាក់ការសរសេរទៅមូលដ្ឋានទិន្នន័យ។", fix=f"ពិនិត្យថាស រួច{_RESTART}"),
    "store_closed": Khmer(says="មូលដ្ឋានទិន្នន័យត្រូវបានបិទ។", fix=_RESTART),
    "damaged": Khmer(says="ឯកសារខូច។", fix=_VERIFY),
    "damaged_model": Khmer(says="ឯកសារនៃម៉ូដែលខូច។", fix=_VERIFY),
    "index_damaged": Khmer(says="ឯកសារនៃសន្ទស្សន៍ខូច។", fix="បង្កើតសន្ទស្សន៍ម្តងទៀតពីសំណុំទិន្នន័យ៖ baray desk create"),
    "internal": Khmer(says="មានបញ្ហានៅខាងយើង។", fix="មើលកំណត់ត្រា log/control.log នៃទីតាំងទិន្នន័យ"),
    "busy": Khmer(says="មានសំណួរច្រើនពេកក្នុងពេលតែមួយ។", fix=_AGAIN),
    "starting": Khmer(says="កំពុងចាប់ផ្តើម។", fix=_AGAIN),
    "not_ready": Khmer(says="មិនទាន់រួចរាល់។", fix=_AGAIN),
    "router_down": Khmer(says="ម៉ាស៊ីនឆ្លើយសំណួរមិនឆ្លើយទេ។", fix=_AGAIN),
    "router_failed": Khmer(says="មានបញ្ហានៅម៉ាស៊ីនឆ្លើយសំណួរ។", fix="សួរម្តងទៀត បើនៅតែដដែល សូមប្រាប់អ្នកគ្រប់គ្រង"),
    "demo_is_local": Khmer(
        says="ការបង្ហាញធ្វើបានតែលើទីតាំងទិន្នន័យនៃម៉ាស៊ីននេះ។", fix="ដក BARAY_SERVER ចេញ ឬប្រាប់ទីតាំង៖ baray demo --home DIR"
    ),
}

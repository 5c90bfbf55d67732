"""Khmer for the main commands' help and for headings of errors. English text is the key.

Khmer drafted, not yet reviewed by a native editor. Words follow the glossary: a test checks that every key is used.
"""

from __future__ import annotations

ENGLISH: dict[str, str] = {
    "error.unreachable": "No server",
    "error.not_found": "Not found",
    "error.wrong_usage": "Wrong usage",
    "error.not_signed_in": "Not signed in",
    "error.role_too_weak": "Not allowed",
    "error.run_cancelled": "Cancelled",
    "error.state_unknown": "Uncertain",
}

KHMER: dict[str, str] = {
    "error.unreachable": "រកម៉ាស៊ីនមេមិនឃើញ",
    "error.not_found": "រកមិនឃើញ",
    "error.wrong_usage": "ប្រើមិនត្រឹមត្រូវ",
    "error.not_signed_in": "មិនទាន់ចូលប្រើ",
    "error.role_too_weak": "មិនអនុញ្ញាត",
    "error.run_cancelled": "បានបោះបង់",
    "error.state_unknown": "មិនច្បាស់លាស់",
    "Error": "កំហុស",
    "To mend it": "វិធីដោះស្រាយ",
    "Show this message and exit.": "បង្ហាញសារនេះ។",
    "Usage": "របៀបប្រើ",
    "Options": "ជម្រើស",
    "Commands": "ពាក្យបញ្ជា",
    "Example": "ឧទាហរណ៍",
    "Interrupted.": "បានផ្អាក។",
    "Reading files": "កំពុងអានឯកសារ",
    "Reading documents": "កំពុងអានឯកសារ",
    "Sending": "កំពុងផ្ញើ",
    "Indexing": "កំពុងធ្វើលិបិក្រម",
    "Asking": "កំពុងសួរ",
    "hidden": "ឯកសារលាក់",
    "not readable": "អានមិនបាន",
    "not a plain file": "មិនមែនឯកសារធម្មតា",
    "a link to a folder": "តំណទៅថត",
    "a link that leaves the folder": "តំណចេញក្រៅថត",
    "its name is not UTF-8": "ឈ្មោះមិនមែន UTF-8",
    "Left out: {path} ({reason})": "មិនបានយក៖ {path} ({reason})",
    "... and {number} more left out": "... និង {number} ទៀតមិនបានយក",
    "Nothing changed: reusing {refs}.": "គ្មានអ្វីប្រែប្រួល៖ ប្រើ {refs} ឡើងវិញ។",
    "Made {refs} in {seconds}.": "បានបង្កើត {refs} ក្នុងរយៈពេល {seconds}។",
    "Hosting {refs}.": "កំពុងបម្រើ {refs}។",
    "{ref}: {number} files, {size}, label {label}.": "{ref}៖ ឯកសារ {number} ទំហំ {size} ស្លាក {label}។",
    "The desk answers at {url}": "តុឆ្លើយសំណួរនៅ {url}",
    "Ask it: {command}": "សូមសួរ៖ {command}",
    "Check it anywhere: {command}": "ផ្ទៀងផ្ទាត់នៅកន្លែងណាក៏បាន៖ {command}",
    "Open this once, within 15 minutes:": "បើកតំណនេះម្តង ក្នុងរយៈពេល ១៥ នាទី៖",
    "This is shown only now: keep it.": "បង្ហាញតែម្តងនេះប៉ុណ្ណោះ៖ សូមរក្សាទុក។",
    "Print one JSON document.": "បង្ហាញជា JSON មួយ។",
    "Home of the embedded server (BARAY_HOME).": "ថតរបស់ម៉ាស៊ីនមេក្នុងខ្លួន (BARAY_HOME)។",
    "Project to act in.": "គម្រោងដែលធ្វើការ។",
    "Address of a server (BARAY_SERVER).": "អាសយដ្ឋានម៉ាស៊ីនមេ (BARAY_SERVER)។",
    "Files become Datasets, Models and Indexes; these answer; a ledger proves it.": (
        "ឯកសារក្លាយជាសំណុំទិន្នន័យ ម៉ូដែល និងលិបិក្រម។ ទាំងនេះឆ្លើយសំណួរ ហើយបញ្ជីកំណត់ត្រាបញ្ជាក់។"
    ),
    "From a folder to a counter: the main job, narrated.": "ពីថតឯកសារទៅតុបម្រើ៖ ការងារសំខាន់ មានការពន្យល់។",
    "Start Baray on this machine.": "ចាប់ផ្តើមបារាយណ៍លើម៉ាស៊ីននេះ។",
    "Stop Baray on this machine.": "បញ្ឈប់បារាយណ៍លើម៉ាស៊ីននេះ។",
    "What runs, what waits, what needs you.": "អ្វីកំពុងដំណើរការ អ្វីរង់ចាំ អ្វីត្រូវការអ្នក។",
    "What works on this machine and what to install.": "អ្វីដំណើរការលើម៉ាស៊ីននេះ និងអ្វីត្រូវដំឡើង។",
    "Built-in recipes with their options.": "រូបមន្តដែលមានស្រាប់ និងជម្រើស។",
    "Raw files: registered, digested, untouched.": "ឯកសារដើម៖ ចុះបញ្ជី មិនកែប្រែ។",
    "Cleaned, deduplicated Documents in versions.": "ឯកសារដែលបានសម្អាត គ្មានស្ទួន មានជំនាន់។",
    "Filters for Khmer and English text: lines in, lines out.": "ឧបករណ៍អត្ថបទខ្មែរ និងអង់គ្លេស។",
    "Services that answer questions from documents, with citations.": "តុឆ្លើយសំណួរពីឯកសារ ដោយបង្ហាញប្រភព។",
    "Requested work: what waits, runs, and has ended.": "ការងារដែលបានស្នើ៖ រង់ចាំ កំពុងធ្វើ និងចប់។",
    "Trained Models in versions.": "ម៉ូដែលដែលបានបង្វឹក មានជំនាន់។",
    "Names at which something answers.": "ឈ្មោះដែលមានអ្វីមួយឆ្លើយ។",
    "Keys for programs that ask Services.": "កូនសោសម្រាប់កម្មវិធី។",
    "Tokens for people and scripts.": "និមិត្តសញ្ញាសម្ងាត់សម្រាប់មនុស្ស និងកម្មវិធី។",
    "The record of everything that happened, and its proofs.": "បញ្ជីកំណត់ត្រានៃអ្វីៗទាំងអស់ និងភស្តុតាង។",
    "How sensitive a thing is.": "កម្រិតសម្ងាត់។",
    "Boundaries of ownership.": "គម្រោង៖ ព្រំដែននៃកម្មសិទ្ធិ។",
    "People and service accounts.": "មនុស្ស និងគណនីកម្មវិធី។",
    "Register files or folders as a version of a Source.": "ចុះបញ្ជីឯកសារ ឬថត ជាជំនាន់នៃប្រភព។",
    "From documents to a desk that answers, in one command.": "ពីឯកសារទៅតុឆ្លើយសំណួរ ដោយពាក្យបញ្ជាតែមួយ។",
    "Ask a desk one question.": "សួរតុមួយសំណួរ។",
    "Ask a file of questions and count the right answers.": "សួរសំណួរពីឯកសារ ហើយរាប់ចម្លើយត្រឹមត្រូវ។",
    "Show a desk.": "បង្ហាញតុ។",
    "Build a Dataset version from a Source.": "បង្កើតជំនាន់សំណុំទិន្នន័យពីប្រភព។",
    "Show what was dropped or refused, and why.": "បង្ហាញអ្វីដែលបានដកចេញ ឬបដិសេធ និងមូលហេតុ។",
    "Train a Model.": "បង្វឹកម៉ូដែល។",
    "List Runs, newest first.": "បញ្ជីការងារ ថ្មីមុន។",
    "Print the log of a Run.": "បង្ហាញកំណត់ហេតុនៃការងារ។",
    "Cancel a Run.": "បោះបង់ការងារ។",
    "Where a thing comes from, back to the files.": "ប្រភពដើម រហូតដល់ឯកសារ។",
    "Check the ledger and everything it names, or a proof bundle.": "ផ្ទៀងផ្ទាត់បញ្ជីកំណត់ត្រា ឬភស្តុតាង។",
    "Print a one-time link to sign in to the console.": "បង្ហាញតំណចូលប្រើម្តង។",
    "Who you are here and what you may read.": "អ្នកជានរណា និងអាចអានអ្វី។",
}


def translate(language: str, text: str) -> str:
    """`text` in `language` where there is a translation, else as it is."""
    if language == "km":
        return KHMER.get(text, ENGLISH.get(text, text))
    return ENGLISH.get(text, text)

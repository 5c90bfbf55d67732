"""Words of public offices that mean nearly the same, in English and Khmer, so that a question need not use the paper's own.

A concept is a search term beside the words themselves: a citizen's "truck" meets "lorry", and a question in one language
meets a paper that exists only in the other. Written for this project; office vocabulary, not a dictionary.
"""

from __future__ import annotations

import re

from baray.text.index.stem import stem
from baray.text.khmer import normalise

# A line a concept: English words | Khmer phrases. A phrase stands before the shorter ones that it contains.
_CONCEPTS = """
marriage wedding marry | អាពាហ៍ពិពាហ៍ រៀបការ រៀបអាពាហ៍ពិពាហ៍ មង្គលការ
spouse husband wife partner | សហព័ទ្ធ ស្វាមី ភរិយា ប្រពន្ធ
divorce separation | លែងលះ
birth born baby newborn | កំណើត ទារក
death dead died deceased | មរណភាព មរណៈ ស្លាប់ ងាប់
funeral burial cremation | បុណ្យសព បូជាសព បញ្ចុះសព
child children kid son daughter | កុមារ កូនក្មេង កូន
parent father mother | ឪពុកម្តាយ ឪពុក ម្តាយ
elderly senior | ចាស់ជរា មនុស្សចាស់
disabled disability handicapped | ពិការភាព ជនពិការ
poor poverty needy | ក្រីក្រ ខ្វះខាត
farmer grower peasant | កសិករ
foreign foreigner abroad overseas | បរទេស
neighbour neighbor | អ្នកជិតខាង
worker employee labourer | កម្មករ និយោជិត បុគ្គលិក
employer boss | និយោជក
pupil student learner | សិស្ស និស្សិត
teacher instructor | គ្រូបង្រៀន
lawyer attorney solicitor | មេធាវី
doctor physician | គ្រូពេទ្យ
vet veterinarian veterinary | ពេទ្យសត្វ
cook chef | ចុងភៅ
tourist visitor sightseeing | ទេសចរណ៍ ភ្ញៀវទេសចរ
identity id | អត្តសញ្ញាណប័ណ្ណ អត្តសញ្ញាណ
passport | លិខិតឆ្លងដែន
certificate certified | វិញ្ញាបនបត្រ សំបុត្របញ្ជាក់
licence permit permission authorisation authorization | លិខិតអនុញ្ញាត អាជ្ញាប័ណ្ណ អាជ្ញាបណ្ណ
registration register enrol enroll enrolment enrollment | ចុះបញ្ជី ចុះឈ្មោះ
renewal renew extend extension prolong | បន្តសុពលភាព ពន្យារ
replacement replace substitute | ជំនួស
copy duplicate photocopy | ច្បាប់ចម្លង ថតចម្លង ចម្លង
translation translate | បកប្រែ
signature sign | ហត្ថលេខា
photo photograph picture | រូបថត
application form | ពាក្យស្នើសុំ ពាក្យសុំ ពាក្យស្នើ
contract agreement | កិច្ចសន្យា
witness | សាក្សី
residence residency address  | ទីលំនៅ លំនៅ អាសយដ្ឋាន
fine penalty punishment punish | ផាកពិន័យ ពិន័យ ពិន័យជាប្រាក់
tax duty levy | ពន្ធដារ ពន្ធ អាករ
money cash currency | ប្រាក់ លុយ
deposit guarantee | ប្រាក់កក់ កក់ប្រាក់
salary wage income earnings | ប្រាក់ខែ បៀវត្ស ចំណូល
pension retirement retire retired | សោធន ចូលនិវត្តន៍ និវត្តន៍
allowance benefit subsidy support aid | ឧបត្ថម្ភ
scholarship grant bursary | អាហារូបករណ៍
loan borrow lend credit | កម្ចី ខ្ចី
insurance insured | ធានារ៉ាប់រង
bank | ធនាគារ
rent rental hire lease | ជួល
sell sale selling seller vendor | លក់ អ្នកលក់
buy purchase buyer bought | ទិញ
price rate tariff | តម្លៃ អត្រា
free gratis | ឥតគិតថ្លៃ មិនគិតថ្លៃ មិនបង់ថ្លៃ
late delay delayed overdue | យឺត ហួសកាលកំណត់
lost lose missing | បាត់
stolen theft steal robbery | លួច ចោរកម្ម
broken damage damaged repair fix | ខូច បែក ជួសជុល
complaint complain grievance | បណ្តឹង ប្តឹង តវ៉ា
dispute conflict quarrel | វិវាទ ជម្លោះ ឈ្លោះ
court judge tribunal | តុលាការ
police | នគរបាល ប៉ូលិស
land parcel plot | ដីធ្លី
boundary border | ព្រំដី ព្រំប្រទល់
building construction construct build | សាងសង់ សំណង់ ការដ្ឋាន សង់ផ្ទះ
house home dwelling | លំនៅឋាន ផ្ទះ
property estate | អចលនទ្រព្យ កម្មសិទ្ធិ
inheritance inherit heir | មរតក
business company enterprise trade | អាជីវកម្ម ក្រុមហ៊ុន សហគ្រាស
shop store | ហាង
market stall | ផ្សារ តូប
restaurant eatery cafe | ភោជនីយដ្ឋាន ហាងបាយ
guesthouse hotel lodging inn | ផ្ទះសំណាក់ សណ្ឋាគារ
pharmacy drugstore chemist | ឱសថស្ថាន
alcohol beer wine spirits liquor | ស្រា គ្រឿងស្រវឹង
signboard billboard | ស្លាកយីហោ ផ្លាកយីហោ
hairdresser barber haircut | កាត់សក់
motorbike motorcycle moto | ម៉ូតូ ទោចក្រយានយន្ត
car automobile vehicle | រថយន្ត ឡាន
lorry truck | រថយន្តដឹកទំនិញ ឡានដឹកទំនិញ
tricycle tuktuk rickshaw | ត្រីចក្រយាន តុកតុក
driving drive driver | បើកបរ
plate | ស្លាកលេខ ផ្លាកលេខ
road street | ផ្លូវថ្នល់ ផ្លូវ
parking park | ចំណត
boat ferry ship | ទូក កាណូត
goods freight cargo load | ទំនិញ
overload overloaded overweight | លើសទម្ងន់
transport carry transportation | ដឹកជញ្ជូន
water | ទឹកស្អាត
electricity power electric | អគ្គិសនី ចរន្តភ្លើង ភ្លើងអគ្គិសនី
lamp light | អំពូល
waste garbage rubbish trash refuse | សំរាម
meter | កុងទ័រ
bill invoice | វិក្កយបត្រ
hospital clinic | មន្ទីរពេទ្យ
medicine drug | ថ្នាំពេទ្យ ឱសថ
vaccine vaccination injection | វ៉ាក់សាំង ចាក់ថ្នាំការពារ
health | សុខភាព សុខាភិបាល
school | សាលារៀន ចូលរៀន
exam examination test | ប្រឡង
training course apprenticeship | វគ្គបណ្តុះបណ្តាល បណ្តុះបណ្តាល
job employment | ការងារ
library | បណ្ណាល័យ
sport football stadium | កីឡា បាល់ទាត់
festival holiday ceremony | បុណ្យ វិស្សមកាល
concert music loudspeaker | តន្ត្រី ប្រគុំតន្ត្រី
association ngo organisation | សមាគម អង្គការ
cooperative | សហករណ៍
fishing fish fisherman | នេសាទ
wood timber | ឈើ
charcoal firewood | ធ្យូង អុស
cattle cow buffalo | គោក្របី ក្របី
dog | សត្វឆ្កែ ឆ្កែ
meat slaughter butcher | សាច់សត្វ សត្តឃាត
internet wifi wifi online | អ៊ីនធឺណិត វ៉ាយហ្វាយ
telephone phone mobile | ទូរស័ព្ទ
fast quick urgent express | បន្ទាន់ រហ័ស ឆាប់
forbidden prohibited banned prohibit ban | ហាមឃាត់ ហាម
temple pagoda | វត្តអារាម វត្ត
mountain hill | ភ្នំ
gift present bribe | អំណោយ សំណូក
counter window desk | បញ្ជរ
queue waiting wait | រង់ចាំ
"""


def _read(lines: str) -> tuple[dict[str, str], dict[str, str]]:
    """Concept by English key, and by Khmer phrase in search form; a concept is named by its first word's key."""
    english: dict[str, str] = {}
    khmer: dict[str, str] = {}
    for line in lines.strip().split("\n"):
        words, _, phrases = line.partition("|")
        concept = "§" + stem(words.split()[0])
        for word in words.split():
            english.setdefault(stem(word), concept)
        for phrase in phrases.split():
            khmer.setdefault(normalise(phrase, fold_coeng_da=True).replace("\u17b2", "\u17b1"), concept)
    return english, khmer


_ENGLISH, _KHMER = _read(_CONCEPTS)
_PHRASE = re.compile("|".join(sorted(map(re.escape, _KHMER), key=lambda phrase: (-len(phrase), phrase))))


def concept_of(key: str) -> str | None:
    """The concept of a stemmed English word, or None."""
    return _ENGLISH.get(key)


def khmer_phrases() -> frozenset[str]:
    """The Khmer phrases of all concepts, in search form."""
    return frozenset(_KHMER)


def concepts_in(run: str) -> list[tuple[str, int, int]]:
    """Concepts whose phrases stand in a run of Khmer, from left to right, the longest phrase first: (concept, start, end)."""
    return [(_KHMER[match[0]], match.start(), match.end()) for match in _PHRASE.finditer(run)]

"""Labelled lines: personal numbers, addresses and names as people write them, and what only looks like them.

All is made up. Each line holds one thing, marked; a line without one must stay as it is. Templates and ways of writing are
chosen by a generator with a fixed seed, so that the set is the same everywhere.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

KHMER_DIGITS = str.maketrans("0123456789", "០១២៣៤៥៦៧៨៩")
PLACEHOLDERS = {
    "phone": "[PHONE]",
    "id": "[ID]",
    "passport": "[PASSPORT]",
    "tax": "[TAXID]",
    "email": "[EMAIL]",
    "ip": "[IP]",
    "name": "[NAME]",
}
MOBILE = "10 11 12 15 16 17 61 69 70 77 78 81 85 86 87 89 92 93 95 98 99".split()
LONG_MOBILE = "31 38 71 76 88 96 97".split()
PROVINCE = "23 24 25 32 33 42 44 53 54 63 64 74".split()
NAMES = (
    "សុខ ដារ៉ា",
    "ចាន់ សុភា",
    "គឹម វិចិត្រា",
    "ហេង ពិសិដ្ឋ",
    "លឹម ស្រីពៅ",
    "អ៊ុំ រតនៈ",
    "ថន",
    "Sok Dara",
    "Chan Sophea",
    "Kim Vichetra",
    "Heng Piseth",
    "Lim Sreypov",
    "John A. Smith",
    "Marie-Claire Dupont",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One labelled line."""

    text: str
    kind: str
    """Key of PLACEHOLDERS; for what only looks like one, what it is."""
    redacted: str
    """The line as it should come out."""


def lines(entities: int = 1400, others: int = 1400, seed: int = 2026) -> list[Line]:
    """A set with so many personal entities and so many others."""
    chance = random.Random(seed)
    kinds = list(ENTITIES)
    found = [_entity(chance, kinds[at % len(kinds)]) for at in range(entities)]
    names = list(OTHERS)
    found += [_other(chance, names[at % len(names)]) for at in range(others)]
    return found


def _entity(chance: random.Random, kind: str) -> Line:
    value, template = ENTITIES[kind](chance)
    if kind in ("phone", "id", "passport", "tax") and chance.random() < 0.35:
        value = value.translate(KHMER_DIGITS)
    return Line(text=template.format(value), kind=kind, redacted=template.format(PLACEHOLDERS[kind]))


def _other(chance: random.Random, kind: str) -> Line:
    text = OTHERS[kind](chance)
    if kind not in ("version", "program", "mail-like", "hash", "name-like") and chance.random() < 0.35:
        text = text.translate(KHMER_DIGITS)
    return Line(text=text, kind=kind, redacted=text)


def digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choice("0123456789") for _ in range(count))


def grouped(chance: random.Random, body: str) -> str:
    """Digits in one of the groupings in use."""
    cuts = {6: ((6,), (3, 3), (2, 2, 2)), 7: ((7,), (3, 4), (2, 2, 3), (3, 2, 2), (4, 3))}[len(body)]
    sizes = chance.choice(cuts)
    gap = chance.choice(
        (
            " ",
            " ",
            "-",
            ".",
            "\u00a0",
        )
    )
    parts, at = [], 0
    for size in sizes:
        parts.append(body[at : at + size])
        at += size
    return gap.join(parts)


def phone(chance: random.Random) -> tuple[str, str]:
    prefix = chance.choice(MOBILE + LONG_MOBILE + PROVINCE)
    body = grouped(chance, digits(chance, 7 if prefix in LONG_MOBILE else 6))
    gap = chance.choice(("", " ", "-", " ")) if len(body) > 7 or chance.random() < 0.5 else ""
    way = chance.randrange(10)
    if way < 6:
        value = f"0{prefix}{gap or ' ' * (len(body) > 7)}{body}"
    elif way == 6:
        value = f"(0{prefix}) {body}"
    elif way == 7:
        value = f"+855 {prefix} {body}"
    elif way == 8:
        value = chance.choice(
            (f"+855{prefix}{body}", f"00855 {prefix} {body}", f"(855) {prefix} {body}", f"+855 (0){prefix} {body}")
        )
    else:
        value = chance.choice(
            (
                "+66 81 234 5678",
                "+84 912 345 678",
                "+33 6 12 34 56 78",
                "+1 202 555 0143",
                "+44 20 7946 0958",
                "+6591234567",
            )
        )
    return value, chance.choice(
        (
            "ទូរស័ព្ទ {}",
            "ទូរស័ព្ទលេខ{}",
            "លេខទូរស័ព្ទ៖ {}។",
            "សូមទាក់ទង {} ក្នុងម៉ោងធ្វើការ",
            "Tel: {}",
            "Call {} before 5 pm.",
            "Phone/Telegram: {}, ask for the clerk",
            "({})",
            "ទាក់ទងមកលេខ{}។",
            "Fax {} or counter 7",
            "អ្នកភូមិទូរស័ព្ទមក {} កាលពីថ្ងៃទី ១២",
            "HP:{}",
        )
    )


def national_id(chance: random.Random) -> tuple[str, str]:
    value = digits(chance, 9)
    way = chance.randrange(4)
    if way == 1:
        value = f"{value[:3]} {value[3:6]} {value[6:]}"
    if way == 2:
        return f"{value} ({digits(chance, 2)})", chance.choice(
            ("លេខ {} ចុះថ្ងៃទី", "holder {} of the village", "អត្តសញ្ញាណប័ណ្ណលេខ {}")
        )
    if way == 3:
        value = f"{value}({digits(chance, 1)})"
    return value, chance.choice(
        (
            "អត្តសញ្ញាណប័ណ្ណលេខ {}",
            "កាន់អត្តសញ្ញាណប័ណ្ណសញ្ជាតិខ្មែរលេខ៖ {} ចុះថ្ងៃទី",
            "National ID: {}",
            "ID card no. {}",
            "identity card number {} issued in Takeo",
            "អ.ត.ខ {}",
            "NID {}",
            "អត្តលេខ{}",
            "His ID is {}.",
        )
    )


def passport(chance: random.Random) -> tuple[str, str]:
    return chance.choice(("N", "N0", "E")) + digits(chance, 7), chance.choice(
        (
            "Passport No. {}",
            "លិខិតឆ្លងដែនលេខ {}",
            "passport {} expires soon",
            "លិខិតឆ្លងដែនលេខ៖ {}។",
            "Passport number: {}",
        )
    )


def tax(chance: random.Random) -> tuple[str, str]:
    value = f"{chance.choice('LKBE')}{digits(chance, 3)}-{digits(chance, 9)}"
    return value, chance.choice(
        ("TIN: {}", "VATTIN {}", "លេខអត្តសញ្ញាណកម្មសារពើពន្ធ {}", "Tax ID {} of the shop", "ក្រុមហ៊ុន ({})")
    )


def email(chance: random.Random) -> tuple[str, str]:
    user = chance.choice(
        (
            "sok.dara",
            "office",
            "kim_v99",
            "a.b-c+news",
            "info",
            "HENG.PISETH",
            "x1",
        )
    )
    host = chance.choice(
        ("example.org", "mail.example.com", "example.gov.kh", "sub.example-office.edu.kh", "EXAMPLE.NET")
    )
    return f"{user}@{host}", chance.choice(
        ("អ៊ីមែល {}", "អ៊ីមែល{}", "Write to {}.", "<{}>", "mailto:{}", "អ៊ីមែល៖{}។", "{}, 2024")
    )


def address(chance: random.Random) -> tuple[str, str]:
    four = ".".join(str(chance.randrange(1, 255)) for _ in range(4))
    value = chance.choice(
        (four, four, four, "2001:db8::" + digits(chance, 2), "fe80::1", "2001:0db8:85a3:0000:0000:8a2e:0370:7334")
    )
    return value, chance.choice(
        (
            "from {} at 08:30",
            "IP {}",
            "អាសយដ្ឋាន IP {}។",
            "ping {}",
            "host ({})",
            "ម៉ាស៊ីន{}",
        )
    )


def name(chance: random.Random) -> tuple[str, str]:
    value = chance.choice(NAMES)
    khmer = value[0] > "\u1780"
    if khmer and " " in value:
        value = value.replace(
            " ",
            chance.choice(
                (" ", "", "\u200b", "\u00a0"),
            ),
        )
    elif not khmer:
        value = chance.choice(
            (
                value,
                value.upper(),
            )
        )
    if value == "ថន":
        return value, chance.choice(
            (
                "លោក {} បានមក",
                "អ្នកស្រី{}",
                "ឈ្មោះ {} ភេទប្រុស",
            )
        )
    if khmer:
        return value, chance.choice(
            (
                "លោក {} បានដាក់ពាក្យ",
                "ឈ្មោះ {} ភេទស្រី",
                "តាមសំណើរបស់{}ចុះថ្ងៃទី ១២",
                "{}, មេភូមិ",
            )
        )
    return value, chance.choice(
        (
            "Signed: {}",
            "{} paid the fee.",
            "for Mr {}, clerk",
            "ឈ្មោះជាអក្សរឡាតាំង៖ {}",
        )
    )


ENTITIES = {
    "phone": phone,
    "id": national_id,
    "passport": passport,
    "tax": tax,
    "email": email,
    "ip": address,
    "name": name,
}


def price(chance: random.Random) -> str:
    amount = chance.choice(
        (
            f"{chance.randrange(1, 999)},{digits(chance, 3)},{digits(chance, 3)}",
            f"{chance.randrange(1, 99)} {digits(chance, 3)} {digits(chance, 3)}",
        )
    )
    return chance.choice(
        ("ថ្លៃ {} រៀល", "The budget is {} riel.", "{}៛", "USD {}.50", "ចំណូល {} ដុល្លារ", "+{} riel over last year")
    ).format(amount)


def date(chance: random.Random) -> str:
    day, month, year = chance.randrange(1, 29), chance.randrange(1, 13), chance.randrange(1990, 2027)
    return chance.choice(
        (
            f"ថ្ងៃទី {day:02}/{month:02}/{year}",
            f"ចុះថ្ងៃទី {day:02}.{month:02}.{year} ម៉ោង 08:30",
            f"{year}-{month:02}-{day:02} 08:00-11:30",
            f"from {day:02}-{month:02}-{year} to {day:02}-{month:02}-{year + 1}",
            f"{year}{month:02}{day:02}",
            f"ឆ្នាំ {year}-{year + 1}",
        )
    )


def case_number(chance: random.Random) -> str:
    number = digits(chance, 3)
    return chance.choice(
        (
            f"លិខិតលេខ {number}/{chance.randrange(10, 27)} សណ",
            f"Case No. 0{digits(chance, 2)}/{chance.randrange(2001, 2027)}/ECCC",
            f"សំណុំរឿងលេខ ០១២{digits(chance, 6)}",
            f"case number 012{digits(chance, 6)}",
            f"ប្រកាសលេខ 0{number} សហវ.ប្រក",
            f"Receipt {digits(chance, 8)}",
            f"Order ID {1}{digits(chance, 8)}",
            f"Invoice 0{digits(chance, 2)}-{digits(chance, 4)}",
        )
    )


def version(chance: random.Random) -> str:
    four = ".".join(str(chance.randrange(0, 30)) for _ in range(4))
    return chance.choice(
        (
            f"version {four}",
            f"v{four}",
            f"LibreOffice {chance.randrange(4, 25)}.{chance.randrange(9)}.{chance.randrange(9)}",
            f"ជំនាន់ {four}",
            f"Release {four} (build 20240512)",
            f"Section {four}",
            f"{four}.{1}",
        )
    )


def isbn(chance: random.Random) -> str:
    return chance.choice(
        (
            f"ISBN 978-99950-{digits(chance, 2)}-{digits(chance, 3)}-{digits(chance, 1)}",
            f"ISBN 0{digits(chance, 9)}",
            f"ISBN-10: 012{digits(chance, 6)}X",
            f"978{digits(chance, 10)}",
            f"ISSN 0{digits(chance, 3)}-{digits(chance, 4)}",
        )
    )


def serial(chance: random.Random) -> str:
    return chance.choice(
        (
            f"Serial 1{digits(chance, 9)}",
            f"SN: A{digits(chance, 9)}",
            f"គណនេយ្យ {chance.randrange(2, 9)}{digits(chance, 6)}",
            f"barcode 885{digits(chance, 10)}",
            f"population 1{digits(chance, 7)}",
            f"ចំនួន {chance.randrange(1, 9)}{digits(chance, 8)} នាក់",
            f"batch 012 {digits(chance, 3)} {digits(chance, 3)}",
        )
    )


def measure(chance: random.Random) -> str:
    return chance.choice(
        (
            f"ទំហំ 0.{digits(chance, 9)} ហិកតា",
            f"11.{digits(chance, 4)}, 104.{digits(chance, 4)}",
            f"12,5 x 30,0 m, {digits(chance, 3)} m²",
            f"3.14159265{digits(chance, 2)}",
            f"pages 112-{chance.randrange(113, 160)}, 2004",
            f"hotline 117, 118, 119 and 1{digits(chance, 3)}",
            f"មាត្រា {chance.randrange(1, 99)}, {chance.randrange(100, 200)} និង {chance.randrange(200, 300)}",
            f"UTM 48P 0{digits(chance, 2)}{digits(chance, 3)}.5",
        )
    )


def program(chance: random.Random) -> str:
    return chance.choice(
        (
            "std::vector<int> a",
            "x :: y -> z",
            "12:30:45",
            "08:00::17:00 ប្រហាក់ប្រហែល",
            "a::b",
            "10:00-11:30, 14:00-16:00",
            f"color #0{digits(chance, 5)}",
            f"file_012345678_{digits(chance, 2)}.txt",
            "http://example.org/012345678/index",
            "192.168.300.1",
            "1.2.3",
            "00:1A:2B:3C:4D:5E",
        )
    )


def mail_like(chance: random.Random) -> str:
    return chance.choice(
        ("@example on the wall", "10 kg @ 2000 riel", "user@localhost", "a @ b.org", "see foo@bar", "@@ -12,5 +12,6 @@")
    )


def digest(chance: random.Random) -> str:
    return chance.choice(
        (
            f"sha256:{chance.getrandbits(128):032x}",
            f"doc_{chance.getrandbits(96):024x}",
            f"{chance.getrandbits(64):016X}",
            f"550e8400-e29b-41d4-a716-{digits(chance, 12)}",
        )
    )


def name_like(chance: random.Random) -> str:
    return chance.choice(
        (
            "សុខភាព និងសុខសាន្ត",
            "ចាន់ថា សុភាព",
            "Sok Darany came",
            "Sokdara street",
            "Kimvichetra",
            "ថនិកសត្វ",
            "មន្ទីរសុខាភិបាល",
            "John B. Smithson",
            "ពានថន",
        )
    )


OTHERS = {
    "price": price,
    "date": date,
    "case": case_number,
    "version": version,
    "isbn": isbn,
    "serial": serial,
    "measure": measure,
    "program": program,
    "mail-like": mail_like,
    "hash": digest,
    "name-like": name_like,
}

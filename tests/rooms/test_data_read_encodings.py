"""Which encoding a text is in, and what becomes of bytes that are in none."""

from __future__ import annotations

import random

import pytest
from data_papers import NOTICE_KM
from data_reading import only, read, reasons
from hypothesis import given, settings
from hypothesis import strategies as st

from baray.core import Refused
from baray.data.readers.encodings import decode, encoding_of

TEXTS = {
    "km": NOTICE_KM,
    "fr": "Le café est fermé le vendredi à cause de la fête de l'été; les élèves reviendront lundi.",
    "zh": "柬埔寨王国政府发布公告：办公室星期五因送水节关闭，请于星期一再来。",
    "zht": "柬埔寨王國政府發布公告：辦公室星期五因送水節關閉，請於星期一再來。",
    "ja": "水祭りのため、事務所は金曜日に閉まります。月曜日にまたお越しください。",
    "ko": "물 축제로 인해 사무실은 금요일에 문을 닫습니다. 월요일에 다시 오세요.",
    "ru": "Офис закрыт в пятницу по случаю праздника воды. Пожалуйста, приходите в понедельник.",
    "th": "สำนักงานปิดวันศุกร์เนื่องจากเทศกาลน้ำ กรุณากลับมาอีกครั้งในวันจันทร์",
    "pl": "Biuro jest zamknięte w piątek z powodu święta wody. Proszę wrócić w poniedziałek, dziękuję.",
    "el": "Το γραφείο είναι κλειστό την Παρασκευή για τη γιορτή του νερού.",
}
UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
NAMED = {
    "fr": ("cp1252", "iso8859-1", "iso8859-15", "mac_roman"), "zh": ("gb18030", "gbk", "gb2312"), "zht": ("big5",),
    "ja": ("shift_jis", "cp932", "euc_jp", "iso2022_jp"), "ko": ("euc_kr", "cp949"), "ru": ("cp1251", "koi8_r"),
    "th": ("tis_620", "cp874"), "el": ("cp1253",), "pl": ("cp1250",),
}  # fmt: skip
ALL = [(language, name) for language in TEXTS for name in (*UNICODE, *NAMED.get(language, ()))]


@pytest.mark.parametrize(("language", "encoding"), ALL)
def test_encodings_are_detected(tmp_path, language, encoding):
    text = TEXTS[language]
    for data in (text.encode(encoding), "\n".join([text] * 30).encode(encoding)):
        record = only(read(tmp_path, "a.txt", data))
        assert record.text.split("\n")[0] == text
        assert record.notes == ()


def test_what_a_page_declares_is_believed_before_a_guess(tmp_path):
    for declared in ("iso-8859-2", "windows-1250", "gb2312", "Shift_JIS", "hz-gb-2312"):
        text = {"gb2312": "zh", "Shift_JIS": "ja", "hz-gb-2312": "zh"}.get(declared, "pl")
        page = f'<html><head><meta charset="{declared}"></head><body><p>{TEXTS[text]}</p></body></html>'
        assert only(read(tmp_path, "a.html", page.encode(declared))).text == TEXTS[text]
    lying = f'<html><head><meta charset="iso-8859-1"></head><body><p>{NOTICE_KM}</p></body></html>'
    assert only(read(tmp_path, "a.html", lying.encode())).text == NOTICE_KM
    for nonsense in ("utf-7", "rot13", "no such thing", "hex", "unicode_escape", "\x00"):
        assert encoding_of(NOTICE_KM.encode(), declared=nonsense) == "utf-8"


def test_a_long_file_of_ascii_tells_its_encoding_late(tmp_path):
    data = b"The office is closed.\n" * 40_000 + (TEXTS["ru"] + "\n").encode("cp1251") * 20
    assert only(read(tmp_path, "a.txt", data)).text.endswith(TEXTS["ru"] + "\n")


def test_broken_bytes_are_counted_in_a_note(tmp_path):
    good = NOTICE_KM.encode() * 5
    found = only(read(tmp_path, "a.txt", good + b"\xff" + good + b"\xe1\x9e" + "\ufffd".encode() + good))
    assert found.text.count("\ufffd") == 3
    assert found.notes == ("2 places hold bytes that are not utf-8; they stand as U+FFFD.",)
    half = only(read(tmp_path, "a.txt", NOTICE_KM.encode("utf-16")[:-1]))
    assert half.notes == ("1 places hold bytes that are not utf-16; they stand as U+FFFD.",)


def outcome(data: bytes) -> str:
    try:
        decode(data)
    except Refused as error:
        return error.code
    return "text"


def test_bytes_without_sense_are_refused():
    rng = random.Random(5)
    refused = 0
    for _ in range(60):
        refused += outcome(bytes(byte | 0x80 for byte in rng.randbytes(600))) == "decode_error"
    assert refused >= 57


def test_zero_bytes_in_a_text_are_refused(tmp_path):
    assert reasons(read(tmp_path, "a.txt", b"The office\0 is closed " + NOTICE_KM.encode() * 9)) == ["decode_error"]


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"]), min_size=1, max_size=200))
def test_any_text_in_utf8_comes_back(text):
    assert decode(text.encode()).text == text.removeprefix("\ufeff")


@settings(max_examples=300, deadline=None)
@given(data=st.binary(min_size=1, max_size=400))
def test_any_bytes_are_text_or_refused(data):
    assert outcome(data) in {"text", "decode_error"}

"""What errors say in Khmer: every code that people meet, values taken from messages that are known, English kept below."""

from __future__ import annotations

import io
import re
from pathlib import Path
from string import Formatter

import pytest

from baray.client import Unreachable
from baray.client.output import Screen
from baray.client.problems import PROBLEMS, form
from baray.core import Fault, NotFound, Refused, SystemClock

KHMER_LETTERS = re.compile("[\u1780-\u17ff]")
REFERENCE = (Path(__file__).parents[2] / "docs/reference/errors.md").read_text(encoding="utf-8")
MESSAGES = {part.partition("\n")[0]: part.partition("\n")[2] for part in REFERENCE.split("\n## ")[1:]}
# What a clerk, a learner or an operator cannot cause: damage, bugs, messages between our own processes, the ledger's holders.
NOT_MET = set(
    """
    bad_artefact bad_config bad_cosignature bad_database bad_entry bad_host bad_key bad_message bad_method bad_output bad_query
    bad_size bad_snapshot bad_statement bad_witness cross_site disconnected documents_lost entry_too_large index_format
    ledger_damaged missing_blob nested_write no_dataset no_pid no_version not_killed not_provable not_proven other_key
    read_only reader_failed rolled_back stopped unknown_kind verify_failed which_witness witness_refused wrong_engine wrong_method
""".split()
)


def said(error, language="km", **more):
    err = io.StringIO()
    Screen(out=io.StringIO(), err=err, clock=SystemClock(), language=language, **more).error(error)
    return err.getvalue()


def test_every_code_that_people_meet_has_khmer():
    assert set(MESSAGES) - NOT_MET - set(PROBLEMS) == set()
    assert len(PROBLEMS) >= 80
    for code, known in PROBLEMS.items():
        for text in (known.says, known.fix, *known.forms.values()):
            assert KHMER_LETTERS.search(text), (code, text)


@pytest.mark.parametrize("code", sorted(code for code, known in PROBLEMS.items() if known.forms))
def test_the_forms_are_messages_that_exist(code):
    """A message that was reworded would silently fall back to the general sentence."""
    written = [re.sub(r"<[^>]*>", "{}", line[2:]) for line in MESSAGES.get(code, "").splitlines() if line[:1] == "-"]
    for english, khmer in PROBLEMS[code].forms.items():
        plain = re.sub(r"\{\w+\}", "{}", english)
        assert code not in MESSAGES or any(line.startswith(plain) for line in written), plain
        names = {name for _, name, _, _ in Formatter().parse(english) if name}
        assert {name for _, name, _, _ in Formatter().parse(khmer) if name} <= names
        assert form(english).fullmatch(english)


def test_khmer_comes_first_with_the_values_and_english_below():
    first, fix, english = said(NotFound("dataset", "x@v1")).splitlines()
    assert first == "រកមិនឃើញ: គ្មានសំណុំទិន្នន័យ 'x@v1' ទេ ឬអ្នកមិនអាចមើលវាបាន។ [not_found]"
    assert fix == "  វិធីដោះស្រាយ: មើលអ្វីដែលមាន៖ baray dataset list"
    assert english == "  There is no dataset 'x@v1'. See what there is: baray dataset list"
    assert "http://127.0.0.1:9" in said(Unreachable("http://127.0.0.1:9", "refused")).splitlines()[0]


def test_a_failed_run_is_told_with_its_id_and_reason():
    error = Fault(
        "exit_code", "Run r_1 (command run) failed: It ended with exit code 3.", fix="See its log: baray run logs r_1"
    )
    first, fix, english = said(error).splitlines()
    assert "ការដំណើរការ r_1 បរាជ័យ៖ ពាក្យបញ្ជាបានបញ្ចប់ដោយលេខកូដ 3។" in first
    assert fix.endswith("baray run logs r_1")
    assert english.strip() == str(error)


def test_a_message_of_no_known_form_gets_its_codes_sentence():
    assert PROBLEMS["bad_label"].says in said(Refused("bad_label", "Something new.", fix="Do {this}."))
    assert "{command}" not in said(NotFound("file", "x"))
    assert "Something new." in said(Refused("bad_label", "Something new."))


def test_the_exact_words_are_dimmed_and_cannot_steer_the_terminal():
    lines = said(Refused("bad_name", "'\x1b]0;x\x07{a}' cannot be a name."), colour=True).splitlines()
    assert lines[-1].strip() == "\x1b[2m']0;x{a}' cannot be a name.\x1b[0m"


def test_a_code_without_khmer_stays_english_and_english_users_see_no_change():
    assert said(Refused("bad_witness", "A b.", fix="C.")).splitlines() == ["កំហុស: A b. [bad_witness]", "  វិធីដោះស្រាយ: C."]
    assert said(Refused("bad_name", "A b.", fix="C."), "en").splitlines() == [
        "Error: A b. [bad_name]",
        "  To mend it: C.",
    ]

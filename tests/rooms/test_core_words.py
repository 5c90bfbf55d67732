"""The words all rooms share: ids, refs, digests, quantities, time, errors."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baray import core
from baray.core import BarayError, Fault, Ids, NotFound, Ref, Refused, StateUnknown, TestClock, parse_ref

VECTORS = Path(__file__).parents[1] / "vectors" / "core"
NAME = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


def vectors(name: str) -> list[dict]:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", vectors("canonical.json"), ids=lambda vector: vector["name"])
def test_canonical_encoding_is_frozen(vector):
    assert core.canonical_json(vector["value"]) == vector["canonical"].encode()
    assert core.digest_json(vector["value"]) == vector["digest"]


@given(JSON)
def test_canonical_encoding_reads_back_and_knows_no_order_of_keys(value):
    def backwards(found):
        if isinstance(found, dict):
            return {key: backwards(found[key]) for key in reversed(found)}
        return [backwards(item) for item in found] if isinstance(found, list) else found

    encoded = core.canonical_json(value)
    assert json.loads(encoded) == value
    assert core.canonical_json(backwards(value)) == encoded


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_cannot_say_has_no_encoding(value):
    with pytest.raises(ValueError):  # noqa: PT011 - which ValueError is the library's business
        core.canonical_json({"a": value})


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object()])
def test_other_kinds_have_no_encoding(value):
    with pytest.raises(TypeError):
        core.canonical_json([value])


def test_three_ways_to_one_digest(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b'{"a":1}')
    known = "sha256:015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert core.digest_bytes(b'{"a":1}') == core.digest_file(path) == core.digest_json({"a": 1}) == known


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("sha256:" + "0a" * 32, True),
        ("sha256:" + "0A" * 32, False),
        ("sha256:" + "0a" * 31, False),
        ("sha256:" + "0a" * 32 + "\n", False),
        ("0a" * 32, False),
        ("", False),
    ],
)
def test_form_of_a_digest(text, is_one):
    assert core.is_digest(text) is is_one


@pytest.mark.parametrize("vector", vectors("ids.json"), ids=lambda vector: vector["id"])
def test_ids_are_frozen(vector):
    ids = Ids(TestClock(vector["seconds"]), random_bits=lambda _number: int(vector["chance"], 16))
    assert ids.new("r") == vector["id"]
    assert core.made_at(vector["id"]) == pytest.approx(vector["seconds"], abs=0.001)


def test_what_is_no_id_was_made_at_no_time():
    assert core.made_at("letters") is None


def test_ids_sort_by_time_and_differ_within_a_millisecond():
    clock = TestClock()
    ids = Ids(clock)
    made = []
    for _ in range(200):
        made.append(ids.new("r"))
        clock.advance(0.002)
    assert sorted(made) == made
    assert len({ids.new("r") for _ in range(1000)}) == 1000
    assert all(core.is_id(found, "r") for found in made)


@pytest.mark.parametrize(
    "text", ["", "r_", "r_" + "0" * 25, "r_" + "0" * 27, "r_" + "0" * 25 + "l", "R_" + "0" * 26, "r_" + "0" * 26 + "\n"]
)
def test_what_is_no_id(text):
    assert not core.is_id(text, "r")


def test_an_id_of_another_prefix_is_not_one_of_this():
    assert not core.is_id("v_" + "0" * 26, "r")
    assert core.is_id("v_" + "0" * 26, "v")


@given(
    st.sampled_from(sorted(core.REF_KINDS)),
    NAME,
    st.none() | st.integers(1, 999_999_999),
    st.none() | NAME,
)
def test_refs_read_back(kind, name, version, project):
    ref = Ref(kind=kind, name=name, version=version, project=project)
    assert parse_ref(str(ref)) == ref
    assert parse_ref(str(ref), kind=kind) == ref


def test_a_bare_name_takes_the_kind_that_is_asked_for():
    assert parse_ref("letters@v3", kind="dataset") == Ref(kind="dataset", name="letters", version=3)
    assert parse_ref("ministry/letters", kind="dataset") == Ref(kind="dataset", name="letters", project="ministry")
    assert str(parse_ref("run:r_" + "0" * 26)) == "run:r_" + "0" * 26


@pytest.mark.parametrize(
    "text",
    [
        "",
        "letters",
        "dataset:",
        "dataset:Letters",
        "dataset:លិខិត",
        "dataset:letters@3",
        "dataset:letters@v",
        "dataset:letters@v0",
        "dataset:letters@v03",
        "dataset:letters@v1234567890",
        "dataset:letters\n",
        "dataset:" + "a" * 65,
        "a/b/dataset:letters",
        "/dataset:letters",
        "paper:letters",
        "dataset:../etc",
    ],
)
def test_what_is_no_ref_is_refused_with_an_example(text):
    with pytest.raises(Refused) as refused:
        parse_ref(text)
    assert (refused.value.code, refused.value.status) == ("bad_ref", 400)
    assert "dataset:letters@v3" in refused.value.fix


def test_a_ref_of_another_kind_is_refused():
    with pytest.raises(Refused, match="'model:a' is a model, but a dataset is needed") as refused:
        parse_ref("model:a", kind="dataset")
    assert refused.value.code == "bad_ref"


@given(NAME)
def test_names(name):
    assert core.check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "A", "a_b", "a.b", "a/b", "ឯកសារ", "a" * 64, "a\n", " a"])
def test_what_cannot_be_a_name(name):
    with pytest.raises(Refused) as refused:
        core.check_name(name)
    assert refused.value.code == "bad_name"
    assert repr(name)[1:-1] in repr(str(refused.value))


@pytest.mark.parametrize(
    ("text", "number"),
    [("1000", 1000), ("4GB", 4 * 10**9), ("512MiB", 2**29), ("1.5 kb", 1500), (" 2t ", 2 * 10**12), ("0", 0)],
)
def test_bytes(text, number):
    assert core.parse_bytes(text) == number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90s", 90), ("10min", 600), ("3m", 180), ("250ms", 0.25), ("1d", 86400), ("7", 7)],
)
def test_seconds(text, seconds):
    assert core.parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e9", "4 lightyears", "1..5s", "0x10", "nan", "inf", "4GB\x00"])
def test_what_is_no_quantity(text):
    for read in (core.parse_bytes, core.parse_seconds):
        with pytest.raises(Refused) as refused:
            read(text)
        assert refused.value.code == "bad_quantity"
        assert refused.value.fix


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"), (5 * 10**9, "5.0 GB"), (2.5e15, "2500.0 TB")],
)
def test_bytes_as_people_read_them(number, text):
    assert core.format_bytes(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.421, "0.42 s"), (12.34, "12.3 s"), (185, "3 min 5 s"), (3599.6, "1 h 0 min"), (7800, "2 h 10 min")],
)
def test_seconds_as_people_read_them(seconds, text):
    assert core.format_seconds(seconds) == text


def test_time_as_text_is_utc_with_milliseconds():
    assert core.iso_time(1_790_000_000.25) == "2026-09-21T14:13:20.250Z"
    assert core.iso_date(1_790_000_000.25) == "2026-09-21"
    assert core.iso_date(86_399.999) == "1970-01-01"


def test_the_clock_of_tests_stands_still_until_it_is_moved():
    clock = TestClock(5.0)
    assert (clock.now(), clock.now()) == (5.0, 5.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (7.5, 7.5)


def test_the_clock_of_the_system_goes_on():
    clock = core.SystemClock()
    first, second = clock.monotonic(), clock.monotonic()
    assert second >= first
    assert clock.now() > 1_700_000_000


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (Refused("too_long", "It has 9 parts.", fix="Send 3."), "too_long", 400),
        (Refused("busy", "Not now.", status=409), "busy", 409),
        (NotFound("dataset", "letters@v9"), "not_found", 404),
        (Fault("damaged", "Bytes differ."), "damaged", 500),
        (StateUnknown("store_io", "Perhaps."), "store_io", 503),
    ],
)
def test_errors_carry_code_status_message_and_fix(error, code, status):
    assert isinstance(error, BarayError)
    assert (error.code, error.status) == (code, status)
    assert str(error) == f"{error.message} {error.fix}".strip()
    assert error.instead is None


def test_a_refusal_is_not_a_fault():
    assert not isinstance(Refused("a", "b"), Fault)
    assert isinstance(NotFound("a", "b"), Refused)
    assert (
        str(NotFound("dataset", "letters@v9", fix="See the list.")) == "There is no dataset 'letters@v9'. See the list."
    )


def test_refs_are_values():
    one, same = parse_ref("dataset:a@v1"), parse_ref("dataset:a@v1")
    assert len({one, same}) == 1
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError):
        one.name = "b"

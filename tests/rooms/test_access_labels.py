"""Labels are a lattice, and their text form is one form."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baray.access import INTERNAL, LEVELS, PUBLIC, TOP, Label, cleared, flows, join, parse_label
from baray.core import Refused

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "access" / "labels.json").read_text())
WORDS = st.frozensets(st.sampled_from(["a", "b", "health", "land-2"]), max_size=3)
LABELS = st.builds(Label, level=st.integers(0, 3), categories=WORDS, releasable_to=st.none() | WORDS)
FEW = [
    Label(level=level, categories=frozenset(categories), releasable_to=None if names is None else frozenset(names))
    for level in (0, 2)
    for categories in ("", "a", "ab")
    for names in (None, "", "p", "pq")
]
"""A part of the lattice small enough to look at whole."""


def of(vector):
    names = vector["releasable_to"]
    return Label(
        level=vector["level"],
        categories=frozenset(vector["categories"]),
        releasable_to=None if names is None else frozenset(names),
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["text"])
def test_text_form_is_frozen(vector):
    assert str(of(vector)) == vector["text"]
    assert parse_label(vector["text"]) == of(vector)


@given(LABELS)
def test_text_form_reads_back(label):
    assert parse_label(str(label)) == label


@given(LABELS, LABELS)
def test_two_labels_have_two_texts(a, b):
    assert (str(a) == str(b)) == (a == b)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [(" internal ", "internal"), ("secret: land , health", "secret:health,land"), ("public:a,a@q,p", "public:a@p,q")],
)
def test_other_spellings_have_the_one_canonical_text(text, canonical):
    assert str(parse_label(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Public",
        "top",
        "4",
        "internal:",
        "internal:,a",
        "internal:a,",
        "internal:A",
        "internal:a b",
        "internal@,p",
        "internal@P",
        "internal@p@q",
        "internal:a:b",
        "សម្ងាត់",
        "secret\x00",
        "secret:-a",
        "secret:" + "a" * 64,
    ],
)
def test_what_is_no_label_is_refused_with_the_form(text):
    with pytest.raises(Refused) as refused:
        parse_label(text)
    assert refused.value.code == "bad_label"
    assert "LEVEL[:CATEGORY,...][@PROJECT,...]" in refused.value.fix
    assert all(level in refused.value.fix for level in LEVELS)


@given(LABELS, LABELS, LABELS)
def test_join_is_associative_commutative_and_idempotent(a, b, c):
    assert join([a, join([b, c])]) == join([join([a, b]), c]) == join([a, b, c])
    assert join([a, b]) == join([b, a])
    assert join([a, a]) == a


@given(LABELS)
def test_public_is_the_least(a):
    assert join([]) == PUBLIC
    assert join([PUBLIC, a]) == a
    assert flows(PUBLIC, a)


@given(LABELS, LABELS, LABELS)
def test_join_is_the_least_upper_bound(a, b, c):
    both = join([a, b])
    assert flows(a, both)
    assert flows(b, both)
    assert (flows(a, c) and flows(b, c)) == flows(both, c)


@given(LABELS, LABELS, LABELS)
def test_flows_is_a_partial_order(a, b, c):
    assert flows(a, a)
    if flows(a, b) and flows(b, a):
        assert a == b
    if flows(a, b) and flows(b, c):
        assert flows(a, c)
    assert flows(a, b) == (join([a, b]) == b)


def test_order_and_join_on_a_whole_part_of_the_lattice():
    for a, b, c in itertools.product(FEW, FEW, FEW):
        assert (flows(a, c) and flows(b, c)) == flows(join([a, b]), c)
        assert not (flows(a, b) and flows(b, c)) or flows(a, c)


@pytest.mark.parametrize(
    ("source", "target", "may"),
    [
        ("public", "secret", True),
        ("secret", "internal", False),
        ("internal:health", "internal", False),
        ("internal:health", "restricted:health,land", True),
        ("internal@main", "internal", False),
        ("internal@main", "internal@main", True),
        ("internal@main,other", "internal@main", True),
        ("internal@main", "internal@main,other", False),
        ("internal@", "secret@main", False),
        ("internal", "internal@", True),
    ],
)
def test_what_flows_where(source, target, may):
    assert flows(parse_label(source), parse_label(target)) is may


@pytest.mark.parametrize(
    ("label", "clearance", "projects", "may"),
    [
        ("public", "public", [], True),
        ("internal", "public", ["main"], False),
        ("internal", "internal", [], True),
        ("internal:health", "secret", ["main"], False),
        ("internal:health", "internal:health,land", [], True),
        ("internal@main", "secret", [], False),
        ("internal@main", "secret", ["other"], False),
        ("internal@main,court", "internal", ["other", "court"], True),
        ("public@", "secret", ["main"], False),
        ("internal@main", "internal@other", ["main"], True),
    ],
)
def test_who_is_cleared_for_what(label, clearance, projects, may):
    assert cleared(parse_label(label), parse_label(clearance), projects) is may


@given(LABELS, LABELS, LABELS, WORDS)
def test_who_is_cleared_for_a_join_is_cleared_for_its_parts(a, b, clearance, projects):
    if cleared(join([a, b]), clearance, projects):
        assert cleared(a, clearance, projects)
        assert cleared(b, clearance, projects)


def test_the_named_labels():
    assert (str(PUBLIC), str(INTERNAL), str(TOP)) == ("public", "internal", "secret")
    assert LEVELS == ("public", "internal", "restricted", "secret")

"""Hostile and damaged files: none stops the Run, none is lost, the good ones beside them are read."""

from __future__ import annotations

from collections import defaultdict

import pytest
from data_papers import NOTICE_EN, NOTICE_KM, docx, make, paragraph
from hostile_files import hostile_files

GOOD = {
    "good/a.txt": NOTICE_EN.encode() + b" This one is good.",
    "good/b.docx": docx(paragraph(NOTICE_KM + " ឯកសារនេះល្អ។")),
}
LARGE = 200_000
EVERY = 4


@pytest.fixture(scope="module")
def hostile():
    return hostile_files()


@pytest.fixture(scope="module", params=["some", pytest.param("all", marks=pytest.mark.slow)])
def made(request, hostile, tmp_path_factory):
    """A Dataset of every fourth small file, or of all of them."""
    small = [name for name, (data, _) in hostile.items() if len(data) < LARGE]
    names = small[::EVERY] if request.param == "some" else list(hostile)
    papers = {name: hostile[name][0] for name in names} | GOOD
    return names, make(tmp_path_factory.mktemp("hostile"), papers, cpus=2)


def test_there_are_two_hundred_of_them(hostile):
    assert len(hostile) >= 400
    assert len({data for data, _ in hostile.values()}) >= 400


def test_none_stops_the_run_and_none_is_lost(made):
    names, found = made
    report = found.report
    assert report["in"] == report["kept"] + sum(report["dropped"].values()) + sum(report["refused"].values())
    assert report["in"] >= len(names)
    assert set(found.texts()) >= set(GOOD)
    assert len({row["id"] for row in (*found.rows, *found.dropped)}) == report["in"]


def test_each_comes_to_what_it_may(made, hostile):
    names, found = made
    became = defaultdict(set)
    for row in found.rows:
        became[owner(row["path"], names)].add("kept")
    for row in found.dropped:
        # A filter or an equal text before it may have dropped what was read as it should be.
        became[owner(row["path"], names)].add("kept" if row["fate"] == "dropped" else row["reason"])
    assert set(became) >= set(names)
    wrong = {name: sorted(became[name]) for name in names if hostile[name][1] and not became[name] <= hostile[name][1]}
    assert wrong == {}


def owner(path: str, names: list[str]) -> str:
    """The file of the Source that a Document's path begins with."""
    parts = path.split("/")
    return next((name for at in range(len(parts), 0, -1) if (name := "/".join(parts[:at])) in names), path)


def test_each_refusal_says_what_is_wrong_and_nothing_of_the_machine_is_read(made):
    _names, found = made
    refused = [row for row in found.dropped if row["fate"] == "refused"]
    assert [row for row in refused if not row["detail"].endswith((".", "!", "?"))] == []
    for word in ("root:", "/bin/bash", "daemon:"):  # of /etc/passwd, which many of them ask for
        assert not any(word in row["text"] for row in found.rows)

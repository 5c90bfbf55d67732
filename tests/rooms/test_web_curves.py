"""Curves of a Run: read while they are written, thinned, drawn on one scale."""

from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baray.web.api.curves import read_numbers, read_since, thinned
from baray.web.console.plot import HEIGHT, WIDTH, draw


def write(folder, rows, *, more=b""):
    lines = [json.dumps({"step": step, "time": 1.0, "name": name, "value": value}) for step, name, value in rows]
    (folder / "metrics.jsonl").write_bytes("".join(f"{line}\n" for line in lines).encode() + more)


def numbers_in(path):
    return [float(number) for number in re.findall(r"-?[\d.]+", path)]


def test_a_line_in_writing_is_left_out(tmp_path):
    write(tmp_path, [(1, "loss", 3.0), (2, "loss", 2.0), (2, "lr", 0.1)], more=b'{"step": 3, "ti')
    found = read_numbers(tmp_path)
    assert found.counts() == {"loss": 2, "lr": 1}
    assert found.curve("loss") == [(1.0, 3.0), (2.0, 2.0)]
    assert found.last()["loss"]["value"] == 2.0
    assert read_numbers(tmp_path / "none").counts() == {}


def test_what_came_since_is_sent_once(tmp_path):
    assert read_since(tmp_path, 0) == ([], 0)
    write(tmp_path, [(1, "loss", 3.0)])
    first, offset = read_since(tmp_path, 0)
    assert [one["step"] for one in first] == [1]
    assert read_since(tmp_path, offset) == ([], offset)
    write(tmp_path, [(1, "loss", 3.0), (2, "loss", 2.5)], more=b'{"step"')
    later, end = read_since(tmp_path, offset)
    assert [one["step"] for one in later] == [2]
    assert read_since(tmp_path, end) == ([], end)


def test_a_resumed_run_that_dropped_numbers_sends_all(tmp_path):
    write(tmp_path, [(step, "loss", 3.0) for step in range(9)])
    _, offset = read_since(tmp_path, 0)
    write(tmp_path, [(step, "loss", 3.0) for step in range(4)])
    again, _ = read_since(tmp_path, offset)
    assert [one["step"] for one in again] == [0, 1, 2, 3]
    write(tmp_path, [(1000 + step, "loss", 3.25) for step in range(9)])  # another length of line: not at its begin
    assert len(read_since(tmp_path, offset)[0]) == 9


def test_numbers_that_are_none_are_not_drawn_and_names_may_hold_anything(tmp_path):
    odd = 'held "out" ខ្មែរ'
    write(tmp_path, [(1, odd, math.nan), (2, odd, 1.0), (3, odd, math.inf), (4, odd, 2.0)])
    assert read_numbers(tmp_path).counts() == {odd: 4}
    assert read_numbers(tmp_path).curve(odd) == [(2.0, 1.0), (4.0, 2.0)]


def test_a_long_run_is_read_in_part_and_keeps_its_last_number(tmp_path):
    write(tmp_path, [(step, "loss", float(step)) for step in range(10_001)])
    found = read_numbers(tmp_path).curve("loss")
    assert len(found) < 4100
    assert (found[0], found[-1]) == ((0.0, 0.0), (10_000.0, 10_000.0))


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=600),
    st.integers(2, 100),
)
def test_thinning_keeps_order_and_range(values, most):
    points = [(float(step), value) for step, value in enumerate(values)]
    found = thinned(points, most)
    assert 1 <= len(found) <= max(most, 1)
    assert [step for step, _ in found] == sorted(step for step, _ in found)
    assert all(min(values) - 1e-3 <= value <= max(values) + 1e-3 for _, value in found)


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)), min_size=2, max_size=50))
def test_every_point_lies_in_the_drawing(pairs):
    curves = {
        name: [(float(step), pair[number]) for step, pair in enumerate(pairs)] for number, name in enumerate("ab")
    }
    plot = draw(curves)
    for line in plot.lines:
        found = numbers_in(line.path)
        assert all(-0.1 <= x <= WIDTH + 0.1 for x in found[0::2])
        assert all(-0.1 <= y <= HEIGHT + 0.1 for y in found[1::2])
    assert 2 <= len(plot.heights) <= 7
    assert len(set(plot.heights)) == len(plot.heights) or max(map(abs, sum(pairs, ()))) > 1e5


@pytest.mark.parametrize(
    ("low", "high", "heights"),
    [
        (0.4, 6.2, ("8", "6", "4", "2", "0")),
        (2.0, 2.0, ("2.5", "2")),
        (-3, 5, ("6", "4", "2", "0", "-2", "-4")),
    ],
)
def test_heights_are_round(low, high, heights):
    found = draw({"loss": [(1.0, high), (101.0, low)]})
    assert found.steps == ("0", "25", "50", "76", "101")
    assert found.heights == heights
    assert float(found.heights[0]) >= high
    assert float(found.heights[-1]) <= low


def test_one_number_is_no_curve():
    assert draw({"loss": [(1.0, 2.0)]}) is None
    assert draw({}) is None

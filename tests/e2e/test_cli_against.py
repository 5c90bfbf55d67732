"""New papers against a Dataset that exists, through the command line and a Run of a worker."""

from __future__ import annotations

import pytest
from homes import Home

OLD = "The office on the corner of the market opens at seven, and closes at five in the afternoon of every working day."
NEW = "Something that nobody has said before in this office, and that is long enough to stay."


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("against") / "home")
    for name, papers in {"old": {"a.txt": OLD}, "new": {"copy.txt": OLD, "new.txt": NEW}}.items():
        folder = home.path.parent / name
        folder.mkdir()
        for path, text in papers.items():
            (folder / path).write_text(text)
    home.run("dataset", "build", "text", "--name", "old", "--input", "old", "--follow")
    yield home
    home.stop()


def test_what_is_in_an_earlier_dataset_is_left_out_and_named(home):
    told = ("--name", "new", "--input", "new", "--set", "against=dataset:old", "--follow")
    home.run("dataset", "build", "text", *told)
    shown, _ = home.run("dataset", "dropped", "new")
    assert "in_earlier" in shown
    (told,) = home.json("dataset", "query", 'SELECT path, step, detail FROM "new/dropped"')["rows"]
    assert told == ["copy.txt", "against", "Same text as a.txt in dataset:old@v1."]
    rows = home.json("dataset", "query", "SELECT path FROM new")["rows"]
    assert rows == [["new.txt"]]


def test_an_earlier_dataset_that_is_not_there_is_refused(home):
    told = ("--name", "none", "--input", "new", "--set", "against=dataset:nobody")
    shown, error = home.run("dataset", "build", "text", *told, code=1)
    assert "nobody" in shown + error

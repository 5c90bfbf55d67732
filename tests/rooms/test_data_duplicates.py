"""Which Documents stand in for which: near duplicates against brute force, earlier Datasets, common lines."""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from data_papers import NOTICE_EN, TODAY, Made, Paper, context_of, source_of
from hypothesis import given, settings
from hypothesis import strategies as st

from baray.core import Refused
from baray.data.documents import compared_digest
from baray.data.duplicates.index import FORMAT, KeyColumns
from baray.data.duplicates.minhash import BANDS, band_keys, jaccard, shingle_set
from baray.data.duplicates.near import NearRule, Texts, near
from baray.data.duplicates.rules import STAYS, Decisions, Rows, StandIn, all_stay, amounts, exact, preference
from baray.data.pipeline.handler import build
from baray.data.pipeline.shards import hashes_of
from baray.runs import Input, InputFile

WORDS = [f"{first}{second}" for first in "bcdfghklmnprst" for second in "aeiou"]
LABELS = ["public", "internal", "internal:health", "secret"]
DAYS = [None, None, None, "2025-01-01", "2026-12-31", "2030-01-01"]


def corpus(chance: random.Random, number: int, prefix: str) -> pl.DataFrame:
    """Documents of a few families: equal, alike, alike with another number, and their own; labels and days by chance."""
    families = [[chance.choice(WORDS) for _ in range(chance.randrange(12, 60))] for _ in range(4)]
    rows = []
    for at in range(number):
        words = list(chance.choice(families))
        for _ in range(chance.choice([0, 0, 1, 2, 5])):
            words[chance.randrange(len(words))] = chance.choice(WORDS)
        text = " ".join(words) + f" fee {chance.choice([4000, 4000, 5000])}"
        text = text.replace(" ", chance.choice([" ", "  ", "\n"]), chance.randrange(3))
        about = {"label": chance.choice(LABELS), "valid_from": chance.choice(DAYS), "valid_until": chance.choice(DAYS)}
        rows.append({"text": text, **about, "path": f"{prefix}/{chance.randrange(3)}.txt", "record": at})
    schema = {
        "text": pl.String,
        "label": pl.String,
        "valid_from": pl.String,
        "valid_until": pl.String,
        "path": pl.String,
    }
    return pl.DataFrame(rows, schema={**schema, "record": pl.Int32})


def facts_of(rows: pl.DataFrame) -> pl.DataFrame:
    halves = hashes_of(pl.Series([compared_digest(text) for text in rows["text"]], dtype=pl.String))
    return rows.with_columns(hash_0=pl.Series(halves[:, 0]), hash_1=pl.Series(halves[:, 1]))


def decide(rows: pl.DataFrame, *, preferred: int = 0, settled: int = 0, threshold: float = 0.7) -> Decisions:
    """Decisions on rows of texts, as a build makes them."""
    facts = facts_of(rows)
    decided, stand_in = all_stay(rows.height), StandIn(facts, TODAY)
    ranks = preference(facts, TODAY, preferred=preferred)
    exact(facts, ranks, stand_in, decided, settled=settled)
    keys = band_keys(rows["text"].to_list())[0]
    asked: list[Rows] = []

    def text(row: int) -> str:
        assert row in asked[0]
        return str(rows["text"][row])

    with tempfile.TemporaryDirectory() as scratch:
        texts = Texts(band=lambda band: keys[:, band].copy(), of=text, fetch=asked.append)
        rule = NearRule(threshold=threshold, numbers_must_agree=True)
        near(ranks, texts, stand_in, decided, rule, Path(scratch), settled=settled)
    return decided


@given(seed=st.integers(0, 2**32), first=st.integers(1, 14), second=st.integers(1, 14))
@settings(max_examples=150, deadline=None)
def test_incremental_equals_full(seed, first, second):
    chance = random.Random(seed)
    state = chance.getstate()
    old = corpus(chance, first, "a")
    chance.setstate(state)  # the same families
    chance.random()
    new = pl.concat(
        [
            corpus(random.Random(seed), second, "b"),
            old.sample(min(2, first), seed=seed).with_columns(path=pl.lit("b/9")),
        ]
    )
    whole = pl.concat([old, new])
    full = np.flatnonzero(decide(whole, preferred=old.height).how == STAYS)
    kept = np.flatnonzero(decide(old).how == STAYS)
    beside = decide(pl.concat([old[kept.tolist()], new]), preferred=len(kept), settled=len(kept))
    fresh = np.flatnonzero(beside.how[len(kept) :] == STAYS) + old.height
    assert (beside.how[: len(kept)] == STAYS).all()
    assert sorted([*kept.tolist(), *fresh.tolist()]) == full.tolist()


@given(seed=st.integers(0, 2**32), number=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_whoever_is_dropped_has_one_that_stays_and_stands_in(seed, number):
    rows = corpus(random.Random(seed), number, "a")
    decided, stand_in = decide(rows), StandIn(rows, TODAY)
    for row in np.flatnonzero(decided.how != STAYS).tolist():
        kept = int(decided.kept[row])
        assert stand_in(kept, row)
        assert amounts(rows["text"][kept]) == amounts(rows["text"][row])
        assert jaccard(shingle_set(rows["text"][kept]), shingle_set(rows["text"][row])) >= 0.7
        while decided.how[kept] != STAYS:
            kept = int(decided.kept[kept])
        assert stand_in(kept, row)


def test_no_pair_that_is_alike_stays_and_none_else_goes():
    """Against brute force: all pairs by their true similarity, in the same order of preference."""
    chance = random.Random(3)
    rows = corpus(chance, 300, "a").with_columns(label=pl.lit("public"), valid_from=None, valid_until=None)
    rows = rows.with_columns(pl.col("valid_from", "valid_until").cast(pl.String))
    decided = decide(rows, threshold=0.8)
    kept: list[int] = []
    ranks = preference(facts_of(rows), TODAY)
    sets = [shingle_set(text) for text in rows["text"]]
    numbers = [amounts(text) for text in rows["text"]]
    for row in np.argsort(ranks).tolist():
        if not any(numbers[one] == numbers[row] and jaccard(sets[one], sets[row]) >= 0.8 for one in kept):
            kept.append(row)
    found = set(np.flatnonzero(decided.how == STAYS).tolist())
    assert len(found ^ set(kept)) <= 3  # a pair at 0.8 shares a band with probability 0.998
    assert len(kept) < 300


def test_key_columns_give_rows_back(tmp_path):
    keys = KeyColumns(tmp_path / "keys", 5)
    rows = np.arange(5 * BANDS, dtype=np.uint64).reshape(5, BANDS)
    keys.add(rows[:2])
    keys.add(rows[2:])
    assert (keys.rows(1, 4) == rows[1:4]).all()
    assert (keys.band(3) == rows[:, 3]).all()


# --- whole builds ---------------------------------------------------------------------------------------------------


def made_of(
    folder: Path, papers: dict[str, Paper | bytes], *earlier: Input, name: str = "letters", **options: object
) -> Made:
    inputs = {"source": source_of(folder, papers)} | {f"against-{at}": one for at, one in enumerate(earlier, 1)}
    context, log = context_of(folder, {"name": name, "options": options}, inputs)
    (output,) = build(context)
    place = context.out / name
    rows, dropped = pl.read_parquet(place / "data").to_dicts(), pl.read_parquet(place / "dropped").to_dicts()
    report = json.loads((place / "report.json").read_text())
    return Made(output=output, folder=place, rows=rows, dropped=dropped, report=report, log=log)


def dataset(made: Made, *, ref: str = "dataset:letters@v1", label: str = "internal", bands: bool = True) -> Input:
    """What was made, as a later Run mounts it."""
    files = tuple(
        InputFile(path=one.path, digest=one.digest, bytes=one.bytes, blob=made.folder / one.path)
        for one in made.output.files
        if bands or not one.path.startswith("bands/")
    )
    return Input(name="against", ref=ref, kind="dataset", digest=made.output.digest, label=label, files=files)


LONG = " ".join(WORDS)
OLD = {
    "a.txt": NOTICE_EN.encode(),
    "b.txt": Paper(data=f"{LONG} one".encode(), label="internal"),
    "c.txt": Paper(data=b"An expired notice of the office, which was good for some days.", valid_until="2026-01-01"),
}
NEW = {
    "copy.txt": (NOTICE_EN + "\n").encode(),
    "alike.txt": Paper(data=f"{LONG} two".encode(), label="secret"),
    "open.txt": f"{LONG} three".encode(),
    "again.txt": b"An expired notice of the office, which was good for some  days.",
    "new.txt": b"Something that nobody has said before in this office.",
}


@pytest.mark.parametrize("bands", [True, False])
def test_what_is_in_an_earlier_dataset_is_left_out(tmp_path, bands):
    old = made_of(tmp_path / "old", OLD)
    made = made_of(tmp_path / "new", NEW, dataset(old, bands=bands))
    # What was only for insiders does not stand in for what is open; what is over does not for what is not.
    assert sorted(made.texts()) == ["again.txt", "new.txt", "open.txt"]
    told = {row["path"]: (row["step"], row["reason"], row["detail"]) for row in made.dropped}
    assert told["copy.txt"] == ("against", "in_earlier", "Same text as a.txt in dataset:letters@v1.")
    assert made.report["dropped"] == {"in_earlier": 2}
    assert [step["step"] for step in made.report["steps"]][-3:] == ["against", "exact_duplicates", "near_duplicates"]
    clusters = made.report["profile"]["clusters"]
    assert clusters["in_earlier"] == 2
    # The secret one is dropped: the Dataset is public, and what is above it is neither named here nor there.
    assert {
        "earlier": "dataset:letters@v1",
        "kept": "a.txt",
        "size": 2,
        "like_it": [{"path": "copy.txt", "similarity": 1.0}],
    } in (clusters["largest"])
    assert {"earlier": "dataset:letters@v1", "kept": "", "size": 2, "like_it": []} in clusters["largest"]
    assert "dataset:letters@v1" in (made.folder / "report.html").read_text()


def test_several_earlier_datasets(tmp_path):
    first = made_of(tmp_path / "1", {"a.txt": NOTICE_EN.encode()})
    second = made_of(tmp_path / "2", {"b.txt": LONG.encode()})
    made = made_of(
        tmp_path / "3", NEW, dataset(first, label="public"), dataset(second, ref="dataset:more@v2", label="public")
    )
    details = {row["path"]: row["detail"] for row in made.dropped}
    assert details["copy.txt"] == "Same text as a.txt in dataset:letters@v1."
    assert made.report["dropped"]["in_earlier"] == 3
    assert "dataset:more@v2" in details["open.txt"]


def test_a_label_that_was_raised_since_counts(tmp_path):
    old = made_of(tmp_path / "old", {"a.txt": NOTICE_EN.encode()})
    made = made_of(tmp_path / "new", NEW, dataset(old, label="secret"))
    assert "copy.txt" in made.texts()


def test_an_earlier_dataset_must_hold_texts(tmp_path):
    old = made_of(tmp_path / "old", {"a.txt": NOTICE_EN.encode()})
    with pytest.raises(Refused) as caught:
        made_of(tmp_path / "new", NEW, replace(dataset(old), files=()))
    assert caught.value.code == "not_text"


def test_band_index_vector(tmp_path):
    made = made_of(
        tmp_path,
        {
            "a.txt": Paper(data=NOTICE_EN.encode(), label="internal", valid_until="2030-01-01"),
            "b.txt": b"word word " * 9,
        },
    )
    table = pq.read_table(made.folder / "bands")
    assert table.schema.metadata[b"format"] == FORMAT.encode() == b"baray-bands/1"
    assert table.schema.names == ["id", "path", "record", "hash", "bands", "label", "valid_from", "valid_until"]
    assert table.column("id").to_pylist() == [row["id"] for row in made.rows]
    (row,) = [one for one in table.to_pylist() if one["path"] == "a.txt"]
    assert (row["label"], row["valid_from"], row["valid_until"]) == ("internal", None, "2030-01-01")
    assert len(row["bands"]) == 8 * BANDS
    assert row["hash"].hex() == compared_digest(NOTICE_EN)[:32] == HASH
    # Frozen: an index of today is read by all later versions.
    assert row["bands"][:16].hex() == FIRST_BANDS


HASH = "c903035aee655a2a96254f91c7f776f7"
FIRST_BANDS = "c48e72ccea6d0028ef34ed467a7ba59f"


def test_lines_that_stand_in_many_documents_are_taken_out(tmp_path):
    menu = "Home | Services | Contact\n"
    papers = {
        f"{at}.txt": f"{menu}{' '.join(random.Random(at).sample(WORDS, 30))}\n  {menu}".encode() for at in range(5)
    }
    papers["only.txt"] = f"{menu}\n\n{menu}".encode()
    assert all("Home" in text for text in made_of(tmp_path / "0", papers, duplicate_lines=6).texts().values())
    made = made_of(tmp_path / "1", papers, duplicate_lines=5)
    assert len(made.rows) == 5
    assert not any("Home" in row["text"] for row in made.rows)
    assert made.reasons() == {"only.txt": "only_common_lines"}
    assert made.report["common_lines"] == {"different": 1, "lines": 12, "documents": 6, "more_than": 5}


MENU = "Menu of the office with all the services that it has for citizens of the province"


def test_without_its_menu_a_page_is_the_page_it_was(tmp_path):
    body = " ".join(WORDS[:30])
    papers = {f"{at}.txt": f"{MENU}\n{' '.join(random.Random(at).sample(WORDS, 30))}".encode() for at in range(3)}
    papers |= {"x.txt": f"{MENU}\n{body}".encode(), "y.txt": body.encode()}
    assert len(made_of(tmp_path / "0", papers).rows) == 5
    made = made_of(tmp_path / "1", papers, duplicate_lines=3)
    assert made.reasons() == {"y.txt": "exact_duplicate"}

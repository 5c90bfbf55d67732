"""Recipe `table`: what a column is, what is left out, and what others read of it."""

from __future__ import annotations

import datetime
import decimal
import io
import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_papers import Paper, context_of, source_of, xlsx

from baray.core import Refused
from baray.data.tables.handler import build

FEES = """service,fee,days,opened,paid,code
Birth certificate,"5,000",3,2026-01-02,yes,007
Land title,20000.50,14,3/2/2026,no,012
Shop licence,៥០០០,-,2026-03-04,yes,100
"""


def make(tmp_path, papers, **options):
    context, log = context_of(tmp_path, {"name": "fees", "options": options}, {"source": source_of(tmp_path, papers)})
    (output,) = build(context)
    folder = context.out / "fees"
    rows = pl.read_parquet(folder / "data").sort("path", "record").to_dicts()
    dropped = pl.read_parquet(folder / "dropped").sort("path", "record").to_dicts()
    return output, rows, dropped, json.loads((folder / "report.json").read_text()), folder, log


def types(report) -> dict[str, str]:
    return {one["name"]: one["type"] for one in report["columns"]}


def test_types_are_those_that_all_values_have(tmp_path):
    _, rows, _, report, folder, _ = make(tmp_path, {"fees.csv": FEES.encode()}, units="fee=KHR,days=d")
    wanted = {
        "service": "text",
        "fee": "number",
        "days": "integer",
        "opened": "date",
        "paid": "boolean",
        "code": "text",
    }
    assert types(report) == wanted
    assert [row["fee"] for row in rows] == [5000.0, 20000.5, 5000.0]
    assert [row["days"] for row in rows] == [3, 14, None]
    assert [str(row["opened"]) for row in rows] == ["2026-01-02", "2026-02-03", "2026-03-04"]
    assert [row["code"] for row in rows] == ["007", "012", "100"], "what begins with 0 is a name"
    assert (
        rows[0]["text"] == "service: Birth certificate; fee: 5,000; days: 3; opened: 2026-01-02; paid: yes; code: 007"
    )
    fee = next(one for one in report["columns"] if one["name"] == "fee")
    assert (fee["unit"], fee["least"], fee["most"], fee["nulls"]) == ("KHR", 5000.0, 20000.5, 0)
    assert pq.read_schema(folder / "data/part-00000.parquet").field("fee").metadata[b"unit"] == b"KHR"
    assert report["candidate_keys"] == ["service", "opened", "code"]


def test_one_wrong_value_keeps_a_column_text_and_is_told(tmp_path):
    lines = "".join(f"{number}\n" for number in range(30)) + "n0t\n"
    _, rows, _, report, _, log = make(tmp_path, {"a.csv": b"number\n" + lines.encode()})
    assert rows[-1]["number"] == "n0t"
    assert report["columns"][0]["almost"] == {"type": "integer", "misfits": 1, "example": "n0t"}
    assert any("n0t" in line and "types=number=integer" in line for line in log)
    _, rows, dropped, report, _, _ = make(
        tmp_path / "again", {"a.csv": b"number\n" + lines.encode()}, types="number=integer"
    )
    assert [row["number"] for row in rows] == list(range(30))
    assert [(row["reason"], row["text"]) for row in dropped] == [("bad_value", "number: n0t")]
    assert (report["in"], report["kept"], report["dropped"]) == (31, 30, {"bad_value": 1})


def test_keys(tmp_path):
    data = b"id,name\n1,a\n1,b\n,c\n2,d\n"
    _, rows, dropped, report, _, _ = make(tmp_path, {"a.csv": data}, key="id")
    assert [(row["id_"], row["name"]) for row in rows] == [(1, "a"), (2, "d")]
    assert [row["reason"] for row in dropped] == ["duplicate_key", "no_key"]
    assert report["steps"][1] == {
        "step": "key", "in": 4, "kept": 2, "dropped": {"duplicate_key": 1, "no_key": 1}, "refused": {}
    }  # fmt: skip


def test_a_row_of_another_label_never_stands_in_for_one(tmp_path):
    papers = {
        "a.csv": Paper(data=b"k,v\n1,a\n", label="internal"),
        "b.csv": Paper(data=b"k,v\n1,a\n \n", label="public"),
    }
    output, rows, _, _, _, _ = make(tmp_path, papers, key="k")
    assert sorted(row["label"] for row in rows) == ["internal", "public"]
    assert output.labels == ("internal", "public")


def test_an_example_is_of_no_row_above_the_label(tmp_path):
    papers = {
        "a.csv": Paper(data=b"days,fee\nnamed above,none\n", label="restricted"),
        "b.csv": Paper(data=b"days,fee\n" + b"".join(b"%d,5\n" % day for day in range(30)), label="public"),
    }
    output, _, _, report, folder, _ = make(tmp_path, papers, types="fee=integer")
    assert output.labels == ("public",)
    assert report["columns"][0]["almost"] == {"type": "integer", "misfits": 1, "example": ""}
    assert b"named above" not in b"".join(path.read_bytes() for path in folder.rglob("*.json*"))


def test_all_formats_give_the_same_rows(tmp_path):
    table = [["name", "n"], ["a", 1], ["b", 2.5]]
    parquet = io.BytesIO()
    pq.write_table(pa.table({"name": ["a", "b"], "n": [1.0, 2.5]}), parquet)
    found = [
        make(tmp_path / kind, {f"t.{kind}": data})[1]
        for kind, data in {
            "csv": b"name;n\na;1\nb;2.5\n",
            "tsv": b"name\tn\na\t1\nb\t2.5\n",
            "xlsx": xlsx({"Sheet": table}),
            "jsonl": b'{"name":"a","n":1}\n{"name":"b","n":2.5}\n',
            "json": b'[{"name":"a","n":1},{"name":"b","n":2.5}]',
            "parquet": parquet.getvalue(),
        }.items()
    ]
    assert [[(row["name"], row["n"]) for row in rows] for rows in found] == [[("a", 1.0), ("b", 2.5)]] * 6


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a,a\n1,2\n", "broken_file"),
        (b"a,,c\n1,2,3\n", "broken_file"),
        (b"a,b\n1,2,3\n", "broken_file"),
        (b"\n\n", "no_text"),
        (b"", "empty_file"),
        (b"[1, 2]", "broken_record"),
        (b"%PDF-1.7\n", "unsupported_type"),
        (b"PAR1 nothing PAR1", "broken_file"),
    ],
)
def test_a_bad_file_costs_itself(tmp_path, data, reason):
    name = "bad.json" if data.startswith(b"[") else "bad.csv"
    _, rows, dropped, report, _, _ = make(tmp_path, {"good.csv": b"a,b\n1,2\n", name: data})
    assert len(rows) == report["kept"]
    assert report["refused"] == {reason: 1}
    assert report["in"] == report["kept"] + 1
    assert [row["fate"] for row in dropped] == ["refused"]


@pytest.mark.parametrize(
    "options", [{"key": "none"}, {"types": "a=odd"}, {"types": "a"}, {"units": "none=m"}, {"duplicates": "x"}]
)
def test_options_that_name_nothing_are_refused(tmp_path, options):
    with pytest.raises(Refused) as refused:
        make(tmp_path, {"a.csv": b"a,b\n1,2\n"}, **options)
    assert refused.value.code == "bad_option"
    assert refused.value.fix


def test_no_digit_is_lost(tmp_path):
    values = {
        "account": ["12345678901234567890", "3"], "odd": ["9007199254740993", "1.5"], "tiny": ["1e-400", "1"],
        "share": ["0.12345678901234567890", "1"], "long": ["9" * 100, "1"], "round": ["1e23", "1" + "0" * 22],
        "real": ["0.30000000000000004", "1.7976931348623157e308"], "fee": ["1,000.50", "-0.10"],
    }  # fmt: skip
    text = "\n".join("\t".join(row) for row in [list(values), *zip(*values.values(), strict=True)])
    _, rows, _, report, _, _ = make(tmp_path, {"a.csv": text.encode()})
    assert types(report) == {
        "account": "text", "odd": "text", "tiny": "text", "share": "text", "long": "text",
        "round": "number", "real": "number", "fee": "number",
    }  # fmt: skip
    assert [row["account"] for row in rows] == values["account"]
    assert [row["round"] for row in rows] == [1e23, 1e22]


def test_numbers_of_json_keep_their_digits(tmp_path):
    line = b'{"a": 1e400, "b": 0.12345678901234567890, "c": 2.50, "d": 123456789012345678901234567890}'
    _, (row,), _, _, _, _ = make(tmp_path, {"a.jsonl": line})
    assert [row[name] for name in "abcd"] == [
        "1e400", "0.12345678901234567890", 2.5, "123456789012345678901234567890"
    ]  # fmt: skip


def test_names_that_are_ours_make_room(tmp_path):
    _, (row,), _, _, _, _ = make(tmp_path, {"a.csv": b"id,id_,path,label,id__\n1,x,p,l,y\n"})
    assert [row[name] for name in ("id___", "id_", "path_", "label_", "id__")] == [1, "x", "p", "l", "y"]


def test_names_that_differ_in_capitals_make_room(tmp_path):
    _, (row,), _, report, _, _ = make(tmp_path, {"a.csv": b"ID,Label,name,NAME\n1,l,n,N\n"})
    assert [row[name] for name in ("ID_", "Label_", "name", "NAME_", "label")] == [1, "l", "n", "N", "public"]
    assert [one["name"] for one in report["columns"]] == ["ID_", "Label_", "name", "NAME_"]


@pytest.mark.parametrize("data", [b'{"a": 1, "a": 2}', b'{"a": "\\ud800"}', b'{"\\udfff": 1}'])
def test_a_record_that_cannot_be_kept_whole_is_refused(tmp_path, data):
    _, rows, _, report, _, _ = make(tmp_path, {"a.jsonl": b'{"a": "\\ud83d\\ude00"}\n' + data + b"\n"})
    assert [row["a"] for row in rows] == ["\U0001f600"]
    assert report["refused"] == {"broken_record": 1}


def parquet(table: pa.Table) -> bytes:
    target = io.BytesIO()
    pq.write_table(table, target)
    return target.getvalue()


def test_parquet_that_cannot_be_kept_whole_is_refused(tmp_path):
    papers = {
        "good.csv": b"a\n1\n",
        "twice.parquet": parquet(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])),
        "fine.parquet": parquet(pa.table({"a": pa.array([1_600_000_000_000_000_001], pa.timestamp("ns"))})),
    }
    _, rows, _, report, _, _ = make(tmp_path, papers)
    assert len(rows) == 1
    assert report["refused"] == {"broken_file": 2}


def test_dates_inside_objects_are_kept(tmp_path):
    inside = pa.array([{"day": datetime.date(2026, 1, 2), "fee": decimal.Decimal("1.10")}])
    _, (row,), _, _, _, _ = make(tmp_path, {"a.parquet": parquet(pa.table({"a": inside}))})
    assert json.loads(row["a"]) == {"day": "2026-01-02", "fee": "1.10"}


def test_the_identity_is_known(tmp_path):
    """A digest that is written down: another means another format, and a new number."""
    output, *_ = make(tmp_path, {"fees.csv": FEES.encode()})
    assert output.digest == "sha256:6804ba9522598bb465ea6965c5f809c60008c89f83f573c129651594b04f1f6d"
    again, *_ = make(tmp_path / "again", {"fees.csv": FEES.encode()}, units="fee=KHR")
    assert again.digest == output.digest

"""Rows: JSON, TSV, Parquet and Arrow; read one at a time, whatever their number."""

from __future__ import annotations

import io
import json
import resource
import tracemalloc

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from data_papers import NOTICE_EN, NOTICE_KM, make
from data_reading import only, read, read_path, reasons

from baray.data.readers import ReadOptions, Record, SourceFile, read_file

ROWS = [
    {"text": NOTICE_KM, "title": "ក", "n": 1},
    {"text": NOTICE_EN, "title": "", "n": 2},
    {"text": None, "title": "C", "n": 3},
]
TABLE = pa.Table.from_pylist(ROWS)


def parquet(table, **options):
    data = io.BytesIO()
    pq.write_table(table, data, **options)
    return data.getvalue()


def arrow_file(table, **options):
    data = io.BytesIO()
    with ipc.new_file(data, table.schema, **options) as writer:
        writer.write_table(table)
    return data.getvalue()


def arrow_stream(table):
    data = io.BytesIO()
    with ipc.new_stream(data, table.schema) as writer:
        writer.write_table(table)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.parquet", parquet(TABLE)),
        ("a.parquet", parquet(TABLE, compression="gzip", row_group_size=1, use_dictionary=False)),
        ("a.arrow", arrow_file(TABLE)),
        ("a.feather", arrow_file(TABLE, options=ipc.IpcWriteOptions(compression="zstd"))),
        ("a.arrows", arrow_stream(TABLE)),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.json", json.dumps({"about": "x", "rows": ROWS}, ensure_ascii=False, indent=2).encode()),
        ("a.json", "\n".join(map(json.dumps, ROWS)).encode()),
        ("a.json", json.dumps(ROWS, ensure_ascii=False).encode("utf-16")),
        ("a.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode("utf-16-le")),
    ],
)
def test_every_kind_of_rows_gives_the_same_documents(tmp_path, name, data):
    found = read(tmp_path, name, data)
    assert [one.index for one in found] == [0, 1, 2]
    assert [(one.text, one.title) for one in found[:2]] == [(NOTICE_KM, "ក"), (NOTICE_EN, NOTICE_EN)]
    assert reasons(found) == ["no_text"]


def test_columns_without_a_text_are_lines_of_a_table_or_rows(tmp_path):
    fees = pa.table({"service": ["Birth", "Death"], "fee_riel": [4000.0, 2500.5], "open": [[1, 5], None]})
    for data in (parquet(fees), arrow_file(fees)):
        assert only(read(tmp_path, "fees", data)).text == (
            "service: Birth; fee riel: 4000; open: [1, 5]\nservice: Death; fee riel: 2500.5"
        )
        assert [one.text for one in read(tmp_path, "fees", data, rows="yes")][1] == "service: Death; fee riel: 2500.5"
    many = parquet(pa.table({"n": list(range(3000))}))
    assert len(read(tmp_path, "many.parquet", many)) == 3000
    assert only(read(tmp_path, "all.parquet", parquet(TABLE.slice(0, 2)), rows="no")).text.count("\n") == 1


def test_another_text_field(tmp_path):
    table = parquet(pa.table({"content": [NOTICE_EN], "text": ["x"]}))
    assert only(read(tmp_path, "a.parquet", table, text_field="content")).text == NOTICE_EN


def test_a_long_text_in_a_million_rows_is_a_bomb(tmp_path):
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 200_000, pa.int32()), pa.array(["fee " * 25_000]))
    bomb = parquet(pa.table({"text": column}), compression="zstd")
    assert len(bomb) < 200_000
    blob = tmp_path / "bomb.parquet"
    blob.write_bytes(bomb)
    options = ReadOptions(rows="auto", text_field="text", max_bytes=50_000_000, ocr=None, ocr_pages=5, cpus=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read_file(SourceFile(path="bomb.parquet", blob=blob, bytes=len(bomb)), options)
    ends = [getattr(one, "reason", "") for one in found]
    assert ends[-1] == "unsafe_archive"
    assert len(ends) < 2000
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 300_000_000


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet", "arrow", "csv"])
def test_many_rows_are_read_in_flat_memory(tmp_path, kind):
    """The peak of what Python holds does not grow with the number of rows."""

    def peak(rows):
        texts = [f"Letter {n} asks about the fee of a permit, number {n * 7919}." for n in range(rows)]
        blob = tmp_path / f"a.{kind}"
        if kind in {"parquet", "arrow"}:
            blob.write_bytes({"parquet": parquet, "arrow": arrow_file}[kind](pa.table({"text": texts})))
        elif kind == "csv":
            blob.write_text("id,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(texts)))
        else:
            lines = [json.dumps({"text": text}) for text in texts]
            blob.write_text("\n".join(lines) if kind == "jsonl" else "[" + ",\n".join(lines) + "]")
        del texts
        file = SourceFile(path=blob.name, blob=blob, bytes=blob.stat().st_size)
        options = ReadOptions(rows="yes", text_field="text", max_bytes=50_000_000, ocr=None, ocr_pages=5, cpus=1)
        next(read_file(file, options))  # the library is loaded before it is measured
        tracemalloc.start()
        try:
            assert sum(isinstance(one, Record) for one in read_file(file, options)) == rows
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(30_000) < peak(10_000) + 1_000_000


def test_json_that_is_damaged_gives_what_lies_before(tmp_path):
    whole = json.dumps([{"text": f"Record {n} of the list."} for n in range(50)])
    found = read(tmp_path, "a.json", whole[:700].encode())
    assert [one.text for one in found[:2]] == ["Record 0 of the list.", "Record 1 of the list."]
    assert reasons(found) == ["broken_file"]
    for text in ("[", "{", '{"a"', "[1 2]", "nonsense", '["a" "b"]', "[" * 100_000, '{"a":' * 100_000):
        assert set(reasons(read(tmp_path, "a.json", text.encode()))) <= {"broken_file", "no_text"}, text[:10]
        assert reasons(read(tmp_path, "a.json", text.encode()))
    assert reasons(read(tmp_path, "a.json", b"[]")) == ["no_text"]
    assert reasons(read(tmp_path, "a.json", b"[1, null, []]")) == ["no_text"] * 3


def test_json_over_the_ends_of_blocks(tmp_path):
    rows = [{"text": f"{n} " + "ក" * (n * 731 % 40_000) + " end."} for n in range(40)]
    for dumped in (json.dumps(rows), json.dumps(rows, ensure_ascii=False), json.dumps(rows, indent=3)):
        assert [one.text for one in read(tmp_path, "a.json", dumped.encode())] == [row["text"] for row in rows]


def test_tabs(tmp_path):
    plain = 'word\tmeaning\nសំបុត្រ\ta "letter\nថ្លៃ\tfee"\n'.encode()
    assert only(read(tmp_path, "a.tsv", plain)).text == 'word: meaning\nសំបុត្រ: a "letter\nថ្លៃ: fee"'
    quoted = b'id\ttext\n1\t"The fee is\tpaid\nat the counter."\n2\t"Come back."\n'
    assert [one.text for one in read(tmp_path, "a.tsv", quoted)] == ["The fee is\tpaid\nat the counter.", "Come back."]


def test_broken_bytes_are_counted_by_row(tmp_path):
    data = (
        b'{"text": "good enough"}\n{"text": "ba\xffd \xfe text"}\n'
        + NOTICE_KM.encode().join([b'{"text": "', b'"}\n']) * 20
    )
    found = read(tmp_path, "a.jsonl", data)
    assert found[1].text == "ba\ufffdd \ufffd text"
    assert found[1].notes == ("2 places hold bytes that are not utf-8; they stand as U+FFFD.",)
    assert found[0].notes == ()


def test_a_line_without_end_is_refused_and_not_held(tmp_path):
    blob = tmp_path / "a.csv"
    blob.write_bytes(b"id,text\n1," + b"x" * 20_000_000)
    assert reasons(read_path(blob))[-1:] == ["broken_file"]


def test_a_dataset_of_rows(tmp_path):
    texts = [f"Letter {n} asks about the fee for a permit of shop {n * 7919}." for n in range(300)]
    table = pa.table({"text": texts})
    made = make(tmp_path, {"a.parquet": parquet(table), "b.arrow": arrow_file(table)}, near_duplicates=0)
    assert made.report["in"] == 600
    assert made.report["dropped"] == {"exact_duplicate": 300}
    assert {row["path"] for row in made.rows} == {"a.parquet"}

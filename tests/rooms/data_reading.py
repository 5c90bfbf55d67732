"""What the tests of readers share: a file is read as a Source's would be."""

from __future__ import annotations

from pathlib import Path

from baray.data.readers import ReadOptions, Record, Refusal, SourceFile, read_file

OPTIONS = ReadOptions(rows="auto", text_field="text", max_bytes=50_000_000, ocr=None, ocr_pages=5, cpus=1)


def read(tmp_path: Path, name: str, data: bytes, **options: object) -> list[Record | Refusal]:
    blob = tmp_path / "blob"
    blob.write_bytes(data)
    return read_path(blob, name=name, **options)


def read_path(blob: Path, *, name: str = "", **options: object) -> list[Record | Refusal]:
    settings = {field: getattr(OPTIONS, field) for field in OPTIONS.__slots__} | options
    file = SourceFile(path=name or blob.name, blob=blob, bytes=blob.stat().st_size)
    return list(read_file(file, ReadOptions(**settings)))


def only(found: list[Record | Refusal]) -> Record:
    (record,) = found
    assert isinstance(record, Record), record
    return record


def reasons(found: list[Record | Refusal]) -> list[str]:
    return [one.reason for one in found if isinstance(one, Refusal)]


def parts(found: list[Record | Refusal]) -> dict[str, str]:
    """Path inside the archive -> text, or the reason why not."""
    return {one.part: one.text if isinstance(one, Record) else one.reason for one in found}

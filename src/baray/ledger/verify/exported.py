"""Check an export: a tar in the layout of C2SP tlog-tiles, with the public key lines beside it."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any

from baray.ledger import tree
from baray.ledger.verify import heads as signed
from baray.ledger.verify.rebuilt import Rows, rebuild
from baray.ledger.verify.report import Notebook, Report


class _Files:
    """The regular files of an archive, by name."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members = {member.name: member for member in archive.getmembers() if member.isreg()}

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self._members if name.startswith(prefix))

    def read(self, name: str) -> bytes | None:
        file = self._archive.extractfile(self._members[name]) if name in self._members else None
        return file.read() if file is not None else None

    def text(self, name: str) -> str:
        return (self.read(name) or b"").decode(errors="replace")


def verify_export(archive: tarfile.TarFile, log: str, notes: Notebook) -> Report:
    """Check the ledger in `archive`."""
    files = _Files(archive)
    words = [line.partition(" ") for line in files.text("keys").splitlines()]
    key = signed.log_key(next((vkey for kind, _, vkey in words if kind == "log"), None), log, notes)
    head = files.text("checkpoint")
    own = signed.own_heads([(_size_line(head), head)], key, notes)
    witnesses = [vkey for kind, _, vkey in words if kind == "witness"]
    cosigned = signed.cosigned_heads(_witnessed(files, witnesses), key, notes)
    size = own[0].head.size if own else 0
    newest = own[0].head if own else None
    built = rebuild(_rows(files, size), size, newest, [item.head.size for item in cosigned], notes)
    expected = {_name(size, "entries", n) for n in range((size + 255) >> 8)}
    expected |= {_name(size, level, n) for level, n in _tiles(size)}
    for name in files.names("tile/"):
        if name not in expected:
            notes.add(name, "belongs to no entry that the head covers")
    signed.compare(own, built, notes)
    return notes.report(entries=size, witnessed=bool(signed.compare(cosigned, built, notes)))


def _rows(files: _Files, size: int) -> Rows:
    def entries(n: int) -> list[tuple[int, Any]]:
        try:
            return list(
                enumerate(tree.unpack_entries(files.read(_name(size, "entries", n)) or b""), n * tree.TILE_WIDTH)
            )
        except ValueError:
            return []  # cut off: each entry of the bundle is then named as missing

    return Rows(
        entries=entries,
        tile=lambda level, n: files.read(_name(size, level, n)),
        tiles=lambda: [(level, n) for level, n in _tiles(size) if files.read(_name(size, level, n)) is not None],
    )


def _tiles(size: int) -> list[tuple[int, int]]:
    return [(level, n) for level, full, width in tree.tile_widths(size) for n in range(full + (1 if width else 0))]


def _name(size: int, level: int | str, n: int) -> str:
    count = size >> (8 * level) if isinstance(level, int) else size
    return tree.tile_path(level, n, min(tree.TILE_WIDTH, count - n * tree.TILE_WIDTH))


def _witnessed(files: _Files, witnesses: list[str]) -> Iterator[tuple[Any, ...]]:
    """Rows (name, vkey, size, note), as a home keeps them, of the cosigned heads."""
    for file in files.names("witnessed/"):
        note = files.text(file)
        vkey = next((key for key in witnesses if f"\n\u2014 {key.partition('+')[0]} " in note), "")
        yield vkey.partition("+")[0] or file, vkey, _size_line(note), note


def _size_line(note: str) -> int:
    line = note.split("\n")[1] if note.count("\n") > 2 else ""
    return int(line) if line.isdecimal() and line.isascii() and len(line) < 20 else 0

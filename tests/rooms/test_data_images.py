"""Recipe `images`: real pictures by Pillow in all formats; what they tell is taken out, others open what is kept."""

from __future__ import annotations

import io
import json
import zlib

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from data_papers import Paper, context_of, source_of
from PIL import Image

from baray.core import Refused
from baray.data.tables.bare import is_bare
from baray.data.tables.images import build

FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}


def drawn(seed: int, *, side: int = 96) -> Image.Image:
    blocks = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((side, side), Image.Resampling.BICUBIC)


def saved(image: Image.Image, name: str = "PNG", **how: object) -> bytes:
    target = io.BytesIO()
    image.save(target, format=name, **how)
    return target.getvalue()


def make(tmp_path, papers, **options):
    context, log = context_of(
        tmp_path, {"name": "pictures", "options": options}, {"source": source_of(tmp_path, papers)}
    )
    (output,) = build(context)
    folder = context.out / "pictures"
    rows = pl.read_parquet(folder / "data").sort("path").to_dicts()
    dropped = pl.read_parquet(folder / "dropped").sort("path").to_dicts()
    return output, rows, dropped, json.loads((folder / "report.json").read_text()), folder, log


def test_all_formats_are_read(tmp_path):
    papers = {f"shapes/one.{end}": saved(drawn(number), name) for number, (name, end) in enumerate(FORMATS.items())}
    _, rows, _, report, folder, _ = make(tmp_path, papers)
    assert (report["in"], report["kept"]) == (6, 6)
    assert {row["path"].rpartition(".")[2]: row["format"] for row in rows} == {
        "jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "PNG", "bmp": "PNG", "tif": "PNG"
    }  # fmt: skip
    for row in rows:
        with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
            assert (image.width, image.height) == (row["width"], row["height"]) == (96, 96)
    assert rows[0]["text"] == "one"
    assert {row["class"] for row in rows} == {"shapes"}
    told = json.loads(pq.read_schema(folder / "data/part-00000.parquet").metadata[b"huggingface"])
    assert told["info"]["features"]["image"] == {"_type": "Image"}
    png = next(row for row in rows if row["path"].endswith("png"))
    assert png["image"]["bytes"] == papers["shapes/one.png"], "nothing to take out: the same bytes"


def test_what_a_picture_tells_is_taken_out(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x010F] = "A maker"
    exif[0x8825] = {1: "N", 2: (11.0, 33.0, 0.0)}
    image = drawn(1).resize((120, 60))
    _, (row,), _, report, _, _ = make(
        tmp_path, {"a.jpg": saved(image, "JPEG", exif=exif.tobytes(), comment=b"Somebody's name")}
    )
    assert (row["width"], row["height"]) == (60, 120), "turned upright"
    assert report["rewritten"] == 1
    kept = row["image"]["bytes"]
    assert b"A maker" not in kept
    assert b"Somebody" not in kept
    with Image.open(io.BytesIO(kept)) as opened:
        assert not opened.getexif()


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def telling() -> dict[str, bytes]:
    jpeg, png, webp = (saved(drawn(9), name) for name in ("JPEG", "PNG", "WEBP"))
    found = {f"behind.{end}": data + b"TELLING" for end, data in (("jpg", jpeg), ("png", png), ("webp", webp))}
    segments = {
        "app5": (0xE5, b"TELLING"), "more-xmp": (0xE1, b"http://ns.adobe.com/xmp/extension/\0TELLING"),
        "small": (0xE0, b"JFXX\0\x10TELLING"), "flashpix": (0xE2, b"FPXR\0TELLING"), "comment": (0xFE, b"TELLING"),
    }  # fmt: skip
    found |= {f"{name}.jpg": jpeg[:2] + _segment(*one) + jpeg[2:] for name, one in segments.items()}
    chunks = {"author": (b"tEXt", b"Author\0TELLING"), "own": (b"teSt", b"TELLING"), "exif": (b"eXIf", b"MM\0*TELLING")}
    found |= {f"{name}.png": png[:33] + _chunk(*one) + png[33:] for name, one in chunks.items()}
    return found | {"late.png": png[:-12] + _chunk(b"tEXt", b"Location\0TELLING") + png[-12:]}


@pytest.mark.parametrize("name", telling())
def test_no_part_of_a_file_tells(tmp_path, name):
    _, (row,), _, report, _, _ = make(tmp_path, {name: telling()[name]})
    assert b"TELLING" not in row["image"]["bytes"]
    assert report["rewritten"] == 1


@pytest.mark.parametrize("how", [{"format": "JPEG", "progressive": True}, {"format": "WEBP", "lossless": True}])
def test_a_bare_file_keeps_its_bytes(how):
    target = io.BytesIO()
    drawn(2, side=256).save(target, **how)
    assert is_bare(target.getvalue(), how["format"])
    assert not is_bare(target.getvalue()[:-1], how["format"])


def test_moving_pictures_are_their_first_frame(tmp_path):
    moving = {f"a.{end}": saved(drawn(1), name, save_all=True, append_images=[drawn(2)])
              for name, end in (("PNG", "png"), ("WEBP", "webp"))}  # fmt: skip
    for row in make(tmp_path, moving)[1]:
        with Image.open(io.BytesIO(row["image"]["bytes"])) as opened:
            assert getattr(opened, "n_frames", 1) == 1


def test_what_is_transparent_stays_so(tmp_path):
    few = drawn(1).quantize(8)
    _, rows, _, _, _, _ = make(tmp_path, {"a.gif": saved(few, "GIF", transparency=3)})
    with Image.open(io.BytesIO(rows[0]["image"]["bytes"])) as opened:
        assert opened.info["transparency"] == 3


def test_a_picture_for_print_is_kept(tmp_path):
    _, (row,), _, _, _, _ = make(tmp_path, {"a.tif": saved(drawn(1).convert("CMYK"), "TIFF")})
    with Image.open(io.BytesIO(row["image"]["bytes"])) as opened:
        assert (opened.format, opened.mode) == ("PNG", "RGB")


def test_duplicates_and_sizes(tmp_path):
    image = drawn(3)
    papers = {
        "a.png": saved(image), "b.png": saved(image), "near.jpg": saved(image, "JPEG", quality=60),
        "other.png": saved(drawn(4)), "tiny.png": saved(drawn(5, side=8)),
    }  # fmt: skip
    assert make(tmp_path / "one", papers)[3]["dropped"] == {"exact_duplicate": 1, "too_small": 1}
    assert make(tmp_path / "two", papers, near_duplicates=4)[3]["dropped"] == {
        "exact_duplicate": 1, "near_duplicate": 1, "too_small": 1
    }  # fmt: skip
    smaller = make(tmp_path / "three", papers, longest_side=48)[1]
    assert {(row["width"], row["height"]) for row in smaller} == {(48, 48)}


def test_another_label_never_stands_in(tmp_path):
    data = saved(drawn(6))
    output, rows, _, _, _, _ = make(
        tmp_path, {"a.png": Paper(data=data, label="restricted"), "b.png": Paper(data=data)}
    )
    assert sorted(row["label"] for row in rows) == ["public", "restricted"]
    assert output.labels == ("public", "restricted")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b"GIF89a", "unsupported_type"),
        (b"no picture at all", "unsupported_type"),
        (saved(drawn(1))[:400], "broken_file"),
        (saved(drawn(2), "JPEG")[:300], "broken_file"),
        (saved(Image.new("1", (9000, 9000))), "too_large"),
    ],
)
def test_a_bad_picture_costs_itself(tmp_path, data, reason):
    _, rows, dropped, report, _, _ = make(tmp_path, {"good.png": saved(drawn(8)), "bad.png": data})
    assert [row["path"] for row in rows] == ["good.png"]
    assert (report["in"], report["kept"]) == (2, 1)
    assert list(report["refused"]) == [reason]
    assert dropped[0]["fate"] == "refused"


def test_only_bad_ones_make_no_dataset(tmp_path):
    with pytest.raises(Refused) as refused:
        make(tmp_path, {"bad.png": b"nothing"})
    assert refused.value.code == "nothing_kept"


def test_the_identity_is_known(tmp_path):
    """A digest that is written down, of bytes that no library wrote."""
    bitmap = b"BM" + (54 + 64 * 3 * 64).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    bitmap += (
        (40).to_bytes(4, "little")
        + (64).to_bytes(4, "little") * 2
        + (1).to_bytes(2, "little")
        + (24).to_bytes(2, "little")
    )
    bitmap += bytes(24) + bytes(range(192)) * 64
    one, *_ = make(tmp_path / "one", {"a.bmp": bitmap})
    two, *_ = make(tmp_path / "two", {"a.bmp": bitmap, "README.txt": b"A note."})
    assert one.digest == two.digest == "sha256:ef2115578812de354a2e4519d47d6241e554bc5b3267040b4bc66b2d81fc1312"

"""One picture: opened within limits, turned upright, made smaller, freed of what it says about place and camera."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from baray.data.readers.base import SourceFile, refuse
from baray.data.tables.bare import is_bare

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Read; the last three are kept as PNG."""
_KEPT_AS_THEY_ARE = frozenset(["JPEG", "PNG", "WEBP"])
_QUALITY = 92
_HASH_SIDE = 8
_NO_PNG = frozenset(["CMYK", "YCbCr"])
"""Modes of TIFF that PNG does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture as it is kept."""

    data: bytes
    format: str
    """JPEG, PNG or WEBP."""
    width: int
    height: int
    rewritten: bool
    """Its bytes are not those of the file: it was turned, made smaller, or said too much."""
    dhash: int
    """64 bits: whether each of 8 x 8 grey squares is brighter than the next one."""


def open_picture(file: SourceFile, *, most_pixels: int, longest_side: int, most_bytes: int) -> Picture:
    """The first frame of `file`. Raises Refused `unsupported_type`, `too_large`, `broken_file`, `empty_file`."""
    data = file.read(most_bytes)
    if not data:
        raise refuse("empty_file", "")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a picture that is large, and judged below
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > most_pixels:
                    told = f"The picture has {image.width} x {image.height} pixels."
                    raise refuse("too_large", told, "Raise option max_megapixels.")
                return _kept(image, data, longest_side)
    except UnidentifiedImageError as error:
        fix = f"Give pictures: {', '.join(FORMATS)}."
        raise refuse("unsupported_type", "It is no picture that can be read.", fix) from error
    except Image.DecompressionBombError as error:
        raise refuse("too_large", f"The picture is too large: {error}.", "Make it smaller.") from error
    except (OSError, ValueError, SyntaxError, EOFError, OverflowError, TypeError) as error:
        raise refuse("broken_file", f"The picture cannot be read: {error}.") from error


def _kept(image: Image.Image, data: bytes, longest_side: int) -> Picture:
    image.load()
    known = str(image.format)
    upright = ImageOps.exif_transpose(image)
    if longest_side and max(upright.size) > longest_side:
        upright.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    as_it_is = upright.size == image.size and known in _KEPT_AS_THEY_ARE and is_bare(data, known)
    name = known if known in _KEPT_AS_THEY_ARE else "PNG"
    return Picture(
        data=data if as_it_is else _written(upright, name),
        format=name,
        width=upright.width,
        height=upright.height,
        rewritten=not as_it_is,
        dhash=dhash(upright),
    )


def _written(image: Image.Image, name: str) -> bytes:
    """Pixels, colour profile and which of them are transparent alone."""
    kept = {part: image.info[part] for part in ("icc_profile", "transparency") if image.info.get(part) is not None}
    if (name == "JPEG" and image.mode not in ("L", "RGB", "CMYK")) or (name == "PNG" and image.mode in _NO_PNG):
        bare, kept = image.convert("RGB"), {}  # a profile is of the mode that the picture was in
    else:
        bare = image.copy()
    bare.info = {}
    target = io.BytesIO()
    bare.save(target, format=name, quality=_QUALITY, **kept)
    return target.getvalue()


def dhash(image: Image.Image) -> int:
    """Difference hash of a picture: alike ones differ in few bits (N. Krawetz, "Kind of Like That", 2013)."""
    grey = np.asarray(image.convert("L").resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.LANCZOS), dtype=np.int16)
    brighter = grey[:, 1:] > grey[:, :-1]
    return int.from_bytes(np.packbits(brighter).tobytes(), "big")

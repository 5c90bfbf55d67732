"""QR codes as SVG of our own pages: no other host, no style, no script, so that the strictest policy shows them."""

from __future__ import annotations

import segno
from markupsafe import Markup

_QUIET = 4  # modules of white around the code: ISO/IEC 18004 asks for them
_MODULE_PIXELS = 5


def qr_svg(text: str, *, title: str) -> Markup:
    """A QR code of `text` (error correction M) as an SVG element; readers hear `title`."""
    rows = segno.make(text, error="m", micro=False, boost_error=False).matrix
    side = len(rows) + 2 * _QUIET
    pixels = side * _MODULE_PIXELS
    path = "".join(
        f"M{x + _QUIET} {y + _QUIET}h1v1h-1z" for y, row in enumerate(rows) for x, dark in enumerate(row) if dark
    )
    # White behind it, whatever the page's colours: many readers do not take a code that is light on dark.
    return Markup(
        '<svg class="qr" viewBox="0 0 {side} {side}" width="{pixels}" height="{pixels}" role="img" '
        'shape-rendering="crispEdges"><title>{title}</title>'
        '<rect width="{side}" height="{side}" fill="#fff"/><path d="{path}" fill="#000"/></svg>'
    ).format(side=side, pixels=pixels, title=title, path=path)

"""Compressed files and archives: what they may unpack to is bounded, and nothing is ever written under a name of theirs."""

from __future__ import annotations

from baray.data.readers.packed.allowance import Allowance
from baray.data.readers.packed.members import Member
from baray.data.readers.packed.streams import DAMAGE, PACKINGS, unpacked
from baray.data.readers.packed.tars import tar_members
from baray.data.readers.packed.warcs import warc_members
from baray.data.readers.packed.zips import open_zip, zip_members

__all__ = [
    "DAMAGE",
    "PACKINGS",
    "Allowance",
    "Member",
    "open_zip",
    "tar_members",
    "unpacked",
    "warc_members",
    "zip_members",
]

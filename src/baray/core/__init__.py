"""Words that all rooms share.

Owns: errors, ids, digests and canonical JSON, refs, labels' text form, clock, units.
Does not own: anything that only one or two rooms need. Standard library only.
"""

from baray.core.clock import Clock, SystemClock, TestClock, iso_date, iso_time
from baray.core.digest import canonical_json, digest_bytes, digest_file, digest_json, is_digest
from baray.core.errors import BarayError, Fault, NotFound, Refused, StateUnknown
from baray.core.ids import Ids, is_id, made_at
from baray.core.refs import REF_KINDS, Ref, check_name, parse_ref
from baray.core.units import format_bytes, format_seconds, parse_bytes, parse_seconds

__all__ = [
    "REF_KINDS",
    "BarayError",
    "Clock",
    "Fault",
    "Ids",
    "NotFound",
    "Ref",
    "Refused",
    "StateUnknown",
    "SystemClock",
    "TestClock",
    "canonical_json",
    "check_name",
    "digest_bytes",
    "digest_file",
    "digest_json",
    "format_bytes",
    "format_seconds",
    "is_digest",
    "is_id",
    "iso_date",
    "iso_time",
    "made_at",
    "parse_bytes",
    "parse_ref",
    "parse_seconds",
]

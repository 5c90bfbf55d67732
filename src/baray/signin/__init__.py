"""How people prove who they are: passwords and codes, passkeys, outside accounts, recovery codes.

Owns: credentials, the ceremonies of signing in and of proving again, their limits.
Does not own: actors, roles, tokens and sessions, which are `access`'s; cookies and pages, which are the web's.
"""

from baray.signin.account import (
    add_code,
    begin_code,
    credentials_of,
    describe,
    make_recovery_codes,
    may_change,
    remove_credential,
    set_password,
)
from baray.signin.codes import SealKey, seal_stored
from baray.signin.outside import Outside, OutsideSettings, read_outside
from baray.signin.passkeys import Assertion, add_passkey, begin_assertion, begin_passkey, check_assertion
from baray.signin.reception import Reception, open_reception
from baray.signin.ways import (
    Visitor,
    link_identity,
    lookup_of,
    prove,
    prove_outside,
    proved,
    sign_in_outside,
    sign_in_passkey,
    sign_in_password,
)

__all__ = [
    "Assertion",
    "Outside",
    "OutsideSettings",
    "Reception",
    "SealKey",
    "Visitor",
    "add_code",
    "add_passkey",
    "begin_assertion",
    "begin_code",
    "begin_passkey",
    "check_assertion",
    "credentials_of",
    "describe",
    "link_identity",
    "lookup_of",
    "make_recovery_codes",
    "may_change",
    "open_reception",
    "prove",
    "prove_outside",
    "proved",
    "read_outside",
    "remove_credential",
    "seal_stored",
    "set_password",
    "sign_in_outside",
    "sign_in_passkey",
    "sign_in_password",
]

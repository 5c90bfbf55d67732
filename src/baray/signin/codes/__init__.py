"""Codes of an authenticator app: how they are computed, and how the secret behind them is kept."""

from baray.signin.codes.sealing import SealKey, kept, opened, seal_stored
from baray.signin.codes.totp import accepted_step, code_at, key_text, key_uri

__all__ = ["SealKey", "accepted_step", "code_at", "kept", "key_text", "key_uri", "opened", "seal_stored"]

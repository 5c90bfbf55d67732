"""Passwords: how long, how common, and how they are hashed without letting a flood take the machine.

Argon2id with 46 MiB, one pass, one lane (OWASP's first choice): about 70 ms. At most `lanes` hashes run at once and a few
more wait; beyond that a sign-in is told to come back in a second, so that others' requests go on.

What is covered: guessing, online and from a stolen database. What is not: a password that its owner uses elsewhere too.
"""

from __future__ import annotations

import threading
import unicodedata
from importlib.resources import files

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from baray.core import Refused

MIN_CHARACTERS = 12
MAX_CHARACTERS = 512
_WAITING = 8
_WAIT_SECONDS = 2.0
_LEET = str.maketrans("@4310$57!", "aaeiosst" + "i")
_REST_CHARACTERS = 4  # what must be left of a password when common words are taken out


class Hasher:
    """Hashes and checks passwords, a few at a time."""

    def __init__(self, lanes: int) -> None:
        """At most `lanes` hashes at once, at least one."""
        self._argon = PasswordHasher(time_cost=1, memory_cost=46 * 1024, parallelism=1)
        self._running = threading.BoundedSemaphore(max(1, lanes))
        self._waiting = threading.BoundedSemaphore(max(1, lanes) + _WAITING)
        self._nobodys = ""

    def hash(self, password: str) -> str:
        """What is stored of a password. Raises Refused `busy`."""
        with self._turn():
            return self._argon.hash(_normal(password))

    def fits(self, stored: str | None, password: str) -> bool:
        """Whether `password` is the one of `stored`; None costs the same time and is never right. Raises `busy`."""
        with self._turn():
            if not self._nobodys:
                self._nobodys = self._argon.hash("nobody's password")
            try:
                self._argon.verify(stored or self._nobodys, _normal(password[:MAX_CHARACTERS]))
            except (VerificationError, InvalidHashError):
                return False
            return stored is not None

    def _turn(self) -> _Turn:
        return _Turn(self._waiting, self._running)


class _Turn:
    """Holds one lane; gives up when too many wait."""

    def __init__(self, waiting: threading.BoundedSemaphore, running: threading.BoundedSemaphore) -> None:
        self._waiting, self._running = waiting, running

    def __enter__(self) -> None:
        if not self._waiting.acquire(blocking=False):
            raise _busy()
        if not self._running.acquire(timeout=_WAIT_SECONDS):
            self._waiting.release()
            raise _busy()

    def __exit__(self, *_: object) -> None:
        self._running.release()
        self._waiting.release()


def check_password(password: str, name: str) -> None:
    """Refuse what is too short, too common, or the name of its owner. Raises Refused `weak_password`."""
    text = _normal(password)
    if not MIN_CHARACTERS <= len(text) <= MAX_CHARACTERS:
        raise _weak(f"A password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters; this one has {len(text)}.")
    if is_common(text) or len(set(text)) < 5:
        raise _weak("This password is among the first that are tried.")
    if name and name.casefold() in text.casefold():
        raise _weak("The password has your name in it.")


def is_common(password: str) -> bool:
    """Whether little is left of a password without its digits, signs and common words."""
    text = _normal(password).casefold()
    # Both readings: `1` may be a digit at the end or stand for an `i`.
    return any(_rest(reading) < _REST_CHARACTERS for reading in (text, text.translate(_LEET)))


def _rest(text: str) -> int:
    letters = "".join(char for char in text if unicodedata.category(char)[0] in "LM")
    for word in _WORDS:
        letters = letters.replace(word, "")
    return len(letters)


def _read_words() -> tuple[str, ...]:
    text = files("baray.signin").joinpath("common.txt").read_text(encoding="utf-8")
    return tuple(sorted(text.split(), key=lambda word: (-len(word), word)))


_WORDS = _read_words()


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)


def _weak(message: str) -> Refused:
    return Refused("weak_password", message, fix="Take four or five words that have nothing to do with each other.")


def _busy() -> Refused:
    error = Refused("busy", "Many people are signing in at this moment.", fix="Try again in a second.", status=429)
    error.headers["Retry-After"] = "1"
    return error

"""What all tests share: parts that may be missing on a machine, and no network beyond it."""

from __future__ import annotations

import ipaddress
import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def need() -> Callable[[str], str]:
    """`need("bwrap")` gives a program's path; where it is missing the test is skipped, and fails under CI=true."""

    def path_of(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            lack(program)
        return str(path)

    return path_of


@pytest.fixture(scope="session")
def missing() -> Callable[[str], None]:
    """`missing("user namespaces")` skips the test, or fails it under CI=true: for parts that are no program."""
    return lack


def lack(part: str) -> None:
    """Skip where a person runs the tests, fail where CI promises the part."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{part} is missing, and CI promises it")
    pytest.skip(f"{part} is missing")


def is_local(address: Any) -> bool:
    """Say whether a socket address stays on this machine (a path, or loopback)."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0]).split("%", 1)[0]
    if host in ("", "localhost") or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse any connection of the test process that leaves this machine (PEP 578)."""
    if event == "socket.connect" and not is_local(arguments[1]):
        raise PermissionError(f"a test tried to connect to {arguments[1]}")


sys.addaudithook(refuse_network)

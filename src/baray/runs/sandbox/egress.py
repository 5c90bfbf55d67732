"""The way out for one Attempt: a CONNECT proxy on the host's side, started by the supervisor as `python -I -S egress.py RULES`.

A helper in the sandbox (`HELPER`) makes a listener on 127.0.0.1:3128 of the sandbox's own network and hands it to this
process over a socket that only the two know; then the command takes the helper's place. So the command speaks HTTP to a
proxy (HTTP_PROXY and HTTPS_PROXY are set), and has no other way to anything. Standard library, one file.

Names are looked up here. What they stand for is checked, and the connection goes to the checked address: a name that
answers differently the second time gains nothing. One line of JSON for each attempt, and for each end with its bytes.
Covered: targets that are not allowed, addresses in place of names, names of private addresses, bytes and tries without end
(what can no more be told is no more answered).
Not covered: what a command tells a target that is allowed.
"""

from __future__ import annotations

import ctypes
import ipaddress
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from typing import Any

CONTROL, LOG = 3, 4
"""Descriptors: the socket to the helper, and the file of attempts."""
PORT = 3128
HELPER = """
import os, socket, sys
control = socket.socket(fileno=int(sys.argv[1]))
listener = socket.create_server(("127.0.0.1", 3128), backlog=64)
socket.send_fds(control, [b"l"], [listener.fileno()])
listener.close()
control.recv(1)
control.close()
os.execvp(sys.argv[2], sys.argv[2:])
"""
_HEAD_BYTES, _PIECE = 8192, 65536
_CONNECTIONS = 64
LOG_BYTES = 16 << 20
"""Of the lines of one Attempt: they lie in the home, where the command's own limit on its disk does not count them."""
_SECONDS = 10.0
_IDLE_SECONDS = 300.0
_PR_SET_PDEATHSIG = 1


class Proxy:
    """Serves one listener until it is killed."""

    def __init__(self, rules: dict[str, Any], log: int) -> None:
        """Serve by `rules`: `{allow: ["host:port"], bytes, loopback}`; `loopback` is for tests."""
        self._allow = frozenset(rules["allow"])
        self._loopback = bool(rules["loopback"])
        self._left = int(rules["bytes"])
        self._log, self._log_left = log, LOG_BYTES
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_CONNECTIONS)

    def serve(self, listener: socket.socket) -> None:
        """Answer every connection in a thread of its own."""
        while True:
            self._places.acquire()
            end, _ = listener.accept()
            threading.Thread(target=self._answer, args=(end,), daemon=True).start()

    def _answer(self, end: socket.socket) -> None:
        try:
            with end:
                end.settimeout(_SECONDS)
                self._connect(end)
        except OSError:
            return  # the command hung up
        finally:
            self._places.release()

    def _connect(self, end: socket.socket) -> None:
        with self._lock:
            if self._log_left <= 0:
                return
        target, problem = _target(_head(end))
        address = ""
        if not problem:
            problem, address = self.decide(target)
        if problem:
            self._tell(target, "denied", problem)
            text = f"Egress to {target or 'that'} is refused: {problem}.\n".encode()
            end.sendall(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Type: text/plain\r\n")
            end.sendall(f"Content-Length: {len(text)}\r\n\r\n".encode() + text)
            return
        self._tell(target, "allowed", "")
        try:
            other = socket.create_connection((address, int(target.rpartition(":")[2])), _SECONDS)
        except OSError as error:
            self._tell(target, "failed", str(error))
            end.sendall(b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            return
        with other:
            end.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            sent, received = self._pump(end, other)
        self._tell(target, "ended", "", sent=sent, received=received)

    def decide(self, target: str) -> tuple[str, str]:
        """(why not, or an empty text; the address to connect to)."""
        host = target.rpartition(":")[0]
        if _is_address(host):
            return "it is an address, not a name", ""
        if target not in self._allow:
            return "it is not in the Run's list (--allow-egress)", ""
        with self._lock:
            if self._left <= 0:
                return "the Run's bytes are used up", ""
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            return f"its name is not known: {error}", ""
        addresses = [str(one[4][0]) for one in found]
        closed = [address for address in addresses if not self._may_reach(address)]
        if closed or not addresses:
            return f"it stands for {', '.join(closed) or 'nothing'}, which is not on the public internet", ""
        return "", addresses[0]

    def _may_reach(self, address: str) -> bool:
        ip = ipaddress.ip_address(address.partition("%")[0])
        if ip.is_loopback and self._loopback:
            return True
        if isinstance(ip, ipaddress.IPv6Address):
            # Forms that carry an IPv4 address: what they reach is not what they look like.
            if ip.ipv4_mapped or ip.sixtofour or ip.teredo or ip in ipaddress.ip_network("64:ff9b::/32"):
                return False
        return ip.is_global and not ip.is_multicast

    def _pump(self, end: socket.socket, other: socket.socket) -> tuple[int, int]:
        """Copy both ways until both sides are done, or the Run's bytes are used up."""
        counts = {end: 0, other: 0}
        ways = {end: other, other: end}
        with selectors.DefaultSelector() as selector:
            for one in ways:
                selector.register(one, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(_IDLE_SECONDS)
                if not ready:
                    break
                for one in [way for way in ways if any(key.fileobj is way for key, _ in ready)]:
                    piece = self._take(one)
                    counts[one] += len(piece)
                    if piece:
                        ways[one].sendall(piece)
                        continue
                    selector.unregister(one)
                    ways[one].shutdown(socket.SHUT_WR)
        return counts[end], counts[other]

    def _take(self, one: socket.socket) -> bytes:
        try:
            piece = one.recv(_PIECE)
        except OSError:
            return b""
        with self._lock:
            piece = piece[: max(0, self._left)]
            self._left -= len(piece)
        return piece

    def _tell(self, target: str, decision: str, reason: str, **more: int) -> None:
        line = {"time": round(time.monotonic(), 3), "target": target, "decision": decision, "reason": reason} | more
        data = json.dumps(line).encode() + b"\n"
        with self._lock:
            before, self._log_left = self._log_left, self._log_left - len(data)
        os.write(self._log, data)
        if before > 0 >= self._log_left:
            self._tell("", "denied", "there were too many tries; no more are answered")


def _head(end: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _HEAD_BYTES:
        piece = end.recv(1024)
        if not piece:
            break
        data += piece
    return data.partition(b"\r\n")[0].decode("ascii", errors="replace")


def _target(line: str) -> tuple[str, str]:
    """(host:port, what is wrong) of a request's first line."""
    words = line.split(" ")
    if len(words) != 3 or words[0] != "CONNECT":
        return "", "only CONNECT is answered; use https"
    host, _, port = words[1].lower().rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        return words[1][:200], "it names no port"
    return f"{host.rstrip('.')}:{int(port)}"[:300], ""


def _is_address(host: str) -> bool:
    """Whether `host` is an IP address in any of the ways that resolvers take: dotted, hexadecimal, one number."""
    if ":" in host or host.startswith("["):
        return True
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


def main() -> None:
    """Drop to the uid of the rules, take the listener from the helper, serve."""
    rules = json.loads(sys.argv[1])
    if rules["uid"] is not None:
        os.setgroups([])
        os.setresgid(rules["uid"], rules["uid"], rules["uid"])
        os.setresuid(rules["uid"], rules["uid"], rules["uid"])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != rules["parent"]:
        return
    control = socket.socket(fileno=CONTROL)
    _, handles, _, _ = socket.recv_fds(control, 1, 1)
    if not handles:
        return  # the sandbox did not start
    listener = socket.socket(fileno=handles[0])
    control.send(b"k")
    control.close()
    Proxy(rules, LOG).serve(listener)


if __name__ == "__main__":
    main()

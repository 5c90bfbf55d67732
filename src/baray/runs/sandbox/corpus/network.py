"""The network: what listens on the host, what lies beyond, and families of sockets that no namespace holds.

Beyond the host nothing is sent: a datagram socket that is connected tells whether there is a way, and sends nothing.
"""

from __future__ import annotations

import errno
import socket
import struct
from pathlib import Path

from baray.runs.sandbox.corpus.tools import ARCHITECTURE, Facts, Probe, call, refused

_SECONDS = 0.3
_SOCKET = (41, 198)
_ALLOWED = frozenset({1, 2, 10})
# Families with a record of holes, or with a way past network namespaces; the probe `other_families` tries all the rest.
_FAMILIES = {
    "netlink": 16,
    "packet": 17,
    "alg": 38,
    "vsock": 40,
    "bluetooth": 31,
    "can": 29,
    "key": 15,
    "rds": 21,
    "tipc": 30,
    "kcm": 41,
    "qipcrtr": 42,
    "smc": 43,
    "xdp": 44,
    "mctp": 45,
}


def _family(name: str, family: int) -> Probe:
    def probe(_facts: Facts) -> str:
        return _opens(family)

    probe.__name__ = f"family_{name}"
    return probe


def _way_to(name: str, family: int, address: str, port: int) -> Probe:
    def probe(_facts: Facts) -> str:
        with socket.socket(family, socket.SOCK_DGRAM) as end:
            try:
                end.connect((address, port))
            except OSError:
                return ""
            return f"there is a way to {address}"

    probe.__name__ = name
    return probe


def tcp_to_control(facts: Facts) -> str:
    """Reach a port of the host on its loopback."""
    return _stream(socket.AF_INET, ("127.0.0.1", int(facts["port"])))


def tcp_to_control_by_ipv6(facts: Facts) -> str:
    """The same by IPv6."""
    return _stream(socket.AF_INET6, ("::1", int(facts["port"])))


def tcp_to_control_by_mapped_address(facts: Facts) -> str:
    """The same by an IPv4 address written as IPv6."""
    return _stream(socket.AF_INET6, ("::ffff:127.0.0.1", int(facts["port"])))


def tcp_to_any_address(facts: Facts) -> str:
    """The same by the address that stands for all."""
    everywhere = ".".join("0000")
    return _stream(socket.AF_INET, (everywhere, int(facts["port"])))


def tcp_to_host(facts: Facts) -> str:
    """Reach a port of the host by the host's own address."""
    return _stream(socket.AF_INET, (facts["address"], int(facts["port"])))


def udp_to_control(facts: Facts) -> str:
    """Get an answer by UDP from the host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(_SECONDS)
        try:
            end.connect(("127.0.0.1", int(facts["udp_port"])))
            end.send(b"probe")
            return end.recv(100).decode()
        except OSError:
            return ""


def fast_open(facts: Facts) -> str:
    """Send with the first packet (TCP Fast Open), past rules that watch connect."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as end:
        try:
            end.sendto(b"probe", 0x20000000, ("127.0.0.1", int(facts["port"])))
        except OSError:
            return ""
        return "sent"


def interfaces(_facts: Facts) -> str:
    """Have more network interfaces than the loopback."""
    names = [line.partition(":")[0].strip() for line in _text("/proc/net/dev").splitlines() if ":" in line]
    return " ".join(name for name in names if name != "lo")


def interface_settings(_facts: Facts) -> str:
    """Change a network interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        request = struct.pack("16sH14x", b"lo", 0x49)  # up, loopback, running: as it is
        return refused(*_ioctl(end.fileno(), 0x8914, request))


def raw_socket(_facts: Facts) -> str:
    """Open a raw socket."""
    return _kind(socket.SOCK_RAW, 1)


def echo_socket(_facts: Facts) -> str:
    """Open a socket for echo requests."""
    return _kind(socket.SOCK_DGRAM, 1)


def abstract_stream(facts: Facts) -> str:
    """Reach an abstract unix socket of the host."""
    return _unix(socket.SOCK_STREAM, "\0" + facts["abstract"])


def abstract_datagram(facts: Facts) -> str:
    """Reach an abstract unix datagram socket of the host."""
    return _unix(socket.SOCK_DGRAM, "\0" + facts["abstract"] + "-datagram")


def worker_socket(facts: Facts) -> str:
    """Reach the socket where control hands out work."""
    return _unix(socket.SOCK_STREAM, f"{facts['home']}/run/worker.sock")


def datagram_socket(facts: Facts) -> str:
    """Reach a datagram socket in a folder of the host."""
    return _unix(socket.SOCK_DGRAM, f"{facts['home']}/run/datagram.sock")


def sockets_of_the_system(_facts: Facts) -> str:
    """Find sockets of the system: containers, the bus, the log."""
    paths = ("run/docker.sock", "run/containerd", "run/dbus", "run/systemd", "run/nscd", "dev/log", "var/run")
    return next((path for path in paths if Path("/", path).exists()), "")


def listeners(facts: Facts) -> str:
    """See who listens on the host."""
    wanted = f":{int(facts['port']):04X} "
    return "/proc/net/tcp" if wanted in _text("/proc/net/tcp") else ""


def names_of_sockets(facts: Facts) -> str:
    """See the names of unix sockets of the host."""
    return "/proc/net/unix" if facts["abstract"] in _text("/proc/net/unix") else ""


def routes(_facts: Facts) -> str:
    """See the host's routes."""
    return " ".join(_text("/proc/net/route").splitlines()[1:])[:100]


def other_families(_facts: Facts) -> str:
    """Open a socket of any family that is not named above."""
    families = set(range(64)) - _ALLOWED - set(_FAMILIES.values())
    return " ".join(str(family) for family in sorted(families) if _opens(family))


def pair_of_another_family(_facts: Facts) -> str:
    """Open a pair of sockets of another family."""
    return refused(*call((53, 199)[ARCHITECTURE], _FAMILIES["tipc"], 1, 0, 0), errno.EAFNOSUPPORT)


def _opens(family: int) -> str:
    for kind in (socket.SOCK_STREAM, socket.SOCK_RAW, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        result, number = call(_SOCKET[ARCHITECTURE], family, kind, 0)
        # EPERM and the like come from the family itself: the kernel looked.
        if result >= 0 or number not in {
            errno.EAFNOSUPPORT,
            errno.ESOCKTNOSUPPORT,
            errno.EPROTONOSUPPORT,
            errno.EINVAL,
        }:
            return errno.errorcode.get(number, "a socket")
    return ""


def _kind(kind: int, protocol: int) -> str:
    try:
        socket.socket(socket.AF_INET, kind, protocol).close()
    except OSError:
        return ""
    return "a socket"


def _stream(family: int, address: tuple[str, int]) -> str:
    with socket.socket(family, socket.SOCK_STREAM) as end:
        end.settimeout(_SECONDS)
        try:
            end.connect(address)
        except OSError:
            return ""
        return f"connected to {address[0]}"


def _unix(kind: int, address: str) -> str:
    with socket.socket(socket.AF_UNIX, kind) as end:
        end.settimeout(_SECONDS)
        try:
            end.connect(address)
        except OSError:
            return ""
        return "connected"


def _ioctl(handle: int, request: int, data: bytes) -> tuple[int, int]:
    return call((16, 29)[ARCHITECTURE], handle, request, data)


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


PROBES: tuple[Probe, ...] = (
    tcp_to_control,
    tcp_to_control_by_ipv6,
    tcp_to_control_by_mapped_address,
    tcp_to_any_address,
    tcp_to_host,
    udp_to_control,
    fast_open,
    _way_to("way_to_metadata", socket.AF_INET, "169.254.169.254", 80),
    _way_to("way_to_names", socket.AF_INET, "192.0.2.53", 53),
    _way_to("way_to_the_internet", socket.AF_INET, "198.51.100.1", 443),
    _way_to("way_to_private_networks", socket.AF_INET, "10.0.0.1", 443),
    _way_to("way_to_all_at_once", socket.AF_INET, "224.0.0.251", 5353),
    interfaces,
    interface_settings,
    raw_socket,
    echo_socket,
    abstract_stream,
    abstract_datagram,
    worker_socket,
    datagram_socket,
    sockets_of_the_system,
    listeners,
    names_of_sockets,
    routes,
    *(_family(name, family) for name, family in _FAMILIES.items()),
    other_families,
    pair_of_another_family,
)

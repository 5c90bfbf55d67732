"""The seccomp filter, compiled by a small assembler of our own to classic BPF, one file of bytes for each architecture.

The bytes are shipped (`seccomp-ARCH.bpf`); a test compiles again and compares. To renew them after a change here:
`python -m baray.runs.sandbox.filter`.

Covered: tracing and reading other processes, mounts and namespaces, kernel interfaces with a long record of holes
(bpf, io_uring, keyctl, userfaultfd, perf), clocks, modules, set-uid files, terminal injection, and every socket family
but AF_UNIX, AF_INET and AF_INET6 (AF_VSOCK ignores network namespaces before Linux 7.0). Calls that carry their
arguments in memory, which a filter cannot read (clone3, fchmodat2, openat2), answer ENOSYS: programs fall back.
Not covered: a hole in a call that is allowed. This is a list of what is denied; it has to grow with the kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

# linux/seccomp.h, linux/audit.h, linux/bpf_common.h
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_LOAD, _AND, _JEQ, _JGE, _JSET, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000

_NEW_NAMESPACES = 0x7E020080  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME}
_SET_ID = 0o6000  # S_ISUID | S_ISGID
_CREATES = 0o100 | 0o20000000  # O_CREAT | __O_TMPFILE
_TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6

# name: (number on x86_64, number on aarch64); -1 where the architecture has no such call
_DENIED = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "listns": (470, 470),
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    # kernel interfaces
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    "modify_ldt": (154, -1),
    # the machine
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, -1),
    "query_module": (178, -1),
    "get_kernel_syms": (177, -1),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    # old and unused
    "nfsservctl": (180, 42),
    "_sysctl": (156, -1),
    "uselib": (134, -1),
    "ustat": (136, -1),
    "sysfs": (139, -1),
}
_UNREADABLE = {"clone3": (435, 435), "fchmodat2": (452, 452), "openat2": (437, 437)}

# name: (numbers, index of the argument that holds a file mode)
_MODES = {
    "chmod": ((90, -1), 1),
    "fchmod": ((91, 52), 1),
    "fchmodat": ((268, 53), 2),
    "creat": ((85, -1), 1),
    "mknod": ((133, -1), 1),
    "mknodat": ((259, 33), 2),
}
# name: (numbers, index of the flags, index of the mode that counts when the flags create a file)
_OPENS = {"open": ((2, -1), 1, 2), "openat": ((257, 56), 2, 3)}
# PER_LINUX, UNAME26 and PER_LINUX32 alone and together, and the question which one is in force: as containers allow.
_PERSONALITIES = (0, 0x20000, 0x8, 0x20008, 0xFFFFFFFF)
_PERSONALITY = (135, 92)
_CLONE, _IOCTL, _SOCKET, _SOCKETPAIR = (56, 220), (16, 29), (41, 198), (53, 199)

_Line = tuple[int, int, str, str]  # code, k, label if true, label if false ("" = next line)


class _Assembler:
    """Lines with labels; jumps only go forward, as BPF demands."""

    def __init__(self) -> None:
        self.lines: list[_Line] = []
        self.labels: dict[str, int] = {}

    def add(self, code: int, k: int, if_true: str = "", if_false: str = "") -> None:
        self.lines.append((code, k, if_true, if_false))

    def label(self, name: str) -> None:
        self.labels[name] = len(self.lines)

    def bytes(self) -> bytes:
        """One struct sock_filter for each line. Raises ValueError if a jump does not fit in a byte."""
        return b"".join(
            struct.pack("<HBBI", code, self._distance(at, if_true), self._distance(at, if_false), k)
            for at, (code, k, if_true, if_false) in enumerate(self.lines)
        )

    def _distance(self, at: int, label: str) -> int:
        distance = self.labels[label] - at - 1 if label else 0
        if not 0 <= distance <= 255:
            raise ValueError(f"line {at}: jump of {distance} to {label}")
        return distance


# Without namespaces of its own a command must reach nothing that the host shares without a file.
_REDUCED = {
    "connect": (42, 203),
    "bind": (49, 200),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "pidfd_open": (434, 434),
    # Landlock does not hold these, and the home's own files belong to the same uid; by descriptor they are allowed.
    "chmod": (90, -1),
    "fchmodat": (268, 53),
    "chown": (92, -1),
    "lchown": (94, -1),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "utime": (132, -1),
    "utimes": (235, -1),
    "futimesat": (261, -1),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
# name: (numbers, index of the argument that names a process: only 0, oneself, is allowed)
_OF_PROCESSES = {
    "prlimit64": ((302, 261), 0),
    "sched_setaffinity": ((203, 122), 0),
    "sched_getaffinity": ((204, 123), 0),
    "sched_setscheduler": ((144, 119), 0),
    "setpriority": ((141, 140), 1),
    "getpriority": ((140, 141), 1),
    "ioprio_set": ((251, 30), 1),
}
_STREAM_KINDS = (1, 5)  # SOCK_STREAM, SOCK_SEQPACKET: connected for good, where a datagram socket can be connected anew


def compile_filter(architecture: str, *, reduced: bool = False) -> bytes:
    """The filter's bytes for `x86_64` or `aarch64`; `reduced` for a command that has no namespaces of its own."""
    at = list(AUDIT).index(architecture)
    program = _Assembler()
    program.add(_LOAD, _ARCHITECTURE)
    program.add(_JEQ, AUDIT[architecture], "native", "kill")
    program.label("kill")
    program.add(_RETURN, _KILL)
    program.label("native")
    program.add(_LOAD, _NUMBER)
    if architecture == "x86_64":
        program.add(_JGE, _X32, "foreign")
    if reduced:
        for _, number in _numbers(_REDUCED.items(), at):
            program.add(_JEQ, number, "denied")
    for name, number in _numbers(_checked_calls(reduced=reduced), at):
        program.add(_JEQ, number, name)
    for _, number in _numbers(_DENIED.items(), at):
        program.add(_JEQ, number, "denied")
    for _, number in _numbers(_UNREADABLE.items(), at):
        program.add(_JEQ, number, "missing")
    _add_returns(program)
    _add_checks(program, at)
    if reduced:
        _add_reduced_checks(program)
    return program.bytes()


def _add_returns(program: _Assembler) -> None:
    program.label("allow")
    program.add(_RETURN, _ALLOW)
    program.label("denied")
    program.add(_RETURN, _ERRNO | _EPERM)
    program.label("missing")
    program.add(_RETURN, _ERRNO | _ENOSYS)
    program.label("foreign")
    program.add(_RETURN, _KILL)


def _add_checks(program: _Assembler, at: int) -> None:
    """Calls that are judged by an argument: each ends in returns of its own, for jumps only go forward."""
    program.label("clone")
    program.add(_LOAD, _argument(0))
    _deny_if(program, _JSET, [_NEW_NAMESPACES])
    program.label("ioctl")
    # The kernel takes 32 bits of the request: comparing 64 would let a high bit slip a request past.
    program.add(_LOAD, _argument(1))
    _deny_if(program, _JEQ, list(_TERMINAL_INJECTION))
    program.label("socket")
    program.add(_LOAD, _argument(0))
    _allow_if(program, _FAMILIES, _EAFNOSUPPORT)
    program.label("personality")
    program.add(_LOAD, _argument(0))
    _allow_if(program, _PERSONALITIES, _EPERM)
    for name, (numbers, flags, mode) in _OPENS.items():
        if numbers[at] >= 0:
            program.label(name)
            program.add(_LOAD, _argument(flags))
            program.add(_JSET, _CREATES, name + "-creates")
            program.add(_RETURN, _ALLOW)
            program.label(name + "-creates")
            program.add(_LOAD, _argument(mode))
            _deny_if(program, _JSET, [_SET_ID])
    for index in (1, 2):
        program.label(f"mode-{index}")
        program.add(_LOAD, _argument(index))
        _deny_if(program, _JSET, [_SET_ID])


def _add_reduced_checks(program: _Assembler) -> None:
    program.label("no-family")
    program.add(_RETURN, _ERRNO | _EAFNOSUPPORT)
    program.label("pair")
    program.add(_LOAD, _argument(0))
    program.add(_JEQ, _FAMILIES[0], "unix-pair")
    program.add(_RETURN, _ERRNO | _EAFNOSUPPORT)
    program.label("unix-pair")
    program.add(_LOAD, _argument(1))
    program.add(_AND, 0xF)  # SOCK_CLOEXEC and SOCK_NONBLOCK stand above
    _allow_if(program, _STREAM_KINDS, _EAFNOSUPPORT)
    for index in (0, 1):
        program.label(f"oneself-{index}")
        program.add(_LOAD, _argument(index))
        _allow_if(program, (0,), _EPERM)


def _allow_if(program: _Assembler, values: tuple[int, ...], otherwise: int) -> None:
    label = f"allow-{len(program.lines)}"
    for value in values:
        program.add(_JEQ, value, label)
    program.add(_RETURN, _ERRNO | otherwise)
    program.label(label)
    program.add(_RETURN, _ALLOW)


def _deny_if(program: _Assembler, code: int, values: list[int]) -> None:
    label = f"deny-{len(program.lines)}"
    for value in values:
        program.add(code, value, label)
    program.add(_RETURN, _ALLOW)
    program.label(label)
    program.add(_RETURN, _ERRNO | _EPERM)


def _checked_calls(*, reduced: bool) -> list[tuple[str, tuple[int, int]]]:
    calls = [("clone", _CLONE), ("ioctl", _IOCTL), ("pair", _SOCKETPAIR) if reduced else ("socket", _SOCKETPAIR)]
    if reduced:
        calls += [("no-family", _SOCKET)]
        calls += [(f"oneself-{index}", numbers) for numbers, index in _OF_PROCESSES.values()]
    else:
        calls += [("socket", _SOCKET)]
    calls += [("personality", _PERSONALITY)]
    calls += [(name, numbers) for name, (numbers, _, _) in _OPENS.items()]
    return calls + [(f"mode-{index}", numbers) for numbers, index in _MODES.values()]


def _numbers(calls: Iterable[tuple[str, tuple[int, int]]], at: int) -> list[tuple[str, int]]:
    return [(name, numbers[at]) for name, numbers in calls if numbers[at] >= 0]


def _argument(index: int) -> int:
    """Offset of the low half of an argument in struct seccomp_data, on a little-endian machine."""
    return 16 + 8 * index


def filter_path(architecture: str, *, reduced: bool = False) -> Path:
    """Where the shipped bytes for `architecture` stand."""
    return Path(__file__).with_name(f"seccomp-{architecture}{'-reduced' * reduced}.bpf")


if __name__ == "__main__":
    for _name in AUDIT:
        for _reduced in (False, True):
            filter_path(_name, reduced=_reduced).write_bytes(compile_filter(_name, reduced=_reduced))

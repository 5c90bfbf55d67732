"""Calls that tenants have no use for: reached if the kernel looks at the arguments at all."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct

from baray.runs.sandbox.corpus.tools import ARCHITECTURE, Facts, Probe, call, libc, refused

# name: (number on x86_64, number on aarch64, arguments where six times -1 would be answered with EPERM by any kernel)
_NO_ARGUMENTS: tuple[int, ...] = ()
_WRONG = (-1,) * 6
CALLS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "ptrace": (101, 117, _WRONG),
    "process_vm_readv": (310, 270, _WRONG),
    "process_vm_writev": (311, 271, _WRONG),
    "process_madvise": (440, 440, _WRONG),
    "kcmp": (312, 272, _WRONG),
    "pidfd_getfd": (438, 438, _WRONG),
    "migrate_pages": (256, 238, _WRONG),
    "move_pages": (279, 239, _WRONG),
    "mount": (165, 40, _WRONG),
    "umount2": (166, 39, _WRONG),
    "pivot_root": (155, 41, _WRONG),
    "move_mount": (429, 429, _WRONG),
    "open_tree": (428, 428, _WRONG),
    "open_tree_attr": (467, 467, _WRONG),
    "fsopen": (430, 430, _WRONG),
    "fsconfig": (431, 431, _WRONG),
    "fsmount": (432, 432, _WRONG),
    "fspick": (433, 433, _WRONG),
    "mount_setattr": (442, 442, _WRONG),
    "statmount": (457, 457, _WRONG),
    "listmount": (458, 458, _WRONG),
    "unshare": (272, 97, _WRONG),
    "unshare_user": (272, 97, (0x10000000,)),
    "unshare_network": (272, 97, (0x40000000,)),
    "setns": (308, 268, _WRONG),
    "chroot": (161, 51, _WRONG),
    "keyctl": (250, 219, _WRONG),
    "add_key": (248, 217, _WRONG),
    "request_key": (249, 218, _WRONG),
    "bpf": (321, 280, _WRONG),
    "perf_event_open": (298, 241, _WRONG),
    "userfaultfd": (323, 282, _WRONG),
    "io_uring_setup": (425, 425, _WRONG),
    "io_uring_enter": (426, 426, _WRONG),
    "io_uring_register": (427, 427, _WRONG),
    "name_to_handle_at": (303, 264, _WRONG),
    "open_by_handle_at": (304, 265, _WRONG),
    "fanotify_init": (300, 262, (0x200, 0)),  # FAN_REPORT_FID: allowed to everybody since Linux 5.13
    "lookup_dcookie": (212, 18, _WRONG),
    "modify_ldt": (154, -1, _WRONG),
    "kexec_load": (246, 104, _WRONG),
    "kexec_file_load": (320, 294, _WRONG),
    "init_module": (175, 105, _WRONG),
    "finit_module": (313, 273, _WRONG),
    "delete_module": (176, 106, _WRONG),
    "swapon": (167, 224, _WRONG),
    "swapoff": (168, 225, _WRONG),
    "reboot": (169, 142, _WRONG),
    "acct": (163, 89, _WRONG),
    "quotactl": (179, 60, _WRONG),
    "quotactl_fd": (443, 443, _WRONG),
    "iopl": (172, -1, _WRONG),
    "ioperm": (173, -1, _WRONG),
    "syslog": (103, 116, _WRONG),
    "vhangup": (153, 58, _NO_ARGUMENTS),
    "sethostname": (170, 161, _WRONG),
    "setdomainname": (171, 162, _WRONG),
    "settimeofday": (164, 170, _WRONG),
    "clock_settime": (227, 112, _WRONG),
    "clock_adjtime": (305, 266, _WRONG),
    "adjtimex": (159, 171, _WRONG),
    "uselib": (134, -1, _WRONG),
    "ustat": (136, -1, _WRONG),
    "sysfs": (139, -1, _WRONG),
    "personality": (135, 92, (0x0400000,)),  # READ_IMPLIES_EXEC
}
_HIDDEN = {"clone3": (435, 435), "fchmodat2": (452, 452), "openat2": (437, 437)}
_CLONE, _IOCTL, _SECCOMP, _PRCTL = (56, 220), (16, 29), (317, 277), (157, 167)
_NEW_USER, _CHILD_ENDS = 0x10000000, 17


def clone_user(_facts: Facts) -> str:
    """Make a user namespace by clone."""
    result, number = call(_CLONE[ARCHITECTURE], _NEW_USER | _CHILD_ENDS, 0, 0, 0, 0)
    if result == 0:
        os._exit(0)  # this is the new child
    return refused(result, number)


def x32_call(_facts: Facts) -> str:
    """Number a call the x32 way, past a filter that compares numbers."""
    if platform.machine() != "x86_64":
        return ""
    return f"the kernel answered {call(0x40000000 | 39)}"


def call_of_32_bits(_facts: Facts) -> str:
    """Call as a 32-bit program does, by `int 0x80`: other numbers mean other calls there."""
    if platform.machine() != "x86_64":
        return ""
    code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, getpid; int 0x80; ret
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return f"the kernel answered {ctypes.CFUNCTYPE(ctypes.c_int)(address)()}"


def loosen_filter(_facts: Facts) -> str:
    """Put a filter that allows all over the one in force, and try again what was denied."""
    allow = ctypes.create_string_buffer(struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", 1, ctypes.addressof(allow)))
    call(_SECCOMP[ARCHITECTURE], 1, 0, ctypes.addressof(program))
    return refused(*call(CALLS["keyctl"][:2][ARCHITECTURE], *_WRONG))


def drop_promise(_facts: Facts) -> str:
    """Take back the promise to gain no privileges by exec."""
    call(_PRCTL[ARCHITECTURE], 38, 0, 0, 0, 0)
    return "" if libc.prctl(39, 0, 0, 0, 0) == 1 else "PR_SET_NO_NEW_PRIVS is off"


def keep_capabilities(_facts: Facts) -> str:
    """Change the rules by which root gains capabilities (securebits)."""
    return refused(*call(_PRCTL[ARCHITECTURE], 28, 0x2F, 0, 0, 0))


def move_memory_map(_facts: Facts) -> str:
    """Claim another program's memory map (PR_SET_MM)."""
    return refused(*call(_PRCTL[ARCHITECTURE], 35, 1, 4096, 0, 0))


def terminal_input(_facts: Facts) -> str:
    """Type into the terminal of whoever started this (TIOCSTI)."""
    return refused(*call(_IOCTL[ARCHITECTURE], 0, 0x5412, b"x"))


def terminal_input_high_bits(_facts: Facts) -> str:
    """The same with bits that the kernel drops and a careless filter compares."""
    return refused(*call(_IOCTL[ARCHITECTURE], 0, 0x7F0000005412, b"x"))


def console_paste(_facts: Facts) -> str:
    """Paste on a virtual console (TIOCLINUX)."""
    return refused(*call(_IOCTL[ARCHITECTURE], 0, 0x541C, b"\3"))


def _looked_at(name: str, expected: int, number: int, arguments: tuple[int, ...]) -> Probe:
    def probe(_facts: Facts) -> str:
        return "" if number < 0 else refused(*call(number, *arguments), expected)

    probe.__name__ = f"call_{name}"
    return probe


PROBES: tuple[Probe, ...] = (
    *(_looked_at(name, errno.EPERM, row[:2][ARCHITECTURE], row[2]) for name, row in CALLS.items()),
    *(_looked_at(name, errno.ENOSYS, row[ARCHITECTURE], _WRONG) for name, row in _HIDDEN.items()),
    clone_user,
    x32_call,
    call_of_32_bits,
    loosen_filter,
    drop_promise,
    keep_capabilities,
    move_memory_map,
    terminal_input,
    terminal_input_high_bits,
    console_paste,
)

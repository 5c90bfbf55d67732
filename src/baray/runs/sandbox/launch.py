"""From a forked child to a tenant's command: limits, mounts, descriptors, uid, exec. The supervisor's other half.

Standard library, one file: `python -I -S supervisor.py` finds it beside itself, or in this folder of a checkout.
"""

# ruff: noqa: PTH101, PTH102, PTH108, PTH123
from __future__ import annotations

import _socket
import ctypes
import fcntl
import json
import os
import signal
import stat
import struct

TYPE_CHECKING = False  # importing typing would cost every Attempt 5 ms
if TYPE_CHECKING:
    from typing import Any

    Plan = dict[str, Any]

STAGE = "/run"
"""As root: a folder in a mount namespace of the launcher's own."""
HELPER_DESCRIPTOR = 200
"""Where a command with egress finds the socket to its proxy."""
HATCH = "api.sock"
"""In ATTEMPT_DIR: the socket by which a command reaches its own Run."""
DISK = "/run/disk"
"""Where the Attempt's own file system is mounted there."""
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOATIME = 1, 2, 4, 1024
_SYS_OPENAT2 = 437  # the same number on every architecture
_RESOLVE = 0x02 | 0x04 | 0x08  # NO_MAGICLINKS | NO_SYMLINKS | BENEATH
_LOOP_GET_FREE, _LOOP_CONFIGURE = 0x4C82, 0x4C0A
_LOOP_CONFIG = "=II52xI176x64x"  # struct loop_config: fd, block_size, info.lo_flags
_LOOP_READ_ONLY, _LOOP_AUTOCLEAR = 1, 4
_PR_SET_SECCOMP = 22
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same numbers on every architecture
# linux/landlock.h, ABI 6: every right over files (device ioctl the last), TCP bind and connect, abstract sockets and signals
_ALL_FILES, _ALL_NETWORK, _ALL_SCOPES = 0xFFFF, 3, 3
_READ_FILES = 0x0D  # execute, read a file, list a folder
_WRITE_FILES = 0x75BF  # all but devices, sockets, and device ioctl
_PLAIN_FILE = 0xC007  # of these, what goes with one file: execute, write, read, truncate, device ioctl
LEAST_LANDLOCK = 6
_libc = ctypes.CDLL(None, use_errno=True)


def open_beneath(directory: int, path: bytes, flags: int) -> int:
    """Open `path` below an open `directory`, following no symbolic link and never leaving it. Raises OSError."""
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, 0, _RESOLVE)  # struct open_how: flags, mode, resolve
    handle = _libc.syscall(ctypes.c_long(_SYS_OPENAT2), ctypes.c_int(directory), path, how, ctypes.c_size_t(24))
    if handle < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(path))
    return int(handle)


def start_proxy(plan: Plan, directory: str) -> int:
    """Start the proxy of a command with egress; the end of the socket that the command's helper gets. -1 without one."""
    egress = plan["sandbox"]["egress"] if plan["sandbox"] else None
    if not egress:
        return -1
    ours, theirs = _socket.socketpair()  # the module `socket` would cost every Attempt 4 ms
    log = os.open(f"{directory}/egress.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)]
    # First out of the way of 3 and 4: one of them may be what the other is to become.
    ends = [fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, 20) for handle in (theirs.fileno(), log)]
    actions += [(os.POSIX_SPAWN_DUP2, handle, number) for handle, number in zip(ends, (3, 4), strict=True)]
    rules = json.dumps(egress["rules"] | {"parent": os.getpid()})
    os.posix_spawn(egress["program"][0], [*egress["program"], rules], {"LANG": "C.UTF-8"}, file_actions=actions)
    for handle in (*ends, log, null):
        os.close(handle)
    theirs.close()
    return ours.detach()


def open_hatch(plan: Plan, directory: str) -> int:
    """Make the socket of the Attempt's hatch; a listening descriptor, -1 where there is none."""
    if not plan["sandbox"] or not plan["sandbox"]["hatch"]:
        return -1
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    place = f"/proc/self/fd/{folder}/{HATCH}"  # a socket's path may have 107 bytes; a home's may be longer
    if os.path.lexists(place):
        os.unlink(place)
    listener.bind(place)
    os.chmod(place, 0o600)
    if plan["uid"] is not None and os.geteuid() == 0:
        os.chown(place, plan["uid"], plan["gid"])
    os.close(folder)
    listener.listen(16)
    return listener.detach()


def start_hatch(plan: Plan, listener: int, token: bytes) -> None:
    """Somebody knocked: start the process that serves the hatch. Its token goes through a pipe and stands nowhere."""
    hatch = plan["sandbox"]["hatch"]
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.write(writer, token)
    os.close(writer)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)]
    ends = [fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, 20) for handle in (reader, listener)]
    actions += [(os.POSIX_SPAWN_DUP2, handle, number) for handle, number in zip(ends, (3, 4), strict=True)]
    rules = json.dumps(hatch["rules"] | {"parent": os.getpid()})
    os.posix_spawn(hatch["program"][0], [*hatch["program"], rules], {"LANG": "C.UTF-8"}, file_actions=actions)
    for handle in (*ends, reader, null):
        os.close(handle)


def become_child(plan: Plan, parent: int, pipes: tuple[int, int, int], proxy: int) -> None:
    """In the forked child: limits, descriptors, uid, exec. Never returns."""
    output, status, trouble = pipes
    stage = "start"
    try:
        os.setsid()
        stage = "limits"
        for folder in plan["cgroups"]:
            with open(f"{folder}/cgroup.procs", "wb") as file:
                file.write(b"0")
        with open("/proc/self/oom_score_adj", "wb") as file:
            file.write(b"500")  # when the machine runs out of memory, a tenant's process goes before the platform's
        stage = "inputs"
        argv = plan["argv"] if plan["sandbox"] is None else _sandbox_argv(plan, status)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        stage = "uid"
        if proxy >= 0:
            os.dup2(proxy, HELPER_DESCRIPTOR)
        _drop(plan, parent)
        stage = "root"
        if (plan["sandbox"] is not None or plan["reduced"]) and 0 in (*os.getresuid(), *os.getresgid()):
            raise PermissionError("a sandbox is never launched from uid or gid 0")
        stage = "exec"
        os.chdir(plan["cwd"])
        if plan["sandbox"] is not None:
            os.umask(0o022)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if plan["reduced"]:
            restrict(plan)
        os.execve(argv[0], argv, plan["env"])  # noqa: S606 - no shell is wanted
    except (OSError, ValueError) as error:
        os.write(trouble, f"{stage}: {error}"[:4000].encode())
    finally:
        os._exit(126)


def landlock_abi() -> int:
    """Version of Landlock that this kernel has; 0 without."""
    return max(0, int(_libc.syscall(ctypes.c_long(_LANDLOCK_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint(1))))


def restrict(plan: Plan) -> None:
    """Reduced isolation, for good: files by Landlock, calls by the filter, limits by rlimits. No namespaces."""
    reduced = plan["reduced"]
    sets = struct.pack("=QQQ", _ALL_FILES, _ALL_NETWORK, _ALL_SCOPES)
    rules = _libc.syscall(ctypes.c_long(_LANDLOCK_CREATE), sets, ctypes.c_size_t(len(sets)), ctypes.c_uint(0))
    if rules < 0:
        raise OSError(ctypes.get_errno(), "no Landlock")
    for path, write in reduced["paths"]:
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # not every machine has every one
        allowed = _WRITE_FILES if write else _READ_FILES
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            allowed &= _PLAIN_FILE
        rule = struct.pack("=Qi", allowed, handle)
        if _libc.syscall(ctypes.c_long(_LANDLOCK_ADD), rules, 1, rule, ctypes.c_uint(0)) != 0:
            raise OSError(ctypes.get_errno(), "no Landlock rule", path)
        os.close(handle)
    for kind, value in reduced["limits"].items():
        if _libc.setrlimit(int(kind), struct.pack("@LL", value, value)) != 0:
            raise OSError(ctypes.get_errno(), "no limit", kind)
    if _libc.syscall(ctypes.c_long(_LANDLOCK_RESTRICT), rules, ctypes.c_uint(0)) != 0:
        raise OSError(ctypes.get_errno(), "no Landlock")
    os.close(rules)
    code = ctypes.create_string_buffer(bytes.fromhex(reduced["filter"]))
    program = struct.pack("@HxxxxxxQ", len(code.raw) // 8, ctypes.addressof(code))
    if _libc.prctl(_PR_SET_SECCOMP, 2, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no filter")


def _drop(plan: Plan, parent: int) -> None:
    if plan["uid"] is not None and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(plan["gid"], plan["gid"], plan["gid"])
        os.setresuid(plan["uid"], plan["uid"], plan["uid"])
    # After the uid: the kernel forgets the death signal when credentials change.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(126)
    if plan["sandbox"] is not None or plan["reduced"]:
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _sandbox_argv(plan: Plan, status: int) -> list[str]:
    """The argument list of bwrap; every bind by a descriptor that no link in a tenant's folder could have bent."""
    sandbox = plan["sandbox"]
    argv = [*sandbox["head"]]
    stage = private_stage() if os.geteuid() == 0 else ""
    if sandbox["image"]:
        _own_disk(plan)
    for number, bind in enumerate(sandbox["binds"]):
        root = os.open(bind["under"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        handle = open_beneath(root, os.fsencode(bind["path"]), os.O_PATH)
        os.close(root)
        if stage:
            handle = _show(handle, f"{stage}/{number}")
        fcntl.fcntl(handle, fcntl.F_SETFD, 0)  # inherited
        argv += ["--bind-fd" if bind["write"] else "--ro-bind-fd", str(handle), bind["to"]]
    argv += sandbox["middle"]
    if sandbox["seccomp"]:
        handle = os.open(sandbox["seccomp"], os.O_RDONLY | os.O_CLOEXEC)
        fcntl.fcntl(handle, fcntl.F_SETFD, 0)  # inherited
        argv += ["--seccomp", str(handle)]
    fcntl.fcntl(status, fcntl.F_SETFD, 0)
    return [*argv, "--json-status-fd", str(status), "--", *plan["argv"]]


def private_stage() -> str:
    """As root: a folder in a mount namespace of our own, so that a slot's uid reaches what lies in closed folders."""
    refused = _libc.unshare(_CLONE_NEWNS) or _libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    if refused or _libc.mount(b"stage", STAGE.encode(), b"tmpfs", 0, b"mode=0755"):
        raise OSError(ctypes.get_errno(), "no mount namespace of our own")
    return STAGE


def mount_image(image: str, place: str, *, write: bool) -> None:
    """Mount a file that holds an ext4 file system, in this process's mount namespace. Gone with the last who sees it."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    file = os.open(image, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC)
    loop_flags = _LOOP_AUTOCLEAR if write else _LOOP_AUTOCLEAR | _LOOP_READ_ONLY
    number, device = _attach(control, struct.pack(_LOOP_CONFIG, file, 0, loop_flags))
    os.mkdir(place)
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOATIME | (0 if write else _MS_RDONLY)
    if _libc.mount(f"/dev/loop{number}".encode(), place.encode(), b"ext4", flags, None) != 0:
        raise OSError(ctypes.get_errno(), "no mount", image)
    for handle in (control, file, device):
        os.close(handle)


def _attach(control: int, configuration: bytes) -> tuple[int, int]:
    """A free loop device that shows the file; another may take it between two calls, so try again."""
    for _ in range(100):
        number = fcntl.ioctl(control, _LOOP_GET_FREE)
        device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, _LOOP_CONFIGURE, configuration)
        except OSError:
            os.close(device)
            continue
        return number, device
    raise OSError(0, "no loop device is free")


def _own_disk(plan: Plan) -> None:
    """Mount the Attempt's own file system, with the folders that the command may write to."""
    mount_image(plan["sandbox"]["image"], DISK, write=True)
    for name in ("work", "out"):
        os.mkdir(f"{DISK}/{name}", 0o700)
        os.chown(f"{DISK}/{name}", plan["uid"], plan["gid"])


def _show(handle: int, place: str) -> int:
    """Bind what an open descriptor names at `place` and open it there; bwrap resolves paths as the slot's uid."""
    if stat.S_ISDIR(os.fstat(handle).st_mode):
        os.mkdir(place)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_CLOEXEC))
    if _libc.mount(f"/proc/self/fd/{handle}".encode(), place.encode(), None, _MS_BIND, None) != 0:
        raise OSError(ctypes.get_errno(), "no bind", place)
    os.close(handle)
    return os.open(place, os.O_PATH | os.O_CLOEXEC)

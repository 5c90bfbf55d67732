"""Files: what others own, what the system runs on, what the kernel shows."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from baray.runs.sandbox.corpus.tools import Facts, Probe, first_opened, holds, opened

_WRITE = os.O_WRONLY
_OWN_DEVICES = frozenset(
    "console core fd full null ptmx pts random shm stderr stdin stdout tty urandom zero "
    "nvidia0 nvidia1 nvidia2 nvidia3 nvidia4 nvidia5 nvidia6 nvidia7 nvidiactl nvidia-uvm nvidia-uvm-tools".split()
)
_ROOT = frozenset("bin dev env etc in job lib lib32 lib64 libx32 out proc run sbin tmp usr".split())
_OWN_SETTINGS = (
    "msg",
    "sem",
    "shm",
    "auto_msgmni",
    "ns_last_pid",
    "pid_max",
)  # of the namespaces for IPC and for processes


def _trap(name: str) -> Probe:
    def probe(facts: Facts) -> str:
        return holds(f"{facts['home']}/{name}", facts["secret"])

    probe.__name__ = "read_" + name.replace("/", "_").replace(".", "_")
    return probe


def _closed(name: str, *paths: str, flags: int = os.O_RDONLY) -> Probe:
    def probe(_facts: Facts) -> str:
        return first_opened(paths, flags)

    probe.__name__ = name
    return probe


def _created(folder: str) -> Probe:
    def probe(_facts: Facts) -> str:
        path = Path(folder, ".probe")
        try:
            path.touch()
            path.unlink()
        except OSError:
            return ""
        return folder

    probe.__name__ = "write_" + (folder.strip("/").replace("/", "_") or "root")
    return probe


def list_homes(_facts: Facts) -> str:
    """List folders where people and services keep things."""
    for folder in ("/root", "/home", "/var", "/srv", "/opt", "/mnt", "/media", "/boot"):
        if Path(folder).is_dir():
            return folder
    return ""


def list_root(_facts: Facts) -> str:
    """Find more at the root than the sandbox shows."""
    return " ".join(sorted({entry.name for entry in Path("/").iterdir()} - _ROOT))


def list_etc(_facts: Facts) -> str:
    """Find more of the system's settings than its libraries need."""
    known = {"ld.so.cache", "alternatives"}
    return " ".join(sorted({entry.name for entry in Path("/etc").iterdir()} - known)[:5])


def dots_out(facts: Facts) -> str:
    """Leave the job's folder by `..`."""
    return holds(facts["job"] + "/" + "../" * 12 + facts["home"].lstrip("/") + "/baray.db", facts["secret"])


def root_of_others(facts: Facts) -> str:
    """Go through the root of another process."""
    processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found = (holds(f"{one}/root{facts['home']}/baray.db", facts["secret"]) for one in processes)
    return next((path for path in found if path), "")


def folder_of_others(facts: Facts) -> str:
    """Go through the working folder of the host's process."""
    return holds(f"/proc/{facts['victim']}/cwd/home/baray.db", facts["secret"])


def symbolic_link_out(facts: Facts) -> str:
    """Read through a link in the job's folder."""
    link = _scratch(facts, "link")
    link.symlink_to(f"{facts['home']}/baray.db")
    found = holds(str(link), facts["secret"])
    link.unlink()
    return found


def hard_link_out(facts: Facts) -> str:
    """Link a file of the host into the job's folder."""
    link = _scratch(facts, "hard")
    try:
        link.hardlink_to(f"{facts['home']}/baray.db")
    except OSError:
        return ""
    found = holds(str(link), facts["secret"])
    link.unlink()
    return found


def temporary_files(facts: Facts) -> str:
    """See what others keep in the folder for temporary files."""
    return facts["home"] if Path(facts["home"]).parent.exists() else ""


def shared_memory_files(facts: Facts) -> str:
    """Read shared memory of the host by its name."""
    return holds(str(Path("/dev", "shm", facts["shared_name"])), facts["secret"])


def input_mode(facts: Facts) -> str:
    """Change the mode of an input."""
    try:
        Path(facts["input"]).chmod(0o666)
    except OSError:
        return ""
    return facts["input"]


def input_write(facts: Facts) -> str:
    """Write to an input."""
    return opened(facts["input"], _WRITE)


def own_program(_facts: Facts) -> str:
    """Write to the running program, as an attack on container engines did."""
    try:
        os.close(os.open("/proc/self/exe", _WRITE))
    except OSError as error:
        return "it would, once it ended" if error.errno == errno.ETXTBSY else ""
    return "/proc/self/exe"


def block_devices(_facts: Facts) -> str:
    """Find a disk."""
    for entry in Path("/dev").iterdir():
        if stat.S_ISBLK(entry.lstat().st_mode):
            return entry.name
    return ""


def other_devices(_facts: Facts) -> str:
    """Find devices beside those every program needs."""
    return " ".join(sorted({entry.name for entry in Path("/dev").iterdir()} - _OWN_DEVICES)[:5])


def kernel_addresses(_facts: Facts) -> str:
    """Read where the kernel's code lies."""
    try:
        with Path("/proc/kallsyms").open() as file:
            line = file.readline()
    except OSError:
        return ""
    return line.strip() if int(line.split()[0], 16) else ""


def kernel_settings(_facts: Facts) -> str:
    """Open any of the kernel's settings for writing, but those of one's own namespaces."""
    for folder, _, names in os.walk("/proc/sys"):
        if folder.startswith(("/proc/sys/net", "/proc/sys/fs/mqueue")):
            continue
        for name in names:
            if not name.startswith(_OWN_SETTINGS) and opened(f"{folder}/{name}", _WRITE):
                return f"{folder}/{name}"
    return ""


def set_id_mode(facts: Facts) -> str:
    """Leave a set-uid file behind by chmod."""
    return _set_id(facts, lambda path: path.chmod(0o4755))


def set_group_mode(facts: Facts) -> str:
    """Leave a set-gid file behind by chmod."""
    return _set_id(facts, lambda path: path.chmod(0o2755))


def set_id_created(facts: Facts) -> str:
    """Create a file that is set-uid at once."""
    path = _scratch(facts, "created")
    os.umask(0)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o4755))
    except OSError:
        return ""
    path.unlink()
    return "open"


def set_id_in_memory(_facts: Facts) -> str:
    """Make a program in memory that is set-uid."""
    handle = os.memfd_create("probe")
    try:
        os.fchmod(handle, 0o4755)
    except OSError:
        return ""
    return "memfd"


def file_capabilities(facts: Facts) -> str:
    """Give a file capabilities by its attributes."""
    path = _scratch(facts, "attributes")
    path.touch()
    try:
        os.setxattr(path, "security.capability", b"\1\0\0\2" + b"\xff" * 16)
    except OSError:
        return ""
    finally:
        path.unlink()
    return "security.capability"


def character_device(facts: Facts) -> str:
    """Make a device node for the memory."""
    return _node(facts, stat.S_IFCHR, 1, 1)


def block_device(facts: Facts) -> str:
    """Make a device node for the disk."""
    return _node(facts, stat.S_IFBLK, 254, 0)


def _scratch(facts: Facts, name: str) -> Path:
    return Path(facts["job"], f".probe-{name}")


def _node(facts: Facts, kind: int, major: int, minor: int) -> str:
    path = _scratch(facts, f"node-{kind}")
    try:
        os.mknod(path, kind | 0o600, os.makedev(major, minor))
    except OSError:
        return ""
    path.unlink()
    return "mknod"


def _set_id(facts: Facts, change: Callable[[Path], None]) -> str:
    path = _scratch(facts, "set-id")
    path.touch()
    try:
        change(path)
    except OSError:
        return ""
    finally:
        path.unlink()
    return "chmod"


TRAPS = (
    "baray.db",
    "ledger.key",
    "operator.token",
    "runs/other/log.txt",
    "runs/other/attempt-1/out/weights",
    "blobs/ab/cd",
)
PROBES: tuple[Probe, ...] = (
    *(_trap(name) for name in TRAPS),
    *(_created(folder) for folder in ("/", "/usr", "/usr/bin", "/etc", "/env", "/in", "/dev")),
    _closed("passwords", "/etc/shadow", "/etc/gshadow", "/etc/passwd"),
    _closed("ssh_keys", "/etc/ssh/ssh_host_ed25519_key", "/root/.ssh", "/root/.ssh/authorized_keys", "/home"),
    _closed("core_pattern", "/proc/sys/kernel/core_pattern", flags=_WRITE),
    _closed("module_loader", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug", flags=_WRITE),
    _closed("magic_keys", "/proc/sysrq-trigger", flags=_WRITE),
    _closed("huge_pages", "/proc/sys/vm/nr_hugepages", "/dev/hugepages", flags=_WRITE),
    _closed("cgroup_files", "/sys/fs/cgroup", "/cgroup"),
    _closed("sys_files", "/sys/kernel", "/sys/class", "/sys/block", "/sys/firmware"),
    _closed("kernel_memory", "/dev/mem", "/dev/kmem", "/dev/port", "/proc/kcore"),
    _closed("kernel_messages", "/dev/kmsg", "/proc/kmsg"),
    _closed("virtual_machines", "/dev/kvm", "/dev/vhost-net", "/dev/vhost-vsock", "/dev/vsock"),
    _closed("file_system_devices", "/dev/fuse", "/dev/loop-control", "/dev/btrfs-control", "/dev/autofs"),
    _closed("network_devices", "/dev/net/tun"),
    _closed("fault_device", "/dev/userfaultfd"),
    _closed("queue_files", "/dev/mqueue"),
    list_homes,
    list_root,
    list_etc,
    dots_out,
    root_of_others,
    folder_of_others,
    symbolic_link_out,
    hard_link_out,
    temporary_files,
    shared_memory_files,
    input_mode,
    input_write,
    own_program,
    block_devices,
    other_devices,
    kernel_addresses,
    kernel_settings,
    set_id_mode,
    set_group_mode,
    set_id_created,
    set_id_in_memory,
    file_capabilities,
    character_device,
    block_device,
)

"""The sandbox holds, and each probe is shown able to fail: a layer is taken away, and its probe must notice."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from baray.runs import sandbox
from baray.runs.sandbox import filter as seccomp
from baray.runs.supervisor import main as supervisor_main


@pytest.fixture(scope="module")
def bwrap(need):
    need("bwrap")
    return sandbox.find_bwrap()


def contained(bwrap, change=None):
    probes, _ = sandbox.run_probes(bwrap, sandbox.NO_CGROUPS, slot=98, change=change)
    return {probe.name for probe in probes if probe.contained}


def test_all_twelve_probes_are_contained(bwrap):
    report = sandbox.probe()
    assert [probe for probe in report.probes if not probe.contained] == []
    assert len(report.probes) == 12
    assert (report.tier, report.missing) == ("A", "")


def without(plan, *words, where="head"):
    """The plan with these words of bwrap's arguments left out."""
    return plan | {"sandbox": plan["sandbox"] | {where: [word for word in plan["sandbox"][where] if word not in words]}}


def writable_root(plan):
    words = plan["sandbox"]["middle"]
    kept = [word for at, word in enumerate(words) if "--remount-ro" not in (word, words[at - 1])]
    return plan | {"sandbox": plan["sandbox"] | {"middle": kept}}


def with_more(plan, *words):
    return plan | {"sandbox": plan["sandbox"] | {"middle": [*plan["sandbox"]["middle"], *words]}}


def no_seccomp(plan):
    return plan | {"sandbox": plan["sandbox"] | {"seccomp": ""}}


def shared_processes(plan):
    plan = without(plan, "--unshare-all", "--as-pid-1")
    middle = ["--ro-bind", "/proc", *plan["sandbox"]["middle"][1:]]  # in place of --proc, for that needs its own
    return plan | {
        "sandbox": plan["sandbox"]
        | {"head": [*plan["sandbox"]["head"], "--unshare-net", "--unshare-uts"], "middle": middle}
    }


def show_the_trap(plan):
    folder = str(Path(plan["log"]).parent)
    return with_more(plan, "--ro-bind", folder, folder)


def leave_a_descriptor_open(plan):
    at = plan["argv"].index("--") + 1
    argv = [*plan["argv"][:at], "/bin/sh", "-c", 'exec 9</dev/null; exec "$@"', "sh", *plan["argv"][at:]]
    return plan | {"argv": argv}


@pytest.mark.parametrize(
    ("layer", "change", "noticed"),
    [
        ("seccomp", no_seccomp, {"socket_families", "kernel_calls", "set_id_files"}),
        (
            "seccomp and the ban on nested namespaces",
            lambda p: no_seccomp(without(p, "--disable-userns")),
            {"namespaces"},
        ),
        ("its own network", lambda p: with_more(p, "--share-net"), {"loopback", "abstract_socket"}),
        ("its own processes", shared_processes, {"host_processes"}),
        ("a cleared environment", lambda p: without(p, "--clearenv"), {"environment"}),
        ("a read-only root", writable_root, {"root_write"}),
        ("files that are not shown", show_the_trap, {"file_outside"}),
        ("closed descriptors", leave_a_descriptor_open, {"leaked_descriptors"}),
    ],
)
def test_a_probe_notices_when_its_layer_is_gone(bwrap, layer, change, noticed):
    assert contained(bwrap, change) & noticed == set(), layer


def test_root_inside_would_be_noticed(bwrap, tmp_path):
    """The same flags launched from uid 0: what the entry check is there to prevent."""
    if os.geteuid() != 0:
        pytest.skip("only root can be the host's root")
    system = ["--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"]
    system += ["--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/job"]
    probes = Path(seccomp.__file__).with_name("probes.py")
    program = "import sys; sys.path.insert(0, '/in'); import probes; print(probes.host_root({}))"
    system += ["--ro-bind", str(probes), "/in/probes.py", "/usr/bin/python3", "-I", "-S", "-B", "-c", program]
    argv = [bwrap, "--unshare-all", "--unshare-user", "--uid", "65534", *system]
    found = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert found.stdout.strip().startswith("/proc/sys")


def test_a_sandbox_is_never_launched_from_uid_0(bwrap):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for owner in ({"uid": None, "gid": None}, {"uid": 0, "gid": 61098}, {"uid": 61098, "gid": 0}):
        with pytest.raises(sandbox.no_sandbox("", "").__class__, match="never launched from uid or gid 0"):
            sandbox.run_probes(bwrap, sandbox.NO_CGROUPS, slot=98, change=lambda plan, o=owner: plan | o)


def test_a_tenants_link_is_not_bound(bwrap, tmp_path):
    """A link that an earlier command left where a folder is expected must not bend the next one's mount."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    folder = tmp_path / "attempt"
    folder.mkdir()
    (folder / "work").symlink_to(tmp_path / "secret")
    (folder / "out").mkdir()
    limits = sandbox.Limits()
    base = sandbox.supervisor_plan(
        attempt_dir=folder, log=folder / "log.txt", number=1, limits=limits, owner=sandbox.slot_owner(98), cgroups=[]
    )
    binds = (sandbox.Bind(under=folder, path="work", to="/job", write=True),)
    command = sandbox.Command(argv=("/bin/cat", "/job/key"), binds=binds, environment={}, bwrap=bwrap)
    (folder / "supervisor.json").write_text(json.dumps(sandbox.sandbox_plan(base, command, limits)))
    subprocess.run([sys.executable, "-I", "-S", supervisor_main.__code__.co_filename, str(folder)], check=True)
    state = json.loads((folder / "state.json").read_text())
    assert state["reason"] == "start_failed"
    assert "symbolic links" in state["message"]
    assert "secret" not in (folder / "log.txt").read_text()


def test_a_machine_without_bwrap_says_what_is_missing():
    report = sandbox.probe(folders="/nonexistent")
    assert report.tier == "none"
    assert report.missing == "bubblewrap is not installed"
    assert "apt-get install bubblewrap" in report.fix


@pytest.mark.parametrize("architecture", sorted(seccomp.AUDIT))
@pytest.mark.parametrize("reduced", [False, True])
def test_the_shipped_filter_is_what_its_source_compiles_to(architecture, reduced):
    shipped = seccomp.filter_path(architecture, reduced=reduced).read_bytes()
    assert shipped == seccomp.compile_filter(architecture, reduced=reduced)


class Machine:
    """Runs a filter as the kernel would: an interpreter of classic BPF, for vectors on both architectures."""

    def __init__(self, architecture, reduced=False):
        data = seccomp.compile_filter(architecture, reduced=reduced)
        self.lines = [data[at : at + 8] for at in range(0, len(data), 8)]
        self.audit = seccomp.AUDIT[architecture]

    def verdict(self, number, *arguments, audit=None):
        words = {0: number, 4: audit or self.audit}
        for index in range(6):
            value = arguments[index] if index < len(arguments) else 0
            words[16 + 8 * index], words[20 + 8 * index] = value & 0xFFFFFFFF, value >> 32
        accumulator = at = 0
        while True:
            code, k = int.from_bytes(self.lines[at][:2], "little"), int.from_bytes(self.lines[at][4:], "little")
            if code == 0x20:
                accumulator = words[k]
            elif code == 0x54:
                accumulator &= k
            elif code == 0x06:
                return {0x7FFF0000: "allow", 0x80000000: "kill"}.get(k, k & 0xFFFF)
            else:
                met = {0x15: accumulator == k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}[code]
                at += self.lines[at][2 if met else 3]
            at += 1


@pytest.mark.parametrize(
    ("x86_64", "aarch64", "arguments", "verdict"),
    [
        (0, 63, (), "allow"),  # read
        (101, 117, (), 1),  # ptrace
        (435, 435, (), 38),  # clone3
        (56, 220, (17,), "allow"),  # clone, SIGCHLD
        (56, 220, (0x10000011,), 1),  # clone, a user namespace
        (41, 198, (2,), "allow"),  # socket, AF_INET
        (41, 198, (40,), 97),  # socket, AF_VSOCK
        (53, 199, (16,), 97),  # socketpair, AF_NETLINK
        (16, 29, (0, 0x5412), 1),  # ioctl TIOCSTI
        (16, 29, (0, 0xFF_0000_5412), 1),  # the same with a high bit: the kernel takes 32
        (16, 29, (0, 0x5401), "allow"),  # ioctl TCGETS
        (135, 92, (0xFFFFFFFF,), "allow"),  # personality: which one is in force
        (135, 92, (0x0400000,), 1),  # personality, READ_IMPLIES_EXEC
        (91, 52, (3, 0o4755), 1),  # fchmod u+s
        (91, 52, (3, 0o755), "allow"),
        (257, 56, (3, 0, 0o101, 0o4755), 1),  # openat O_CREAT with set-uid
        (257, 56, (3, 0, 0o101, 0o644), "allow"),
        (257, 56, (3, 0, 0, 0o4755), "allow"),  # without O_CREAT the mode is not looked at
        (0x40000000, 0x40000000, (), ("kill", "allow")),  # x32 on x86-64; no such call on aarch64
    ],
)
def test_what_the_filter_says(x86_64, aarch64, arguments, verdict):
    told = (Machine("x86_64").verdict(x86_64, *arguments), Machine("aarch64").verdict(aarch64, *arguments))
    assert told == (verdict if isinstance(verdict, tuple) else (verdict, verdict))


@pytest.mark.parametrize(
    ("x86_64", "aarch64", "arguments", "verdict"),
    [
        (0, 63, (), "allow"),  # read
        (101, 117, (), 1),  # ptrace
        (41, 198, (1, 1), 97),  # socket, AF_UNIX
        (42, 203, (), 1),  # connect
        (53, 199, (1, 1), "allow"),  # socketpair, AF_UNIX, stream
        (53, 199, (1, 0o2000001), "allow"),  # the same, closed on exec
        (53, 199, (1, 2), 97),  # socketpair, datagram: it can be connected anew
        (53, 199, (16, 1), 97),  # socketpair, AF_NETLINK
        (302, 261, (0, 7), "allow"),  # prlimit64 of oneself
        (302, 261, (77, 7), 1),  # prlimit64 of another
        (141, 140, (0, 77), 1),  # setpriority of another
        (29, 194, (), 1),  # shmget
    ],
)
def test_what_the_reduced_filter_says(x86_64, aarch64, arguments, verdict):
    told = (Machine("x86_64", True).verdict(x86_64, *arguments), Machine("aarch64", True).verdict(aarch64, *arguments))
    assert told == (verdict, verdict)


def test_a_foreign_architecture_is_killed():
    assert Machine("x86_64").verdict(1, audit=0x40000003) == "kill"  # 32-bit x86
    assert platform.machine() in seccomp.AUDIT

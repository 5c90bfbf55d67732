"""Every attempt to get out is contained; and each layer of the sandbox is shown to hold what its probes say it holds."""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import baray
from baray.runs import sandbox
from baray.runs.sandbox.corpus.calls import CALLS
from baray.runs.sandbox.corpus.main import PROBES
from baray.runs.sandbox.survey import survey

NAMES = {probe.__name__ for probe in PROBES}
UNSHARED = (
    "--unshare-user",
    "--unshare-ipc",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-uts",
    "--unshare-cgroup-try",
)


@pytest.fixture(scope="module", autouse=True)
def bwrap(need):
    need("bwrap")


def part(plan, where, words):
    return plan | {"sandbox": plan["sandbox"] | {where: words}}


def without(plan, *words, where="head"):
    return part(plan, where, [word for word in plan["sandbox"][where] if word not in words])


def without_pair(plan, option, where):
    words = plan["sandbox"][where]
    return part(plan, where, [w for at, w in enumerate(words) if option not in (w, words[at - 1] if at else "")])


def sharing(plan, what):
    plan = without(plan, "--unshare-all")
    return part(plan, "head", [*plan["sandbox"]["head"], *(word for word in UNSHARED if word != what)])


def no_seccomp(plan):
    return part(plan, "seccomp", "")


def shared_processes(plan):
    plan = without(sharing(plan, "--unshare-pid"), "--as-pid-1")
    return part(plan, "middle", ["--ro-bind", "/proc", *plan["sandbox"]["middle"][1:]])  # --proc needs a namespace


def writable_binds(plan):
    return part(plan, "binds", [bind | {"write": True} for bind in plan["sandbox"]["binds"]])


def shared_devices(plan):
    words = plan["sandbox"]["middle"]
    at = words.index("--dev")
    return part(plan, "middle", [*words[:at], "--dev-bind", *words[at + 1 :][:1], *words[at + 1 :]])


def shared_files(plan):
    plan = without_pair(plan, "--remount-ro", "middle")
    folder = str(Path(plan["log"]).parent)
    more = [word for place in (folder, "/etc", "/var", "/sys", "/dev/shm") for word in ("--bind", place, place)]
    return part(plan, "middle", [*plan["sandbox"]["middle"], *more])


def leave_a_descriptor_open(plan):
    at = plan["argv"].index("--") + 1
    return plan | {
        "argv": [*plan["argv"][:at], "/bin/sh", "-c", 'exec 9</dev/null; exec "$@"', "sh", *plan["argv"][at:]]
    }


def no_sandbox(plan, **owner):
    """The same program, straight on the host."""
    folder = Path(plan["log"]).parent
    facts = json.loads(plan["argv"][-1]) | {"input": str(folder / "input.txt"), "job": str(folder / "work")}
    argv = [word.replace("/in/lib", str(Path(baray.__file__).parent.parent)) for word in plan["argv"][:-1]]
    return plan | owner | {"argv": [*argv[argv.index("--") + 1 :], json.dumps(facts)], "sandbox": None}


SEEN_BY_FILTER = {f"call_{name}" for name in CALLS} - {
    # refused for want of a capability before anything else is looked at: seen where the launcher is root
    *(
        "call_" + name
        for name in "acct fsmount fsopen fspick move_mount pivot_root reboot swapoff syslog vhangup".split()
    ),
    *("call_" + name for name in "sethostname setdomainname unshare_network".split()),
    # calls that a kernel may lack, or allow to some only
    *("call_" + name for name in "bpf perf_event_open userfaultfd io_uring_setup io_uring_enter".split()),
    *("call_" + name for name in "io_uring_register open_by_handle_at fanotify_init modify_ldt iopl ioperm".split()),
}
READ = {probe.__name__ for probe in PROBES if probe.__name__.startswith("read_")}
LAYERS = {
    "the filter": (
        no_seccomp,
        SEEN_BY_FILTER
        | {"set_id_mode", "set_group_mode", "set_id_created", "set_id_in_memory", "no_filter", "family_netlink"}
        | {"pair_of_another_family", "clone_user", "loosen_filter", "terminal_input", "terminal_input_high_bits"}
        | {"console_paste", "call_clone3", "call_openat2"}
        | ({"x32_call"} if os.uname().machine == "x86_64" else set()),
    ),
    "the filter and the ban on namespaces": (lambda p: no_seccomp(without(p, "--disable-userns")), {"map_users"}),
    "its own network": (
        lambda p: sharing(p, "--unshare-net"),
        {"tcp_to_control", "tcp_to_any_address", "tcp_to_host", "udp_to_control", "fast_open", "abstract_stream"}
        | {"abstract_datagram", "listeners", "names_of_sockets"},
    ),
    "its own processes": (
        shared_processes,
        {"host_processes", "first_process", "victim_arguments", "victim_descriptors", "victim_signal", "victim_handle"}
        | {"victim_limits", "victim_priority", "victim_processors"},
    ),
    "its own IPC": (
        lambda p: sharing(p, "--unshare-ipc"),
        {"host_segment", "host_semaphores", "host_queue", "host_named_queue"},
    ),
    "its own name": (lambda p: sharing(without_pair(p, "--hostname", "head"), "--unshare-uts"), {"host_name"}),
    "a cleared environment": (lambda p: without(p, "--clearenv"), {"launcher_environment"}),
    "a root that is read-only": (
        lambda p: without_pair(p, "--remount-ro", "middle"),
        {"write_root", "write_etc", "write_in", "write_dev"},
    ),
    "inputs that are read-only": (writable_binds, {"input_mode", "input_write"}),
    "files that are not shown": (
        shared_files,
        READ
        | {"dots_out", "root_of_others", "symbolic_link_out", "temporary_files", "shared_memory_files", "passwords"}
        | {"worker_socket", "datagram_socket", "list_root", "list_etc", "list_homes", "sys_files"},
    ),
    "devices of its own": (shared_devices, {"other_devices"}),
    "limits of its own": (
        lambda p: p | {"argv": p["argv"][p["argv"].index("--") + 1 :]},
        {"more_files", "more_processes"},
    ),
    "a session of its own": (lambda p: without(p, "--new-session"), {"session_of_others"}),
    "closed descriptors": (leave_a_descriptor_open, {"leaked_descriptors"}),
    "all of it": (
        no_sandbox,
        READ
        | {"gain_by_exec", "drop_promise", "no_filter", "capability_bound", "folder_of_others", "hard_link_out"}
        | {"victim_environment", "host_name", "tcp_to_control", "input_write", "core_dumps"},
    ),
    "all of it, and the drop of root": (
        lambda p: no_sandbox(p, uid=None, gid=None),
        {
            "become_root",
            "become_root_group",
            "become_another",
            "take_groups",
            "capabilities",
            "core_pattern",
            "own_program",
        }
        | {"keep_capabilities", "file_capabilities", "kernel_settings", "kernel_addresses", "raw_socket", "real_time"}
        | {
            "higher_priority",
            "interface_settings",
            "call_fsopen",
            "call_pivot_root",
            "call_sethostname",
            "call_reboot",
        },
    ),
}
# Probes that no layer taken away here lets out, and why.
UNSEEN = {
    "terminal": "tests have no terminal",
    **dict.fromkeys(
        ("kernel_memory", "magic_keys", "module_loader", "queue_files", "fault_device"), "not on every machine"
    ),
    **dict.fromkeys(("virtual_machines", "network_devices", "file_system_devices"), "not on every machine"),
    **dict.fromkeys(("sockets_of_the_system", "huge_pages", "ssh_keys", "cgroup_files"), "not on every machine"),
    **dict.fromkeys(("spared_when_memory_ends", "take_capabilities", "move_memory_map"), "needs CAP_SYS_RESOURCE"),
    **dict.fromkeys(("write_env",), "where the interpreter lies outside /usr"),
    **dict.fromkeys(("echo_socket", "other_families"), "the kernel's settings decide"),
    **{name: "the kernel may lack the family" for name in NAMES if name.startswith("family_")},
}
if len(socket.if_nameindex()) == 1:  # loopback alone, as in a network namespace without a way out
    UNSEEN |= dict.fromkeys(("interfaces", "routes"), "this machine has no network")
    UNSEEN |= {name: "this machine has no network" for name in NAMES if name.startswith("way_to_")}


@functools.cache
def reached(layer):
    """What gets out once the layer is gone."""
    change = LAYERS[layer][0] if layer else None
    probes, _ = survey(sandbox.find_bwrap(), sandbox.NO_CGROUPS, slot=98, change=change)
    assert {probe.name for probe in probes} == NAMES
    return {probe.name: probe.reached for probe in probes if not probe.contained}


def needs_root(layer):
    if "root" in layer and "drop" in layer and os.geteuid() != 0:
        pytest.skip("only root can fail to drop root")


def test_all_are_contained():
    assert reached("") == {}
    assert len(NAMES) == len(PROBES) >= 120


def test_all_are_contained_for_a_user_without_privileges(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("the test above is this one")
    argv = [sys.executable, "-m", "baray.runs.sandbox", "--json"]
    may = subprocess.run([sys.executable, "-c", "import baray"], user=61096, group=61096, extra_groups=[], check=False)
    if may.returncode:
        pytest.skip("this checkout is closed to other users")
    done = subprocess.run(
        argv, user=61096, group=61096, extra_groups=[], capture_output=True, text=True, check=False, cwd="/"
    )
    told = json.loads(done.stdout)
    assert [probe for probe in told["probes"] if not probe["contained"]] == []
    assert (done.returncode, told["contained"], told["total"]) == (0, len(NAMES), len(NAMES))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_taken_away_lets_its_probes_out(layer):
    needs_root(layer)
    assert LAYERS[layer][1] - reached(layer).keys() == set()


def test_every_probe_is_seen_to_get_out():
    needs_root("drop of root")
    seen = {name for layer in LAYERS for name in reached(layer)}
    assert NAMES - seen - UNSEEN.keys() == set()


def test_a_probe_that_breaks_counts_as_out():
    """No probe may pass because it could not run."""

    def rewrite(plan):
        facts = json.loads(plan["argv"][-1])
        return plan | {"argv": [*plan["argv"][:-1], json.dumps(facts | {"job": "/nowhere"})]}

    probes, _ = survey(sandbox.find_bwrap(), sandbox.NO_CGROUPS, slot=98, change=rewrite)
    broken = {probe.name: probe.reached for probe in probes if not probe.contained}
    assert "set_id_mode" in broken
    assert broken["set_id_mode"].startswith("it broke")

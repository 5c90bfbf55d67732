"""The supervisor of one Attempt: `python -I -S supervisor.py ATTEMPT_DIR`. Standard library, no database, no network.

It outlives the worker that started it. All it knows stands in ATTEMPT_DIR/supervisor.json; all it tells stands in
ATTEMPT_DIR/state.json (replaced atomically; the last one is durable before the process ends) and in the Run's log.

Order: take the lock -> join limits -> start the child -> state "running" -> watch -> kill what is left of the tree ->
state "ended". The lock is held as long as this process lives. A worker that finds no state takes the same lock and
leaves a file `void` behind, so an Attempt can never start after it was given up.

Covered: time, memory and disk limits, cancel, the whole tree's end, the child's death when this process is killed.
Not covered: a trusted handler's grandchildren when this process is killed; the worker finds and ends them.
"""

# ruff: noqa: PTH104, PTH106, PTH110, PTH116, PTH123, PTH208
from __future__ import annotations

import ctypes
import fcntl
import importlib
import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # importing typing would cost every Attempt 5 ms, and pathlib 10
if TYPE_CHECKING:
    from typing import Any

    Plan = dict[str, Any]
    launch: Any
elif not __package__:  # as a script: the other half lies beside this file, or in its folder of the checkout
    sys.path += [__file__.rpartition("/")[0] + more for more in ("", "/sandbox")]
    launch = importlib.import_module("launch")

TICK_SECONDS = 0.2
DISK_TICK_SECONDS = 0.2
DRAIN_SECONDS = 2.0
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def process_start(pid: int) -> int:
    """Start time of a living process in clock ticks since boot: with the pid it names one. 0 if dead, zombies too."""
    fields = _read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) if fields and fields[0] not in {"Z", "X"} else 0


def write_state(directory: str, state: dict[str, object], *, durable: bool) -> None:
    """Replace ATTEMPT_DIR/state.json."""
    name = f"{directory}/state.json"
    handle = os.open(name + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    os.write(handle, json.dumps(state, sort_keys=True).encode())
    if durable:
        os.fsync(handle)
    os.close(handle)
    os.rename(name + ".new", name)
    if durable:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(folder)
        os.close(folder)


class Tree:
    """The processes of the Attempt: the child, and everything that came from it."""

    def __init__(self, plan: Plan, child: int) -> None:
        """Look after `child`, whose cgroups are named in `plan`."""
        self.child = child
        self.cgroups: list[str] = plan["cgroups"]

    def members(self) -> list[int]:
        """The child and its descendants, and orphans that came to this process as their subreaper."""
        found: list[int] = []
        waiting = [os.getpid()]
        while waiting:
            children = _children(waiting.pop())
            found += children
            waiting += children
        for folder in self.cgroups:
            found += [pid for pid in _read_numbers(f"{folder}/cgroup.procs") if pid not in found]
        return found

    def kill(self) -> None:
        """SIGKILL until nothing is left, so that not even a fork in the last moment survives."""
        pause = 0.001
        while members := [pid for pid in self.members() if process_start(pid)]:
            for pid in members:
                _signal(pid, signal.SIGKILL)
            time.sleep(pause)
            pause = min(0.1, pause * 2)
        self.reap()

    def reap(self) -> None:
        """Take the exit states of orphans that ended; the child itself is waited for elsewhere."""
        for pid in _children(os.getpid()):
            if pid != self.child:
                os.waitpid(pid, os.WNOHANG)

    def was_out_of_memory(self) -> bool:
        """Whether the kernel killed a member for the cgroup's memory limit."""
        files = [f"{folder}/{name}" for folder in self.cgroups for name in ("memory.oom_control", "memory.events")]
        lines = [line.split() for file in files for line in _read_text(file).splitlines()]
        return any(line[0] == "oom_kill" and line[1] != "0" for line in lines)

    def peak_bytes(self) -> int:
        """Greatest memory the cgroup saw; 0 without one."""
        names = ("memory.max_usage_in_bytes", "memory.peak")
        return max([0, *(n for folder in self.cgroups for name in names for n in _read_numbers(f"{folder}/{name}"))])

    def remove_cgroups(self) -> None:
        """Remove the Attempt's own groups; one that is still busy is left for the worker."""
        for folder in self.cgroups:
            try:
                os.rmdir(folder)
            except OSError:
                continue


class Log:
    """The Run's log: appended to, up to a limit for one Attempt."""

    def __init__(self, path: str, limit_bytes: int) -> None:
        """Open `path` for appending."""
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._left = limit_bytes

    def write(self, data: bytes) -> None:
        """Append what the Attempt printed; past the limit one line says so and the rest is dropped."""
        if self._left > 0:
            self._append(data[: self._left])
            self._left -= len(data)
            if self._left <= 0:
                self.note("the log of this attempt reached its limit; the rest is not kept")

    def note(self, text: str) -> None:
        """Append a line of the supervisor's own."""
        self._append(f"[baray] {text}\n".encode())

    def _append(self, data: bytes) -> None:
        try:
            os.write(self._handle, data)
        except OSError:
            self._left = 0  # the disk is full: the Attempt's end is worth more than its log


class Supervision:
    """Watches one child until it ended or has to end."""

    def __init__(self, directory: str, plan: Plan, log: Log, token: bytes = b"") -> None:
        """Prepare to run `plan`; `token` is the Run's own, for its hatch."""
        self.directory, self.plan, self.log = directory, plan, log
        self.token, self.hatch = token, -1
        self.limits = plan["limits"]
        self.reason, self.asked = "", False
        self.kill_at = self.next_tick = self.next_disk = 0.0

    def run(self) -> dict[str, object]:
        """Start the child, watch it, end its whole tree; the fields of the last state."""
        output, child_output = os.pipe2(os.O_CLOEXEC)
        status, child_status = os.pipe2(os.O_CLOEXEC)
        trouble, child_trouble = os.pipe2(os.O_CLOEXEC)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "asked", True))
        pipes = (child_output, child_status, child_trouble)
        parent = os.getpid()
        proxy = launch.start_proxy(self.plan, self.directory)
        self.hatch = launch.open_hatch(self.plan, self.directory)
        pid = os.fork()
        if pid == 0:
            launch.become_child(self.plan, parent, pipes, proxy)
        for handle in (*pipes, *([proxy] if proxy >= 0 else [])):
            os.close(handle)
        self.tree = Tree(self.plan, pid)
        state = {"v": 1, "phase": "running", "boot": boot_id(), "pid": parent, "start": process_start(parent)}
        state |= {"child": pid, "child_start": process_start(pid)}
        write_state(self.directory, state, durable=False)
        started = time.monotonic()
        wait_status, usage = self._watch(pid, output, started)
        self.tree.kill()
        self._drain(output)
        failed_to_start = os.read(trouble, 4096).decode(errors="replace")
        inner = _exit_code(os.read(status, 65536))
        used = {
            "phase": "ended",
            "seconds": round(time.monotonic() - started, 4),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 4),
            "peak_bytes": self.tree.peak_bytes() or usage.ru_maxrss * 1024,
        }
        return {**state, **self._verdict(wait_status, inner, failed_to_start), **used}

    def _watch(self, pid: int, output: int, started: float) -> tuple[int, Any]:
        handle = os.pidfd_open(pid)
        poller = select.poll()
        poller.register(output, select.POLLIN)
        poller.register(handle, select.POLLIN)
        if self.hatch >= 0:
            poller.register(self.hatch, select.POLLIN)
        while True:
            for ready, event in poller.poll(TICK_SECONDS * 1000):
                if ready == handle:
                    os.close(handle)
                    _, wait_status, usage = os.wait4(pid, 0)
                    self.tree.child = 0
                    return wait_status, usage
                if ready == self.hatch:  # the first who knocks; from now on its own process answers
                    poller.unregister(self.hatch)
                    launch.start_hatch(self.plan, self.hatch, self.token)
                    continue
                data = os.read(output, 65536) if event & select.POLLIN else b""
                if data:
                    self.log.write(data)
                else:
                    poller.unregister(output)
            if time.monotonic() >= self.next_tick:  # not for every line of a talkative child
                self._check(time.monotonic(), started)
                self.next_tick = time.monotonic() + TICK_SECONDS / 2

    def _check(self, now: float, started: float) -> None:
        self.tree.reap()
        limits = self.limits
        if self.reason:
            if now >= self.kill_at:
                self.tree.kill()
            return
        if self.asked or os.path.exists(f"{self.directory}/cancel"):
            # A signal comes from whoever shuts the machine down: that is no wish of the Run's owner.
            self._stop("terminated" if self.asked else "cancelled", limits["grace_seconds"])
        elif limits["time_seconds"] and now - started > limits["time_seconds"]:
            self._stop("time", limits["grace_seconds"], f"the time limit of {limits['time_seconds']:g} s")
        elif limits["watch_memory"] and sum(map(_memory_bytes, self.tree.members())) > limits["memory_bytes"]:
            self._stop("memory", 0.0, f"the memory limit of {limits['memory_bytes']} bytes")
        elif now >= self.next_disk:
            self._check_disk(now)

    def _check_disk(self, now: float) -> None:
        limits = self.limits
        used = sum(_disk_bytes(folder) for folder in limits["disk_folders"])
        # A large folder takes long to measure: never spend more than a twentieth of the time on it.
        self.next_disk = time.monotonic() + max(DISK_TICK_SECONDS, 20 * (time.monotonic() - now))
        if limits["disk_bytes"] and used > limits["disk_bytes"]:
            self._stop("disk", 0.0, f"the disk limit of {limits['disk_bytes']} bytes")
        elif limits["reserve_bytes"]:
            disk = os.statvfs(self.directory)
            if disk.f_bavail * disk.f_frsize < limits["reserve_bytes"]:
                self._stop("disk", 0.0, f"the reserve of {limits['reserve_bytes']} bytes on the disk of the home")

    def _stop(self, reason: str, grace_seconds: float, limit: str = "") -> None:
        """Ask the tree to end now, and make it end after the grace."""
        self.reason = reason
        self.kill_at = time.monotonic() + grace_seconds
        if limit:
            self.log.note(f"stopped: {limit} was reached")
        if not grace_seconds:
            self.tree.kill()
        for pid in self.tree.members():
            if self.plan["sandbox"] is None or pid != self.tree.child:
                _terminate(pid)

    def _drain(self, output: int) -> None:
        """What the tree wrote before it ended still stands in the pipe."""
        poller = select.poll()
        poller.register(output, select.POLLIN)
        end = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < end and poller.poll(0) and (data := os.read(output, 65536)):
            self.log.write(data)

    def _verdict(self, wait_status: int, inner: int | None, failed_to_start: str) -> dict[str, object]:
        code = os.waitstatus_to_exitcode(wait_status)
        reason, message = self.reason or ("signalled" if code < 0 else "exited"), ""
        if failed_to_start:
            stage, _, message = failed_to_start.partition(": ")
            reason = "root_refused" if stage == "root" else "start_failed"
        elif self.plan["sandbox"] is not None and not self.reason and code >= 0 and inner is None:
            reason, message = "start_failed", "the sandbox did not start; its message stands in the log"
        elif reason == "exited" and (inner or code) != 0 and _is_full(self.plan):
            reason = "disk"
            self.log.note(f"stopped: the disk limit of {self.limits['disk_bytes']} bytes was reached")
        elif reason in {"exited", "signalled"} and code != 0 and self.tree.was_out_of_memory():
            reason = self._what_filled_memory()
        return {"reason": reason, "message": message, "exit_code": inner if inner is not None else code}

    def _what_filled_memory(self) -> str:
        """`disk` where the tree had also written more than it may, else `memory`.

        What is written counts as memory until it lies on the disk, and for good where the folder lies in memory (tmpfs).
        Then the kernel may end the tree before we look at the disk: more memory would mend nothing, writing less does.
        """
        limits = self.limits
        used = sum(_disk_bytes(folder) for folder in limits["disk_folders"]) if limits["disk_bytes"] else 0
        over = used > limits["disk_bytes"]
        if over:
            self.log.note(f"stopped: the disk limit of {limits['disk_bytes']} bytes was reached")
        told = "; what was written counts until it lies on the disk" if over else ""
        self.log.note(f"stopped: the memory limit of {limits['memory_bytes']} bytes was reached{told}")
        return "disk" if over else "memory"


def main(directory: str) -> int:
    """Supervise the Attempt in `directory`; 0 once its last state is durable, 3 if it is another's or given up."""
    lock = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 3
    if os.path.exists(f"{directory}/void") or os.path.exists(f"{directory}/state.json"):
        return 3
    with open(f"{directory}/supervisor.json", "rb") as file:
        plan = json.load(file)
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    log = Log(plan["log"], plan["limits"]["log_bytes"])
    if plan["number"] > 1:
        log.note(f"attempt {plan['number']}")
    # The Run's own token comes by the pipe that the worker holds, and stands in no file.
    token = os.read(0, 4096) if plan["sandbox"] and plan["sandbox"]["hatch"] else b""
    supervision = Supervision(directory, plan, log, token)
    state = supervision.run()
    if state["message"]:
        log.note(f"{state['reason']}: {state['message']}")
    write_state(directory, state, durable=True)
    supervision.tree.remove_cgroups()
    return 0


def _exit_code(status: bytes) -> int | None:
    """The exit code that bwrap reports; None if the command never ran to an end."""
    told = [json.loads(line) for line in status.splitlines()]
    return next((int(one["exit-code"]) for one in told if "exit-code" in one), None)


def boot_id() -> str:
    """The kernel's name for this boot: pids and start times mean nothing in another one."""
    return _read_text("/proc/sys/kernel/random/boot_id").strip()


def _terminate(pid: int) -> None:
    """SIGTERM; SIGKILL to the first process of a pid namespace that has no handler, for the kernel would drop the signal."""
    status = dict(line.partition(":")[::2] for line in _read_text(f"/proc/{pid}/status").splitlines())
    inside = status.get("NSpid", "").split()
    caught = int(status.get("SigCgt", "0"), 16) >> (signal.SIGTERM - 1) & 1
    first = len(inside) > 1 and inside[-1] == "1"
    _signal(pid, signal.SIGKILL if first and not caught else signal.SIGTERM)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [child for thread in threads for child in _read_numbers(f"/proc/{pid}/task/{thread}/children")]


def _memory_bytes(pid: int) -> int:
    for line in _read_text(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    # A process that forbids a look at its maps is counted whole.
    fields = _read_text(f"/proc/{pid}/statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else 0


def _disk_bytes(folder: str) -> int:
    total = 0
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for item in found:
                    total += item.stat(follow_symlinks=False).st_blocks * 512
                    if item.is_dir(follow_symlinks=False):
                        waiting.append(item.path)
        except OSError:
            continue  # removed or closed while we looked
    return total


def _is_full(plan: Plan) -> bool:
    """Whether the Attempt's own file system has seen its end; what the command then did was its own decision."""
    image = plan["sandbox"]["image"] if plan["sandbox"] else ""
    if not image:
        return False
    found = os.stat(image)
    return found.st_blocks * 512 > 0.9 * found.st_size


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _read_numbers(path: str) -> list[int]:
    return [int(word) for word in _read_text(path).split() if word.isdigit()]


if __name__ == "__main__":
    os.umask(0o027)
    sys.exit(main(sys.argv[1]))

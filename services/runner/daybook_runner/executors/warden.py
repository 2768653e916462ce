"""Stands between the runner and one program, so that nothing of the program outlives its attempt.

This file is run as a script, by a bare interpreter (`python -I -S warden.py FD PID`), in a session of its own; it
imports nothing of Daybook. `FD` is one end of a socket whose other end the runner `PID` holds:

    runner → warden    the order: one line of JSON (`argv env cwd limits grace keep remove`)
                       then perhaps `T`: stop it politely
                       the end of the stream: there is no runner any more, or it has no patience: end it now
    warden → runner    `started PID`, then, when nothing of it is left, `exited CODE` or `killed SIGNAL`
                       `failed KIND MESSAGE`: it could not be started

The program leads a session of its own. A child of it that leaves the group, or whose parent dies, still falls to the
warden, which is the subreaper (prctl(2)) of everything below it; SIGKILL goes round until there is nobody left. Where
there is no prctl, as on macOS, that is the group alone. It refuses to die of the signals that a service manager or a
terminal sends to everybody: its runner tells it when to go. What it cannot stop is a program that forks away from it
faster than it kills; that takes a cgroup.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False  # as mypy knows it; importing `typing` would take as long as everything else here
if TYPE_CHECKING:
    from typing import Any

_LINUX = sys.platform == "linux"
_SET_DEATH_SIGNAL, _SET_SUBREAPER, _SET_NO_NEW_PRIVILEGES = 1, 36, 38
_ROUND_SECONDS = 0.05
_LONGEST_POLL_SECONDS = 3600  # poll(2) counts its milliseconds in an int


def main(control: int, runner: int) -> None:
    """Watch over one program until nothing of it is left."""
    os.set_inheritable(control, False)
    turned, turn = os.pipe()
    os.set_blocking(turn, False)
    os.set_blocking(turned, False)
    signal.set_wakeup_fd(turn, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    if _LINUX:
        _prctl(_SET_SUBREAPER, 1)
    order = _read_order(control)
    if order is None:
        return
    pid = _start(order, control)
    if not pid:
        return
    _tell(control, f"started {pid}")
    status, is_alone = _watch(control, runner, turned, pid, float(order["grace"]))
    if is_alone:
        _remove(order["remove"])
    elif os.WIFSIGNALED(status):
        _tell(control, f"killed {os.WTERMSIG(status)}")
    else:
        _tell(control, f"exited {os.WEXITSTATUS(status)}")


def _watch(control: int, runner: int, turned: int, pid: int, grace: float) -> tuple[int, bool]:
    """Wait for the program's end or the runner's word, and end all of it. How the program ended, and whether the runner
    has left it to us."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(turned, select.POLLIN)
    runner_gone = _watch_runner(poll, runner)
    status: int | None = None
    kill_at: float | None = None
    while True:
        ended, status = _reap(pid, status)
        # Asked to stop, the whole group has the grace; a program that ended by itself leaves nothing worth waiting for.
        if ended or (status is not None and kill_at is None) or (kill_at is not None and time.monotonic() >= kill_at):
            return _end(pid, status, turned), False
        left = None if kill_at is None else min(max(0.0, kill_at - time.monotonic()), _LONGEST_POLL_SECONDS) * 1000 + 1
        for fd, _ in poll.poll(left):
            if fd == turned:
                _drain(turned)
            elif fd == runner_gone or not _read(control):
                return _end(pid, status, turned), True
            elif kill_at is None:
                kill_at = time.monotonic() + grace
                _signal_group(pid, signal.SIGTERM)


def _watch_runner(poll: select.poll, runner: int) -> int | None:
    # The end of the stream would do, were it not for children of the runner's apps, which may hold its end by accident.
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        watched = os.pidfd_open(runner)
    except OSError:
        return None
    poll.register(watched, select.POLLIN)
    return watched


def _start(order: dict[str, Any], control: int) -> int:
    """Start the program; its pid, or 0 when it cannot be started."""
    told, tell = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            _become(order)
        except BaseException as error:  # noqa: BLE001 - the child must not run the parent's code, whatever happened
            os.write(tell, f"{type(error).__name__} {error}".encode(errors="replace")[:1000])
        os._exit(127)
    os.close(tell)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    for fd in order["keep"]:
        os.close(fd)
    trouble = os.read(told, 1000)  # ends when the program is executed, which closes the other end
    if trouble:
        os.waitpid(pid, 0)
        _tell(control, "failed " + trouble.decode(errors="replace").replace("\n", " "))
        return 0
    return pid


def _become(order: dict[str, Any]) -> None:
    """In the child: take on the order's limits, session and folder, and execute the program."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.setsid()
    if _LINUX:
        _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)  # should somebody kill the warden
        # What gained rights by a setuid bit could not be killed.
        _prctl(_SET_NO_NEW_PRIVILEGES, 1)
    os.chdir(order["cwd"])
    for name, wanted in order["limits"].items():
        which = getattr(resource, name)
        most = resource.getrlimit(which)[1]
        # Between the soft and the hard limit of CPU lies SIGXCPU, which says why the program was ended.
        hard = wanted + 1 if name == "RLIMIT_CPU" else wanted
        hard = hard if most == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(which, (min(wanted, hard), hard))
    for fd in order["keep"]:
        os.set_inheritable(fd, True)
    os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606 - no shell is what is wanted


def _end(pid: int, status: int | None, turned: int) -> int:
    """Kill all that is left, until nothing is."""
    while True:
        ended, status = _reap(pid, status)
        if ended:
            return 0 if status is None else status
        _signal_group(pid, signal.SIGKILL)
        for each in _descendants():
            _signal(each, signal.SIGKILL)
        select.select([turned], [], [], _ROUND_SECONDS)
        _drain(turned)


def _reap(pid: int, status: int | None) -> tuple[bool, int | None]:
    """Whether nobody is left, and the program's own status, once it has one."""
    try:
        while True:
            reaped, how = os.waitpid(-1, os.WNOHANG)
            if not reaped:
                return False, status
            if reaped == pid:
                status = how
    except ChildProcessError:
        return True, status


def _descendants() -> list[int]:
    """Everybody below this process, by what /proc says."""
    if not _LINUX:
        return []
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stat:
                    parent = int(stat.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError):
                continue  # it ended while we looked
            children.setdefault(parent, []).append(int(name))
    found = [os.getpid()]
    for each in found:
        found.extend(children.get(each, ()))
    return found[1:]


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        return


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _read_order(control: int) -> dict[str, Any] | None:
    content = b""
    while b"\n" not in content:
        part = os.read(control, 65536)
        if not part:
            return None
        content += part
    order: dict[str, Any] = json.loads(content)
    return order


def _read(control: int) -> bytes:
    try:
        return os.read(control, 64)
    except ConnectionError:
        return b""


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        return


def _tell(control: int, line: str) -> None:
    try:
        os.write(control, line.encode(errors="replace") + b"\n")
    except OSError:
        return  # nobody listens any more, which the end of the stream says as well


def _remove(folder: str | None) -> None:
    """Do what the runner, if it is gone, cannot do any more. It may be doing it at the same time."""
    if folder:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

"""The fork server: a process that loads the interpreter once and forks the processes that programs run in.

It is executed as a script, with nothing of the package but this folder's files for confined processes, and never runs a
program itself. Its control socket carries one JSON object a message; it ends, and all its children with it, when the
socket closes or its parent dies. It keeps no list of its children, since each of them would inherit it: the parent
names them by the process ids that it was given.
"""

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import time
import types
from typing import Any

PATIENCE = 50
"""Hundredths of a second that a child may take to end."""

MESSAGE = 1 << 16
"""Bytes of a command or a reply."""

_FOLDER = os.path.dirname(os.path.realpath(__file__))  # pathlib would take a tenth of the time that it takes to start


def _without_the_package() -> None:
    """Make ``autotts_gym.sandbox`` a bare package, so that its files can be imported without all the others."""
    for name, folder in (("autotts_gym", os.path.dirname(_FOLDER)), ("autotts_gym.sandbox", _FOLDER)):
        package = types.ModuleType(name)
        package.__path__ = [folder]
        sys.modules[name] = package


def main() -> None:
    """Serve the control socket whose number is the only argument.

    Returns in the forked children only, each confined, with the socket that it is to serve. By then all that this
    process knew is gone from the stack, and so out of reach of a program.
    """
    control = socket.socket(fileno=int(sys.argv[1]))
    settings = json.loads(control.recv(MESSAGE))
    try:
        missing = _prepare(control, settings)
    except Exception as error:
        control.send(json.dumps({"error": f"{type(error).__name__}: {error}"[:1000]}).encode())
        os._exit(1)
    control.send(json.dumps({"missing": missing}).encode())
    settings["layers"] = sorted(set(settings["layers"]) - set(missing))
    _serve_commands(control, settings)


def _prepare(control: socket.socket, settings: dict[str, Any]) -> dict[str, str]:
    """Load what programs may use, go into namespaces, and find out which layers are missing here, and why."""
    sys.path += settings["paths"]
    _without_the_package()
    from autotts_gym.sandbox import confinement, modules, session

    session._packages = frozenset(name.partition(".")[0] for name in settings["packages"])
    modules.preload(settings["packages"])
    sys.path.clear()
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(0) if os.getppid() != settings["parent"] else None)
    confinement.die_with_parent(signal.SIGUSR1)
    if os.getppid() != settings["parent"]:
        os._exit(0)
    mapped, data = confinement.mapped()
    settings["memory"], settings["data"] = settings["memory"] + mapped, settings["memory"] + data
    # Where that is not allowed, the system ends its children no sooner than other processes.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    missing: dict[str, str] = {}
    settings["number"] = confinement.find_number()
    settings["vdso"] = None
    try:
        settings["vdso"] = confinement.find_vdso()
    except (OSError, ValueError) as error:
        missing["clock"] = str(error)
    if "namespaces" in settings["layers"]:
        try:
            confinement.namespaces()
        except OSError as error:
            missing["namespaces"] = str(error)
        else:
            _become_init(control, confinement)
            try:
                confinement.empty_root()
            except OSError as error:
                missing["namespaces"] = str(error)
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)  # a round leaves little garbage, and a collection would copy all shared pages
    return missing | _find_missing_layers(confinement, settings)


def _become_init(control: socket.socket, confinement: Any) -> None:
    """Continue as the first process of the new process-id namespace, whose end ends all others in it."""
    child = os.fork()
    if child:
        control.close()
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    confinement.die_with_parent(signal.SIGKILL)


def _find_missing_layers(confinement: Any, settings: dict[str, Any]) -> dict[str, str]:
    """Which layers a child cannot have here, and why: a child that then ends tries them.

    The child also narrows down where the C library keeps the process number, which is the same address in all.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        wanted = frozenset(settings["layers"])
        places = [*confinement.find_number()]
        failed = confinement.confine(_limits(settings), wanted, settings["vdso"])
        os.write(theirs.fileno(), json.dumps([failed, places]).encode())
        os._exit(0)
    theirs.close()
    reply = ours.recv(MESSAGE)
    ours.close()
    _, status = os.waitpid(child, 0)
    if not reply:
        raise OSError(f"a confined process ended with status {os.waitstatus_to_exitcode(status)} before it replied")
    missing: dict[str, str]
    missing, places = json.loads(reply)
    settings["number"] &= {*places}
    return missing


def _limits(settings: dict[str, Any]) -> tuple[int, int, int]:
    return settings["memory"], settings["data"], settings["cpu_seconds"]


def _serve_commands(control: socket.socket, settings: dict[str, Any]) -> None:
    """Carry out commands until the control socket closes; returns in a child only."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, MESSAGE, 1)
        if not data:
            os._exit(0)  # and all children with it
        command, children = json.loads(data)
        reply: Any = None
        try:
            if command == "fork":
                reply = os.fork()
                if not reply:
                    _begin_child(control.detach(), descriptors[0], settings)
                    return
            elif command == "status":
                reply = [_status(child) for child in children]
            elif command == "alarm":  # those that are late report where they are
                for child in children:
                    os.kill(child, signal.SIGALRM)
            elif command == "kill":
                for child in children:
                    os.kill(child, signal.SIGKILL)
                for child in children:
                    os.waitpid(child, 0)
        except OSError as error:
            reply = {"error": f"{command}: {error}"}
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(json.dumps(reply).encode())


def _begin_child(control: int, descriptor: int, settings: dict[str, Any]) -> None:
    """Confine this child, with nothing open but the socket that it is to serve."""
    from autotts_gym.sandbox import confinement, session

    confinement.die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    os.dup2(descriptor, session._socket)
    os.closerange(session._socket + 1, max(control, descriptor) + 1)
    confinement.forget_number(settings["number"])
    layers = frozenset(settings["layers"])
    if confinement.confine(_limits(settings), layers, settings["vdso"]):
        os._exit(70)


def _status(child: int) -> int:
    """How a child ended that closed its socket, by ``waitstatus_to_exitcode``; one that still runs is ended."""
    for _ in range(PATIENCE):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main()
    for _name in {*globals()} - {"__builtins__", "__name__", "sys"}:  # a program must not find the globals of this file
        del globals()[_name]
    sys.modules["autotts_gym.sandbox.session"].serve()

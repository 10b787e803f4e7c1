"""The nursery: a process that loads the interpreter once and forks the processes that programs run in.

It is executed as a script, with nothing of the package but this folder's files for confined processes, and never runs a
program itself. Its control socket carries one JSON object a message; it ends, and all its children with it, when the
socket closes or its parent dies.
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
from pathlib import Path
from typing import Any

PATIENCE = 50
"""Hundredths of a second that a child may take to end."""

_FOLDER = Path(__file__).resolve().parent


def _without_the_package() -> None:
    """Make ``autotts_gym.sandbox`` a bare package, so that its files can be imported without all the others."""
    for name, folder in (("autotts_gym", _FOLDER.parent), ("autotts_gym.sandbox", _FOLDER)):
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package


def main() -> None:
    """Serve the control socket whose number is the only argument."""
    control = socket.socket(fileno=int(sys.argv[1]))
    settings = json.loads(control.recv(1 << 16))
    sys.path += settings["paths"]
    _without_the_package()
    from autotts_gym.sandbox import confinement, guest, modules

    guest._packages = frozenset(name.partition(".")[0] for name in settings["packages"])
    modules.preload(settings["packages"])
    sys.path.clear()
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(0) if os.getppid() != settings["parent"] else None)
    confinement.die_with_parent(signal.SIGUSR1)
    if os.getppid() != settings["parent"]:
        return
    settings["memory"] += confinement.mapped()
    missing: dict[str, str] = {}
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
    gc.set_threshold(10_000, 20, 20)  # a round leaves little garbage, and a collection touches all that is shared
    missing |= _rehearse(confinement, settings)
    control.send(json.dumps(missing).encode())
    settings["layers"] = sorted(set(settings["layers"]) - set(missing))
    _Nursery(control, settings).run()


def _become_init(control: socket.socket, confinement: Any) -> None:
    """Go on as the first process of the new process-id namespace, whose end ends all others in it."""
    child = os.fork()
    if child:
        control.close()
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    confinement.die_with_parent(signal.SIGKILL)


def _rehearse(confinement: Any, settings: dict[str, Any]) -> dict[str, str]:
    """Which layers a child cannot have here, and why: found out in one that then ends."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        wanted = frozenset(settings["layers"])
        failed = confinement.confine(settings["memory"], settings["cpu_seconds"], wanted)
        os.write(theirs.fileno(), json.dumps(failed).encode())
        os._exit(0)
    theirs.close()
    reply = ours.recv(1 << 16)
    os.waitpid(child, 0)
    missing: dict[str, str] = json.loads(reply) if reply else {"seccomp": "the confined process died"}
    return missing


class _Nursery:
    """Children by number, forked on command."""

    def __init__(self, control: socket.socket, settings: dict[str, Any]) -> None:
        self.control = control
        self.settings = settings
        self.children: dict[int, int] = {}

    def run(self) -> None:
        """Obey until the control socket closes."""
        while True:
            data, descriptors, _, _ = socket.recv_fds(self.control, 1 << 16, 253)
            if not data:
                break
            command, first = json.loads(data)
            if command == "fork":
                for k, descriptor in enumerate(descriptors):
                    self.fork(first + k, descriptor, descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)
                self.control.send(b"{}")
            elif command == "status":
                self.control.send(json.dumps(self.status(first)).encode())
            elif command == "kill":
                self.kill(first)
                self.control.send(b"{}")
        self.kill(list(self.children))

    def fork(self, number: int, descriptor: int, descriptors: list[int]) -> None:
        """Fork a child that serves a socket."""
        child = os.fork()
        if child:
            self.children[number] = child
            return
        with contextlib.suppress(BaseException):
            from autotts_gym.sandbox import confinement, guest

            confinement.die_with_parent(signal.SIGKILL)
            os.dup2(descriptor, guest._socket)
            os.closerange(guest._socket + 1, max(self.control.fileno(), *descriptors) + 1)
            settings = self.settings
            failed = confinement.confine(settings["memory"], settings["cpu_seconds"], frozenset(settings["layers"]))
            if not failed:
                guest.serve()
        os._exit(70)

    def status(self, number: int) -> int:
        """How a child ended that closed its socket, by ``waitstatus_to_exitcode``; one that lives on is ended."""
        child = self.children.pop(number)
        for _ in range(PATIENCE):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)

    def kill(self, numbers: list[int]) -> None:
        """End children, and be sure that they have ended."""
        alive = [self.children.pop(number) for number in numbers if number in self.children]
        for child in alive:
            os.kill(child, signal.SIGKILL)
        for child in alive:
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()

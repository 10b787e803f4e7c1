"""On macOS and Windows everything but the sandbox works, as far as a Linux machine can check."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ELSEWHERE = """
import builtins, importlib, os, pkgutil, signal, socket, sys

# What has to know the machine that it really runs on is loaded before it looks like another.
import ctypes, multiprocessing.context, concurrent.futures.process, subprocess, tempfile, shutil, pathlib, asyncio
import numpy, numba, llvmlite, h5py, gymnasium, matplotlib.pyplot, rich.console, rich.table, platformdirs, greenlet
import aiohttp, filelock, jinja2.sandbox
import importlib.util, ssl, uuid, random, secrets, zipfile
for optional in {optional}:
    if importlib.util.find_spec(optional):
        importlib.import_module(optional)

platform = sys.argv[1]
absent = dict(
    darwin=dict(
        modules=set(),
        os=("sched_getaffinity", "unshare", "memfd_create", "setns", "posix_fadvise", "eventfd", "pidfd_open"),
        signal=(),
        socket=("SOCK_CLOEXEC",),
    ),
    win32=dict(
        modules=dict.fromkeys(("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix")).keys(),
        os=(
            *("fork", "forkpty", "register_at_fork", "getuid", "geteuid", "getgid", "getegid", "getpgid", "getsid"),
            *("killpg", "setsid", "sched_getaffinity", "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "chown"),
            *("WNOHANG", "wait", "wait3", "mkfifo", "uname", "chroot", "nice", "getloadavg", "statvfs", "sysconf"),
            *("posix_fallocate", "pread", "pwrite", "sync", "unshare", "memfd_create", "fchown", "lchown"),
        ),
        signal=("SIGKILL", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGXCPU", "SIGXFSZ", "SIGPIPE", "SIGCHLD",
                "SIGQUIT", "setitimer", "alarm", "pthread_sigmask", "ITIMER_REAL", "SIGTSTP", "SIGCONT", "SIGSTOP"),
        socket=("AF_UNIX", "SOCK_SEQPACKET", "send_fds", "recv_fds", "MSG_DONTWAIT", "MSG_NOSIGNAL", "SCM_RIGHTS"),
    ),
)[platform]
sys.platform = platform  # os.name stays: pathlib would make paths that do not work here
for module in (os, signal, socket):
    for name in absent[module.__name__]:
        if hasattr(module, name):
            delattr(module, name)
for name in absent["modules"]:
    sys.modules[name] = None
real_dll, real_open = ctypes.CDLL, builtins.open

def no_libc(name=None, *arguments, **options):
    raise TypeError("there is no library without a name") if platform == "win32" else AssertionError("libc")

def no_proc(file, *arguments, **options):
    if str(file).startswith(("/proc", "/sys")):
        raise FileNotFoundError(file)
    return real_open(file, *arguments, **options)

ctypes.CDLL, builtins.open = no_libc, no_proc
"""
IMPORT = """
import autotts_gym
packages = [autotts_gym]
if {agents}:
    import agents, agents.explorer
    packages.append(agents)
only_linux = ("autotts_gym.sandbox.fork_server", "autotts_gym.sandbox.session", "autotts_gym.sandbox.confinement")
names = [each.name for p in packages for each in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
names = [name for name in names if not name.startswith(("agents.programs", "autotts_gym.trajectories"))]
for name in names:
    if name not in only_linux and not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""
PLAY = """
import gymnasium as gym, autotts_gym
from autotts_gym import evaluate, make_controller, load_store

env = gym.make("AutoTTS-Replay-v0", max_branches=4)
observation, info = env.reset(seed=0)
ended = False
while not ended:
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample(info["action_mask"]))
    ended = terminated or truncated
store = load_store("synthetic/search")
store.save(sys.argv[2])
assert load_store(sys.argv[2]).name == store.name
result = evaluate(make_controller("sc", branches=2), store, seeds=range(1), max_branches=4)
from autotts_gym.cli.main import main
assert main(["evaluate", "synthetic/search", "--controller", "sc", "--param", "branches=2", "--seeds", "1"]) == 0
print(result.correct.shape)
code = main(["evaluate", "synthetic/search", "--controller", sys.argv[3], "--seeds", "1"])
print(code)
"""

platforms = pytest.mark.parametrize("platform", ["darwin", "win32"])


def run(code, *arguments):
    optional = ["torch", "stable_baselines3", "sb3_contrib", "tensorboard.summary.writer.event_file_writer", "optuna"]
    optional += ["openai", "anthropic", "cloudpickle", "scipy.stats"]
    code = ELSEWHERE.replace("{optional}", repr(optional)) + code
    command = (sys.executable, "-W", "error", "-c", code, *map(str, arguments))
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done


@platforms
def test_every_module_is_imported(platform):
    done = run(IMPORT.replace("{agents}", "True"), platform)
    assert int(done.stdout) > 60


@platforms
def test_an_episode_is_played_and_the_sandbox_says_that_it_needs_linux(platform, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "'''Reads one.'''\n\ndef schedule(beta): return {'n': 1 + beta}\n\ndef solve(session, beta): session.read()\n"
    )
    done = run(PLAY, platform, tmp_path / "store.h5", program)
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["(1, 30)", "2"]
    said = [line for line in done.stderr.splitlines() if "compil" not in line]
    assert len(said) == 1
    assert "needs Linux" in said[0]

"""The commands of the documents work, pasted in their order into one shell of a fresh environment.

Every block runs, as it stands but for ``SMALLER``. There is no network: what is installed are the packages of the
environment that runs the tests.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(?:<!-- (?P<name>\S+) -->\n)?^```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)

SHELLS = (
    ("README.md", "docs/controllers.md", "docs/training.md"),
    ("docs/explorer.md", "docs/data.md", "docs/results.md"),
    ("CONTRIBUTING.md",),
)
"""Documents whose commands run in one shell each."""

SMALLER = (
    # The suite would run itself; the type checker needs the packages beside the checkout, and CI has just run it.
    (r"python -m pytest.*?(?=$| &&)", "python -m pytest -n 0 -q tests/test_errors.py"),
    (r"(?<!\w)mypy(?= &&)", "mypy --version"),
    # Less of the same.
    (r"--minutes \d+", "--minutes 0.05"),
    (r"--rounds 2 --out", "--rounds 1 --proposals 1 --seeds 2 --betas 3 --screen-betas 2 --out"),
    (r"--rounds 4", "--rounds 2"),
    (r"(autotts benchmark.*?)(?=$| &&)", r"\1 --seeds 2 --resamples 20"),
    (r"(agents\.benchmark .*)", r"\1 --seeds 2 --resamples 20"),
    # The published data is not part of the repository: a small tree of its form.
    (r"path/to/AutoTTS\b", "$PUBLISHED"),
    # "and seeds 1 to 3 likewise", of which one is enough here
    (
        r"(python -m agents\.train .*)--seed 0 --name seed0",
        r"for k in 0 1; do \1--minutes 0.05 --seed $k --name seed$k; done",
    ),
    (r"seed\{0,1,2,3\}", "seed{0,1}"),
    # A server that would run for ever: started, asked for its page, ended.
    (r"tensorboard --logdir (\S+)", r"ask_tensorboard \1"),
)
"""What is replaced in a block, in this order: a pattern, and what it becomes."""

BEGIN = r"""
set -eo pipefail
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
pip() {
    if [ "$1" = install ]; then shift; set -- install --no-index --no-deps --no-build-isolation "$@"; fi
    python -m pip --disable-pip-version-check "$@"
}
ask_tensorboard() {
    tensorboard --logdir "$1" --host 127.0.0.1 --port 0 >tensorboard.log 2>&1 &
    local server=$!
    python - tensorboard.log <<'END'
import pathlib, re, sys, time, urllib.request
until, address = time.monotonic() + 120, None
while address is None and time.monotonic() < until:
    address = re.search(r"http://127\.0\.0\.1:\d+/", pathlib.Path(sys.argv[1]).read_text())
    time.sleep(0.2)
assert address, pathlib.Path(sys.argv[1]).read_text()
assert "TensorBoard" in urllib.request.urlopen(address[0]).read().decode()
END
    kill $server
    wait $server || true
}
"""


def published(folder):
    """Branches of four models on three benchmarks, in the form in which they are published."""
    draw = np.random.default_rng(0)
    for model in ("Qwen3-0.6B", "Qwen3-1.7B", "Qwen3-4B", "Qwen3-8B"):
        for benchmark in ("aime24", "aime25", "hmmt25"):
            questions = []
            for k in range(6):
                branches = []
                for _ in range(128):
                    tokens = int(draw.integers(600, 4000))
                    probes = [str(answer) for answer in draw.integers(0, 3, tokens // 500)]
                    branches.append([probes, tokens, probes[-1]])
                questions.append(
                    {
                        "question": f"{benchmark} {k}",
                        "each_branch": branches,
                        "final_answers_trace": [branch[2] for branch in branches],
                        "gold_answer": "1",
                        "probe_freq": 500,
                    }
                )
            path = folder / model / f"{benchmark}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(questions))


def text_of(documents):
    return "\n".join((ROOT / name).read_text() for name in documents)


def script(documents):
    """The blocks of documents as one script, with what was replaced."""
    lines = [BEGIN]
    if "README.md" not in documents and "CONTRIBUTING.md" not in documents:  # these make one themselves
        lines.append("python3 -m venv .venv && . .venv/bin/activate && pip install -q .")
    for block in BLOCK.finditer(text_of(documents)):
        body, kind, name = block["body"], block["kind"], block["name"]
        if kind == "python" and name:
            lines.append(f"cat > {name} <<'END'\n{body}END")
        elif kind == "bash" and name != "needs-keys":
            for pattern, smaller in SMALLER:
                body = re.sub(pattern, smaller, body, flags=re.MULTILINE)
            lines.append(body)
        else:  # run by test_docs.py, or not at all without keys
            assert kind == "python" or name, kind
    return "\n".join(lines)


def test_every_replacement_is_needed():
    text = "\n".join(block["body"] for block in BLOCK.finditer(text_of([each for some in SHELLS for each in some])))
    assert [pattern for pattern, _ in SMALLER if not re.search(pattern, text, re.MULTILINE)] == []


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="the commands are for bash")
@pytest.mark.parametrize("documents", SHELLS, ids="-".join)
def test_all_commands_work_in_their_order_in_one_shell(documents, tmp_path):
    checkout = tmp_path / "checkout"
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in files:
        if name and (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_bytes((ROOT / name).read_bytes())
            (checkout / name).chmod((ROOT / name).stat().st_mode)
    subprocess.run(["git", "init", "-q"], cwd=checkout, check=True)
    published(tmp_path / "published")
    (tmp_path / "script.sh").write_text(script(documents))
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AUTOTTS", "PYTEST", "VIRTUAL"))}
    packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    scripts = [Path(sys.executable).parent, *(Path(path).parents[2] / "bin" for path in packages)]
    environment = {
        **own,
        "PATH": os.pathsep.join([*map(str, scripts), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(packages),
        "PUBLISHED": str(tmp_path / "published"),
    }
    done = subprocess.run(
        ["bash", str(tmp_path / "script.sh")],
        cwd=checkout, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]

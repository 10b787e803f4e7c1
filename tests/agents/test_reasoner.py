"""The tiny reasoner: its task, its training, its file, and the model that ships."""

import io
import json
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.reasoner import compare, huggingface, problems, questions, train
from agents.reasoner.data import batches, sample
from agents.reasoner.export import gguf_bytes, loaded, tensors
from agents.reasoner.model import SHAPES, Reasoner, Shape
from agents.reasoner.problems import CLOSING, MODULUS, OPERATIONS, PROBE, Problem, result, usual_slip
from agents.reasoner.vocabulary import END, TOKENS, decode, encode
from autotts_gym.errors import AutottsError
from autotts_gym.replay.records import Branch, Question, build_store

SERVER = Path(__file__).with_name("reasoner_server.py")
WEIGHTS = Path(__file__).parents[2] / "autotts_gym" / "models" / "weights"
TRAJECTORIES = Path(__file__).parents[2] / "trajectories"

some_problems = st.builds(
    lambda level, seed: problems.draw(level, np.random.default_rng(seed)),
    st.integers(1, problems.LEVELS),
    st.integers(0, 2**32),
)
seeds = st.integers(0, 2**32)
LINE = re.compile(r"(\d+): (add|subtract|times) (\d), now (\d+)")
SIGNS = {"add": "+", "subtract": "-", "times": "*"}


def solved(text: str) -> int:
    """The answer of a question, from its text alone and by Python's own arithmetic."""
    ((modulus, begin),) = re.findall(r"^Work modulo (\d+). Start with (\d+)$", text, re.MULTILINE)
    value = int(begin)
    for verb, number in re.findall(r": (\w+) (\d)$", text, re.MULTILINE):
        value = eval(f"({value} {SIGNS[verb]} {number}) % {modulus}")
    return value


@given(some_problems)
@settings(max_examples=200, deadline=None)
def test_gold_answers_are_exact(problem: Problem) -> None:
    assert problem.answer == solved(problem.text)
    assert 0 <= problem.answer < MODULUS


@given(some_problems, seeds, st.integers(30, 600))
@settings(max_examples=200, deadline=None)
def test_a_branch_is_lines_that_follow_from_each_other_and_ends_in_its_last_answer(
    problem: Problem, seed: int, limit: int
) -> None:
    branch = problems.write(problem, np.random.default_rng(seed), limit)
    assert len(branch.implied) == len(branch.words) + 1 <= limit + 1
    if branch.answer is None:
        assert len(branch.words) == limit
        return
    body, boxed = "".join(branch.words).split(PROBE)
    assert boxed == f"{branch.answer}{CLOSING}"
    begin, *passes = re.split(r"\n(?:From|Wait, from) ", body)
    steps, known = len(problem.operations), []
    assert not begin
    for part in passes:
        came_from, *lines, so = part.removesuffix(problems.LOST).split("\n")
        same = lines[-1] == problems.SAME.strip()
        found = [LINE.fullmatch(line) for line in lines[: len(lines) - same]]
        numbers = [(int(m[1]), (SIGNS[m[2]], int(m[3])), int(m[4])) for m in found if m]
        assert [i for i, *_ in numbers] == list(range(1, len(found) + 1))
        assert [operation for _, operation, _ in numbers] == list(problem.operations[: len(found)])
        value = int(came_from)
        assert value == problem.start
        for _, operation, after in numbers:
            off = (after - result(value, operation)) % MODULUS
            assert off in {0, *(k % MODULUS for k in problems.OFF_BY)} or after == usual_slip(value, operation)
            value = after
        values = [after for *_, after in numbers]
        if same:
            assert values == known[: len(values)]
        else:
            assert len(values) == steps
            known = values
        assert so == f"So the result is {known[-1]}"
    assert branch.answer == known[-1]


def known_from(problem: Problem, text: str) -> int:
    """What a cut branch implies, read from its text by rules written a second time."""
    finished = re.findall(r"\nSo the result is (\d+)", text)
    if finished:
        return int(finished[-1])
    done = [int(m[4]) for m in LINE.finditer(text)]
    value = done[-1] if done else problem.start
    return result(value, problem.operations[-1]) if len(done) == len(problem.operations) - 1 else value


@given(some_problems, seeds, st.data())
@settings(max_examples=300, deadline=None)
def test_a_probe_answers_what_the_cut_branch_implies(problem: Problem, seed: int, data: st.DataObject) -> None:
    branch = problems.write(problem, np.random.default_rng(seed), 600)
    cut = data.draw(st.integers(0, len(branch.words)))
    assert branch.implied[cut] == known_from(problem, "".join(branch.words[:cut]))


def test_every_operation_has_a_usual_slip_that_is_wrong_and_more_slips_than_one() -> None:
    rng = np.random.default_rng(0)
    for value in range(MODULUS):
        for operation in OPERATIONS:
            assert 0 <= usual_slip(value, operation) < MODULUS
            assert usual_slip(value, operation) != result(value, operation)
    slips = Counter(problems.written(58, ("*", 9), rng) for _ in range(2000))
    assert slips.most_common(1)[0][0] == usual_slip(58, ("*", 9))
    assert len(slips) > 4


def test_training_samples_are_questions_that_are_kept_out_of_no_split() -> None:
    kept = frozenset(problem for split in problems.SPLITS for _, problem in problems.questions(split))
    assert len(kept) == 60
    probed = 0
    for i in range(300):
        drawn = sample(np.random.default_rng(i), problems.LEVELS, kept)
        text = decode(drawn.ids)
        asked, work = text[: text.index(problems.ASK)], text[text.index(problems.ASK) + len(problems.ASK) :]
        assert asked not in {problem.text.removesuffix(problems.ASK) for problem in kept}
        assert decode(drawn.ids[: drawn.question]) == asked + problems.ASK
        if drawn.mark >= 0:
            probed += 1
            assert TOKENS[drawn.ids[drawn.mark]] == PROBE
            assert re.fullmatch(r"\d+\}", decode(drawn.ids[drawn.mark + 1 :]))
            assert drawn.ids[-1] == END
        else:
            assert (drawn.ids[-1] == END) == work.endswith(CLOSING)
    assert 110 < probed < 190


def test_batches_learn_neither_questions_nor_marks_and_depend_on_the_seed_alone() -> None:
    for (ids, weights), (again, _) in zip(islice(batches(3, 1024, 9), 30), batches(3, 1024, 9), strict=False):
        assert torch.equal(ids, again)
        assert ids.numel() <= 1024
        learned = {TOKENS[i] for i in ids[weights > 0].tolist()}
        assert not learned & {problems.OPENING, problems.ASK}
    assert not torch.equal(ids, next(batches(4, 1024, 9))[0])


def options(**more: Any) -> train.Options:
    return train.Options(size="micro", steps=5, batch_tokens=1024, progress=False, **more)


def test_the_same_training_gives_the_same_bits() -> None:
    one, loss = train.train(options())
    two, _ = train.train(options())
    other, _ = train.train(options(seed=1))
    assert gguf_bytes(one, "micro") == gguf_bytes(two, "micro") != gguf_bytes(other, "micro")
    assert 0 < loss < 10


def test_the_command_writes_a_file_and_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.gguf"
    arguments = ["--out", str(out), "--size", "micro", "--steps", "2", "--batch-tokens", "512", "--no-progress"]
    assert train.main(arguments) == 0
    assert f"{out}: " in capsys.readouterr().out
    assert train.main(["--out", "a.bin", "--steps", "1"]) == 2
    assert ".gguf" in capsys.readouterr().err


def test_the_file_holds_the_weights_the_tokens_and_the_licence(tmp_path: Path) -> None:
    model = Reasoner(Shape(32, 1, 2, 48), seed=1)
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(model, "small"))
    reader = gguf.GGUFReader(path)
    read = {tensor.name: np.asarray(tensor.data) for tensor in reader.tensors}
    written = tensors(model)
    assert read.keys() == written.keys()
    for name, weight in written.items():
        assert np.array_equal(read[name], weight.astype(read[name].dtype)), name
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.license"] == "MIT"
    assert fields["general.architecture"] == "llama"
    assert tuple(fields["tokenizer.ggml.tokens"]) == TOKENS
    again = loaded(path)
    ids = torch.tensor([encode(problems.draw(2, np.random.default_rng(0)).words)])
    difference = model.hidden(ids)[0] - again.hidden(ids)[0]
    assert again.shape == model.shape
    assert float(difference.detach().abs().max()) < 0.02


def test_the_folder_of_hugging_face_holds_the_same_model(tmp_path: Path) -> None:
    model = Reasoner(Shape(32, 1, 2, 48), seed=1)
    (tmp_path / "model.gguf").write_bytes(gguf_bytes(model, "small"))
    assert huggingface.main(["--model", str(tmp_path / "model.gguf"), "--out", str(tmp_path / "hf")]) == 0
    assert huggingface.main(["--model", str(SERVER), "--out", str(tmp_path / "hf")]) == 2
    data = (tmp_path / "hf" / "model.safetensors").read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    low, high = header["model.layers.0.self_attn.q_proj.weight"]["data_offsets"]
    weight = np.frombuffer(data[begin:][low:high], np.float16).reshape(32, 32)
    mine = tensors(model)["blk.0.attn_q.weight"].astype(np.float16)
    for head in range(2):  # there, pair i of a head is its rows i and i + 8
        theirs, ours = weight[16 * head :][:16], mine[16 * head :][:16]
        assert np.array_equal(theirs[:8], ours[0::2])
        assert np.array_equal(theirs[8:], ours[1::2])
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["vocab_size"] == len(TOKENS)
    added = json.loads((tmp_path / "hf" / "tokenizer.json").read_text())["added_tokens"]
    assert all(TOKENS[token["id"]] == token["content"] for token in added)


def test_a_cache_changes_nothing() -> None:
    model = Reasoner(SHAPES["micro"])
    ids = torch.randint(len(TOKENS), (2, 12), generator=torch.Generator().manual_seed(0))
    whole, _ = model.hidden(ids)
    part, cache = model.hidden(ids[:, :8])
    for i in range(8, 12):
        last, cache = model.hidden(ids[:, i : i + 1], cache)
        assert torch.allclose(last[:, 0], whole[:, i], atol=1e-5)
    assert torch.allclose(part, whole[:, :8], atol=1e-5)


# -------------------------------------------------------------------- what ships


def test_the_questions_that_ship_are_those_of_the_command(tmp_path: Path) -> None:
    texts = {}
    for split in problems.SPLITS:
        assert questions.main(["--split", split, "--out", str(tmp_path / f"{split}.jsonl")]) == 0
        written = (tmp_path / f"{split}.jsonl").read_text()
        assert written == (TRAJECTORIES / "tiny" / f"{split}.jsonl").read_text()
        rows = [json.loads(line) for line in written.splitlines()]
        assert [row["difficulty"] for row in rows] == sorted(row["difficulty"] for row in rows)
        assert all(int(row["answer"]) == solved(row["question"]) for row in rows)
        texts[split] = {row["question"] for row in rows}
    assert [len(texts[split]) for split in problems.SPLITS] == [30, 30]
    assert not texts["search"] & texts["heldout"]


@pytest.mark.parametrize(("size", "least"), [("tiny", 0.8), ("micro", 0.8)])
def test_the_models_that_ship_answer_easy_problems(size: str, least: float) -> None:
    model = loaded(WEIGHTS / f"{size}.gguf")
    assert model.shape == SHAPES[size]
    rng = np.random.default_rng(5)
    drawn = [problems.draw(1, rng) for _ in range(40)]
    prompts = [encode(problem.words) for problem in drawn]
    written = model.generate(torch.tensor(prompts), 60, 0.0).tolist()  # at least a pass; greedily, some never end
    ids = [[*prompt, *(i for i in row if i != END)] for prompt, row in zip(prompts, written, strict=True)]
    right = 0
    for problem, row in zip(drawn, ids, strict=True):
        (probed,) = model.generate(torch.tensor([[*row, *encode([PROBE])]]), 3, 0.0).tolist()
        right += probed == [*encode([str(problem.answer), CLOSING]), END]
    assert right / len(drawn) >= least


@pytest.fixture(scope="module")
def post() -> Iterator[Callable[[str, dict[str, Any]], dict[str, Any]]]:
    """Asks a real llama.cpp server that serves the tiny model."""
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    command = [sys.executable, str(SERVER), str(WEIGHTS / "tiny.gguf")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        address = next(line.strip() for line in process.stdout if line.startswith("http://127.0.0.1:"))

        def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
            request = urllib.request.Request(
                address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as reply:
                return dict(json.load(reply))

        yield ask
        process.kill()


def test_the_server_reads_texts_as_the_tokens_of_the_training(post: Callable[..., dict[str, Any]]) -> None:
    for i in range(20):
        rng = np.random.default_rng(i)
        problem = problems.draw(1 + i % problems.LEVELS, rng)
        branch = problems.write(problem, rng, 500)
        cut = int(rng.integers(len(branch.words)))
        for words in (problem.words, problem.words + branch.words, [*problem.words, *branch.words[:cut], PROBE]):
            text = "".join(words)
            assert post("/tokenize", {"content": text, "add_special": True})["tokens"] == encode(words)
            assert post("/detokenize", {"tokens": encode(words)})["content"] == text
    chat = post("/apply-template", {"messages": [{"role": "user", "content": problem.text}]})
    assert chat["prompt"] == problem.text


def test_the_server_writes_what_torch_writes(post: Callable[..., dict[str, Any]]) -> None:
    model = loaded(WEIGHTS / "tiny.gguf")
    same = 0
    for i in range(10):
        prompt = encode(problems.draw(1 + i % 3, np.random.default_rng(i)).words)
        (mine,) = model.generate(torch.tensor([prompt]), 64, 0.0).tolist()
        asked = {"prompt": prompt, "n_predict": 64, "temperature": 0.0, "return_tokens": True}
        served = post("/completion", asked)["tokens"]
        same += [i for i in mine if i != END] == [i for i in served if i != END]
    assert same >= 8


# -------------------------------------------------------------------- the comparison


def store_of(pools: list[list[tuple[list[str | None], int, str | None]]], gold: str = "1") -> Any:
    made = [Question(f"q{i}", gold, [Branch(*branch) for branch in pool]) for i, pool in enumerate(pools)]
    return build_store(made, model="m", benchmark="b", interval_tokens=10)


def test_measures_of_a_store_that_was_counted_by_hand() -> None:
    pool = [(["2", "1"], 20, "1")] * 4 + [(["2", "2", "2"], 30, "2")] * 3 + [([None, "3", "3", "3"], 40, None)]
    taken = {name: value for name, value, _ in compare.measures(store_of([pool, pool]))}
    assert taken["pass@1"] == 0.5
    assert taken["coverage@64"] == 1.0
    assert taken["majority@64"] == 1.0
    assert taken["probe = final answer at 50 % of depth"] == pytest.approx(3 / 7)
    assert taken["first probes on their most frequent answer"] == 7 / 8
    assert taken["that answer is right"] == 0.0
    assert taken["branches without a final answer"] == 1 / 8
    assert taken["share of finished votes for the leader"] == pytest.approx(4 / 7)
    assert taken["wrong answers in 64 branches"] == 1
    assert taken["wrong branches longer than right ones, ratio of means"] == pytest.approx(32.5 / 20)
    assert taken["probes per branch"] == pytest.approx((8 + 9 + 4) / 8)


def test_coverage_by_enumeration() -> None:
    pool = compare.Pool(
        np.array([0, 1, 1, 2], np.int32), np.ones(4, np.int32), np.array([True, False, False, False]), 0
    )
    assert compare.coverage_at(pool, 2) == pytest.approx(0.5)


def test_the_comparison_marks_what_is_outside_of_the_range(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = [(["1"], 10, "1")] * 3 + [(["2"], 15, "2")] * 3
    bad = [(["2"], 10, "2")] * 6
    table = compare.comparison([store_of([bad])], [store_of([good]), store_of([good])])
    assert table.rows[0] == ("pass@1", "50.0 % to 50.0 %", "0.0 % *")
    assert compare.main([]) == 2
    assert "--store" in capsys.readouterr().err
    with pytest.raises(AutottsError):
        compare.comparison([store_of([bad], gold=None)], [])  # type: ignore[arg-type]
    assert compare.main(["--store", "synthetic/search", "--format", "csv"]) == 0
    assert next(io.StringIO(capsys.readouterr().out)).startswith("measure,")

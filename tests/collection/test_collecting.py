"""Collecting from a scripted server: what is asked, kept and built; interrupted runs go on as if they had not been."""

import asyncio
import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scripted
from scripted import EOS, SUFFIX, Scripted, branch_text, next_text, serving

from autotts_gym.collection import collector as collector_module
from autotts_gym.collection.building import build, merge_journals
from autotts_gym.collection.index import Index
from autotts_gym.collection.journal import JournalError, Record, read_journal
from autotts_gym.collection.logs import LogBranch
from autotts_gym.collection.prompts import PromptForm
from autotts_gym.collection.questions import Task
from autotts_gym.collection.runs import Limits, Outcome, run
from autotts_gym.collection.settings import Settings
from autotts_gym.errors import AutottsError
from autotts_gym.models import EndpointError, ModelChangedError, Patience, Sampling, open_endpoint
from autotts_gym.models.prices import Price
from autotts_gym.replay import ReplayStore

QUICK = Patience(retries=3, loading=3.0, first_wait=0.01, longest_wait=0.05)
TASKS = [Task("a", "How many?", "40"), Task("b", "How much?", "7"), Task("c", "Which?", None)]
SETTINGS = Settings(branches=4, interval=8, max_tokens=400, suffix=SUFFIX, seed=3)


def collect(server: Scripted, path: Path, settings: Settings = SETTINGS, tasks=TASKS, **options: Any) -> Outcome:
    """Run a collection against a server."""
    limits = options.pop("limits", Limits(concurrency=4, patience=QUICK))
    addresses = options.pop("addresses", server.address)

    async def work() -> Outcome:
        async with await open_endpoint(addresses, patience=QUICK) as endpoint:
            found = await endpoint.capabilities()
            return await run(endpoint, found, path, settings, tasks, benchmark="bench", limits=limits, **options)

    return asyncio.run(work())


def content(store: ReplayStore) -> dict[str, Any]:
    """All of a store but its attributes."""
    columns = ("branch_offsets", "probe_offsets", "answer_offsets", "probes", "tokens", "finals", "gold")
    return {
        **{name: getattr(store, name).tolist() for name in columns},
        "answers": [store.answers(q) for q in range(store.num_questions)],
        "questions": list(store.questions),
        **{name: values.tolist() for name, values in store.signals.items()},
    }


@pytest.fixture(params=["llama.cpp", "vllm", "openai"])
def server(request):
    with serving(kind=request.param) as running:
        yield running


def test_the_store_is_what_the_model_wrote(server, tmp_path):
    path = tmp_path / "a.journal"
    collect(server, path)
    built = build(path)
    store = built.store
    assert (built.questions, built.branches, built.truncated) == (0, 0, 0)
    assert store.name == "chars/bench"
    assert store.labelled.tolist() == [True, True, False]
    eos = 1  # every server counts the token that ends a branch
    for q, task in enumerate(TASKS):
        for b in range(4):
            text = branch_text(task.text, SETTINGS.branch_seed(task.id, b))
            branch = q * 4 + b
            assert store.tokens[branch] == len(text) + eos
            assert store.answer(q, store.finals[branch]) == text.split("{")[1].split("}")[0]
            first, last = store.probe_offsets[branch : branch + 2]
            assert last - first == -(-(len(text) + eos) // 8) - 1
            for k, probe in enumerate(store.probes[first:last].tolist(), 1):
                said = next_text(f"{task.text}{text[: 8 * k]}{SUFFIX}", 0).split("}")[0]
                assert store.answer(q, probe) == said
    assert sorted(store.signals) == ["certainty", "confidence", "entropy", "logprob"]
    np.testing.assert_allclose(store.signals["logprob"], -0.1, atol=1e-3)
    np.testing.assert_allclose(store.signals["confidence"], np.mean([0.1 * k for k in range(1, 21)]), rtol=1e-3)
    np.testing.assert_allclose(store.signals["certainty"], np.exp(-0.1), rtol=1e-4)
    attributes = dict(store.attributes)
    assert attributes["tokens_by"] == ("text" if server.kind == "openai" else "ids")
    assert attributes["token_unit"] == round(64 * store.tokens.mean())
    assert attributes["accounts"]["branch_tokens"] == store.tokens.sum()
    store.save(tmp_path / "a.h5")
    assert ReplayStore.load(tmp_path / "a.h5").same_content(store)


def test_probes_are_forks_by_ids_and_never_enter_a_branch(tmp_path):
    path = tmp_path / "a.journal"
    with serving() as server:
        collect(server, path)
        asked = [body for body in server.asked if body["n_predict"] == 32]
    branches = {}
    for record, _ in read_journal(path):
        if record.kind == "branch":
            values = record.values
            branches[values["question"], values["branch"]] = record
            assert "".join(map(chr, record.arrays["ids"].tolist())) == values["text"] + chr(EOS)
            assert record.arrays["widths"].sum() == len(values["text"])
    expected = set()
    for (q, _), record in branches.items():
        ids = record.arrays["ids"].tolist()
        for at in range(8, len(ids), 8):
            expected.add((*map(ord, TASKS[q].text), *ids[:at], *map(ord, SUFFIX)))
    assert {tuple(body["prompt"]) for body in asked} == expected
    assert all(body["temperature"] == 0 and body["n_probs"] == 1 for body in asked)
    assert all("id_slot" in body for body in asked)


@pytest.mark.parametrize("kind", ["openai", "vllm"])
def test_wrong_usage_is_not_believed(kind, tmp_path):
    with serving(kind=kind) as server:
        server.fault = lambda number, prompt: "usage"
        outcome = collect(server, tmp_path / "a.journal")
    store = build(tmp_path / "a.journal").store
    assert outcome.index.accounts.branch_tokens == store.tokens.sum() < 12 * 400
    read = sum(len(each.text) * 4 for each in TASKS)  # the most that it can have been: a token a character
    assert outcome.index.accounts.branch_prompt_tokens == read
    assert outcome.index.accounts.unknown == 12 + sum(map(len, outcome.index.probes.values()))


def test_the_same_journal_gives_the_same_bytes(tmp_path):
    path = tmp_path / "a.journal"
    with serving() as server:
        collect(server, path)
    one, two = build(path).store.save(tmp_path / "1.h5"), build(path).store.save(tmp_path / "2.h5")
    assert one.read_bytes() == two.read_bytes()


def test_seeds_are_keyed_by_question_and_branch():
    seeds = {SETTINGS.branch_seed(question, branch) for question in "abc" for branch in range(100)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds.isdisjoint(replace(SETTINGS, seed=4).branch_seed("a", branch) for branch in range(100))


def test_an_interrupted_run_goes_on_and_asks_nothing_twice(server, tmp_path):
    whole, path = tmp_path / "whole.journal", tmp_path / "a.journal"
    collect(server, whole)
    needed = len(server.asked)
    for stop in (30, 70, 10**9):
        server.asked.clear()
        begun = len(Index.read(path).tokens) if path.exists() else 0
        server.fault = lambda number, prompt, stop=stop: "400" if number > stop else None
        if stop < 10**9:
            with pytest.raises(EndpointError, match=r"question \w, branch \d: .*no such sampler"):
                collect(server, path, limits=Limits(concurrency=1, patience=QUICK))
            assert len(Index.read(path).tokens) >= begun
        else:
            collect(server, path)
    assert content(build(path).store) == content(build(whole).store)
    server.asked.clear()
    collect(server, path)
    assert len(server.asked) < needed / 5  # only what the server can do was asked again
    assert not [body for body in server.asked if body.get("n_predict", body.get("max_tokens")) > 30]


def test_more_branches_extend_a_collection(tmp_path):
    path = tmp_path / "a.journal"
    with serving() as server:
        collect(server, path, replace(SETTINGS, branches=2))
        assert build(path).store.num_branches == 6
        collect(server, path)
    assert build(path).store.num_branches == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": 9}, "interval"),
        ({"seed": 4}, "seed"),
        ({"suffix": "so: {"}, "suffix"),
        ({"sampling": Sampling(temperature=0.1)}, r"sampling\.temperature"),
        ({"prompt": PromptForm(template="{{ question }}!")}, "template"),
    ],
)
def test_another_collection_is_refused(tmp_path, change, message):
    path = tmp_path / "a.journal"
    with serving() as server:
        collect(server, path, replace(SETTINGS, branches=1))
        data = path.read_bytes()
        with pytest.raises(JournalError, match=message):
            collect(server, path, replace(SETTINGS, branches=1, **change))
        with pytest.raises(JournalError, match="questions_sha256"):
            collect(server, path, replace(SETTINGS, branches=1), tasks=TASKS[:2])
        server.model = "other"
        with pytest.raises(JournalError, match="model"):
            collect(server, path, replace(SETTINGS, branches=1))
    assert path.read_bytes() == data


def test_shards_merged_are_one_run(server, tmp_path):
    whole = tmp_path / "whole.journal"
    collect(server, whole)
    paths = [tmp_path / f"{number}.journal" for number in (1, 2)]
    for number, path in enumerate(paths, 1):
        collect(server, path, shard=(number, 2))
        assert {q for q, _ in Index.read(path).tokens} == set(range(number - 1, 3, 2))
    merged = tmp_path / "merged.journal"
    with pytest.raises(JournalError, match="at least two"):
        merge_journals(paths[:1], merged)
    with pytest.raises(JournalError, match="each of the shards"):
        merge_journals([paths[0], paths[0]], merged)
    with pytest.raises(JournalError, match="each of the shards"):
        merge_journals([paths[0], whole], merged)
    assert not merged.exists()
    merge_journals(paths, merged)
    assert content(build(merged).store) == content(build(whole).store)
    assert sorted(file.name for file in tmp_path.iterdir() if "merged" in file.name) == ["merged.journal"]
    with pytest.raises(JournalError, match="expected no such file"):
        merge_journals(paths, merged)


def test_shards_of_other_settings_are_no_shards(tmp_path):
    with serving() as server:
        collect(server, tmp_path / "1.journal", shard=(1, 3))
        collect(server, tmp_path / "2.journal", replace(SETTINGS, seed=9), shard=(2, 3))
        collect(server, tmp_path / "3.journal", shard=(3, 3))
    with pytest.raises(JournalError, match="seed"):
        merge_journals([tmp_path / "1.journal", tmp_path / "2.journal"], tmp_path / "m.journal")
    with pytest.raises(JournalError, match="2/3"):
        merge_journals([tmp_path / "1.journal", tmp_path / "3.journal"], tmp_path / "m.journal")
    merged = merge_journals([tmp_path / "1.journal", tmp_path / "3.journal"], tmp_path / "m.journal", partial=True)
    assert len(merged.tokens) == 8


@pytest.mark.parametrize("fault", ["429", "500", "cut", "garbage", "error", "hang"])
def test_failures_never_become_answers(fault, tmp_path):
    path, whole = tmp_path / "a.journal", tmp_path / "whole.journal"
    with serving() as server:
        collect(server, whole)
        seen: set[int] = set()

        def some(number: int, prompt: str) -> str | None:
            if number % 7 == 3 and number not in seen and number < (12 if fault == "hang" else 10**6):
                seen.add(number)
                return fault
            return None

        server.fault = some

        async def work() -> None:
            async with await open_endpoint(server.address, patience=QUICK, timeout=0.7) as endpoint:
                server.asked.clear()
                found = await QUICK.call(endpoint.capabilities)
                limits = Limits(concurrency=4, patience=replace(QUICK, retries=12))  # requests fail in rows by chance
                await run(endpoint, found, path, SETTINGS, TASKS, benchmark="bench", limits=limits)

        asyncio.run(work())
    assert seen
    assert content(build(path).store) == content(build(whole).store)


def test_truncated_branches_say_so_and_have_no_final_answer(server, tmp_path):
    path = tmp_path / "a.journal"
    collect(server, path, replace(SETTINGS, max_tokens=30))
    built = build(path)
    long = [len(branch_text(t.text, SETTINGS.branch_seed(t.id, b))) + 1 > 30 for t in TASKS for b in range(4)]
    assert built.truncated == sum(long) > 0
    assert (built.store.finals < 0).tolist() == long
    assert built.store.attributes["truncated"] == sum(long)
    assert set(built.store.attributes["finish"]) <= {"length", "stop"}


@pytest.mark.parametrize("kind", ["llama.cpp", "vllm", "openai"])
def test_the_context_ends_a_branch(kind, tmp_path):
    path = tmp_path / "a.journal"
    with serving(kind=kind, context=len(TASKS[0].text) + len(SUFFIX) + 32 + 30 + 8) as server:
        collect(server, path)
    built = build(path)
    assert "context" in built.store.attributes["finish"]
    assert built.truncated > 0


def test_questions_without_room_are_left_out_and_the_others_go_on(tmp_path):
    path = tmp_path / "a.journal"
    tasks = [Task("long", "L" * 380, "1"), *TASKS]
    with serving(context=400) as server:
        outcome = collect(server, path, tasks=tasks)
        asked = len(server.asked)
        collect(server, path, tasks=tasks)
        assert len(server.asked) - asked < 10  # nothing is asked twice, only what the server can do
    assert set(outcome.index.refused) == {(0, branch) for branch in range(4)}
    assert "expected room for a branch" in outcome.index.refused[0, 0]
    built = build(path)
    assert (built.refused, built.questions, built.store.num_branches) == (4, 1, 12)


@pytest.mark.parametrize("kind", ["openai", "text"])
def test_a_long_question_does_not_shorten_the_others(kind, tmp_path):
    """Of text nobody knows the tokens: the limit is halved until it fits, for this question alone."""
    tasks = [Task("long", "L" * 300, "1"), *TASKS]
    options = {"kind": "vllm", "ids": False} if kind == "text" else {"kind": kind}
    with serving(context=400, **options) as server:
        outcome = collect(server, tmp_path / "a.journal", tasks=tasks, limits=Limits(concurrency=1, patience=QUICK))
    assert not outcome.index.refused
    finishes = {}
    for record, _ in read_journal(tmp_path / "a.journal"):
        if record.kind == "branch":
            finishes.setdefault(record.values["question"], set()).add(record.values["finish"])
    assert finishes.pop(0) <= {"context", "stop"}
    assert set.union(*finishes.values()) == {"stop"}


def test_what_another_model_wrote_is_not_used(tmp_path, monkeypatch):
    whole, path = tmp_path / "whole.journal", tmp_path / "a.journal"
    one = Limits(concurrency=1, patience=QUICK)
    with serving(kind="vllm") as server:
        collect(server, whole)
        first = scripted.branch_text

        def swap(number: int, prompt: str) -> None:
            if path.exists() and server.context == 4096 and len(Index.read(path).tokens) == 3:
                server.context = 2048
                monkeypatch.setattr(scripted, "branch_text", lambda prompt, seed: "Mine is \\boxed{999}.")

        server.fault = swap
        with pytest.raises(ModelChangedError, match="left out"):
            collect(server, path, limits=one)
        kept = Index.read(path)
        assert not kept.tokens  # nobody had looked at the server yet
        assert kept.accounts.branch_tokens > 0
        monkeypatch.setattr(scripted, "branch_text", first)
        server.context, server.fault = 4096, lambda number, prompt: None
        collect(server, path, limits=one)
    assert content(build(path).store) == content(build(whole).store)
    assert "999" not in str(content(build(path).store)["answers"])


@pytest.mark.parametrize("kind", ["llama.cpp", "vllm", "openai"])
def test_no_budget_is_passed_over_several_runs(kind, tmp_path, monkeypatch):
    """Tokens of broken streams count, whichever run they were lost in."""
    with serving(kind=kind) as server:
        generated = 0
        piece = server._piece

        def counted(body: Any, prompt: str, each: int, place: int) -> dict[str, Any]:
            nonlocal generated
            generated += any(prompt.startswith(task.text) for task in TASKS)
            return piece(body, prompt, each, place)

        monkeypatch.setattr(server, "_piece", counted)
        server.fault = lambda number, prompt: "cut" if prompt.startswith("How") else None
        limits = Limits(concurrency=2, tokens=60, patience=replace(QUICK, retries=0))
        for _ in range(15):
            with contextlib.suppress(EndpointError):
                collect(server, tmp_path / "a.journal", replace(SETTINGS, max_tokens=20), probe=False, limits=limits)
    lost = Index.read(tmp_path / "a.journal").accounts
    assert 0 < generated <= 60
    assert generated - 10 <= lost.generated <= generated  # a stream that is cut has tokens on their way
    assert lost.lost_prompt_tokens > 0


@pytest.mark.parametrize("kind", ["llama.cpp", "vllm", "openai"])
def test_no_budget_of_money_is_passed_where_reading_costs(kind, tmp_path):
    read = 0

    def count(number: int, prompt: str) -> str | None:
        nonlocal read
        if any(prompt.startswith(task.text) for task in TASKS):
            read += len(prompt)
            return "cut" if number % 9 == 5 else None
        return None

    with serving(kind=kind) as server:
        server.fault = count
        limits = Limits(concurrency=1, usd=4.0, price=Price(input=1000.0, cached=1000.0, output=0.0), patience=QUICK)
        outcome = collect(server, tmp_path / "a.journal", replace(SETTINGS, max_tokens=100), limits=limits)
    assert outcome.stopped
    assert 1.5 < read / 1000 <= 4


@pytest.mark.parametrize("tokens", [8, 32])
@pytest.mark.parametrize("kind", ["llama.cpp", "vllm", "openai"])
def test_an_answer_ends_at_its_brace_for_every_extractor(kind, tokens, tmp_path, monkeypatch):
    answer = scripted.next_text

    def more(prompt: str, seed: int) -> str:
        return "4} or 7, \\boxed{9}" if prompt.endswith(SUFFIX) else answer(prompt, seed)

    monkeypatch.setattr(scripted, "next_text", more)
    path = tmp_path / "a.journal"
    with serving(kind=kind) as server:
        collect(server, path, replace(SETTINGS, probe_tokens=tokens))
    for extract in ("number", "boxed"):
        store = build(path, extract=extract).store
        shown = {store.answers(q)[a] for q, a in _probed(store)}
        assert shown == {"4"}


def _probed(store: ReplayStore) -> set[tuple[int, int]]:
    """The answers that probes show, with their questions."""
    questions = np.repeat(np.arange(store.num_questions), np.diff(store.branch_offsets))
    rows = np.repeat(questions, np.diff(store.probe_offsets))
    return set(zip(rows.tolist(), store.probes.tolist(), strict=True))


def test_shards_that_are_not_complete_are_no_shards(tmp_path):
    paths = [tmp_path / f"{number}.journal" for number in (1, 2)]
    merged = tmp_path / "m.journal"
    with serving() as server:
        collect(server, paths[0], shard=(1, 2))
        collect(server, paths[1], shard=(2, 2), dry=True)
        with pytest.raises(JournalError, match="dry runs only"):
            merge_journals(paths, merged)
        collect(server, paths[1], replace(SETTINGS, branches=2), shard=(2, 2))
        with pytest.raises(JournalError, match="branches: expected 4, as the first shard has, got 2"):
            merge_journals(paths, merged)
        collect(server, paths[1], shard=(2, 2), limits=Limits(concurrency=1, tokens=300, patience=QUICK))
        with pytest.raises(JournalError, match=r"expected 4 branches with their probes, but \d are not there yet"):
            merge_journals(paths, merged)
        assert len(merge_journals(paths, merged, partial=True).tokens) >= 8
        collect(server, paths[1], shard=(2, 2))
    merged.unlink()
    assert len(merge_journals(paths, merged).tokens) == 12


def test_the_answer_of_a_logged_branch_is_behind_its_thinking(tmp_path):
    texts = ["<think>It is \\boxed{7}.</think> So it is \\boxed{5}.", "<think>first \\boxed{9}</think> I do not know."]
    path = tmp_path / "a.journal"
    with serving() as server:
        collect(server, path, tasks=TASKS[:1], sample=False, logs={0: [LogBranch(text) for text in texts]})
    store = build(path).store
    assert [store.answer(0, final) if final >= 0 else None for final in store.finals.tolist()] == ["5", None]


def test_probes_at_other_intervals_and_none(tmp_path):
    path = tmp_path / "a.journal"
    with serving() as server:
        collect(server, path, replace(SETTINGS, probes=0), probe=False)
        assert len(Index.read(path).probes) == 0
        bare = build(path).store
        assert not bare.has_probes
        collect(server, path, replace(SETTINGS, probes=2))
        second = build(path).store
        collect(server, path)
        every = build(path).store
    assert bare.tokens.tolist() == second.tokens.tolist() == every.tokens.tolist()
    assert (second.interval_tokens, every.interval_tokens) == (16, 8)
    assert content(build(path, probes=2).store) == content(second)
    assert content(build(path, probes=0).store) == content(bare)
    for branch in range(every.num_branches):
        q = branch // 4
        mine = [every.answer(q, a) for a in every.probes[slice(*every.probe_offsets[branch : branch + 2])]]
        theirs = [second.answer(q, a) for a in second.probes[slice(*second.probe_offsets[branch : branch + 2])]]
        assert mine[1::2] == theirs


def test_another_extractor_needs_no_model(tmp_path):
    path = tmp_path / "a.journal"
    with serving() as server:
        collect(server, path)
    store = build(path, extract="regex:Perhaps it is (\\d+)").store
    final = branch_text(TASKS[0].text, SETTINGS.branch_seed("a", 0)).split("Perhaps it is ")[-1].split(".")[0]
    assert store.answer(0, store.finals[0]) == final
    assert (store.probes < 0).all()  # the probes' own texts have no "Perhaps"
    with pytest.raises(AutottsError, match="extractor"):
        build(path, extract="none")


@pytest.mark.parametrize("limit", [{"tokens": 1700}, {"usd": 0.0065, "price": Price(1.0, 2.0, 0.5)}])
def test_a_budget_is_never_passed(limit, tmp_path):
    path = tmp_path / "a.journal"
    with serving() as server:
        tokens = {"n": 0}
        limits = Limits(concurrency=4, patience=QUICK, **limit)
        outcome = collect(server, path, replace(SETTINGS, max_tokens=150), limits=limits)
        assert outcome.stopped
        assert 0 < len(outcome.index.tokens) < 12
        accounts = outcome.index.accounts
        if "tokens" in limit:
            assert accounts.generated <= limit["tokens"]
        else:
            assert accounts.usd(limit["price"]) <= limit["usd"]
        assert all(
            outcome.index.ready(key, SETTINGS.positions(count)) for key, count in outcome.index.tokens.items()
        ), tokens
        outcome = collect(server, path, replace(SETTINGS, max_tokens=150))
        assert not outcome.stopped
        assert len(outcome.index.tokens) == 12


def test_a_model_that_changes_under_way_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(collector_module, "WATCH_SECONDS", 0.05)
    with serving(delay=0.002) as server:
        first = None

        def fault(number: int, prompt: str) -> None:
            nonlocal first
            first = number if first is None else first
            if number > first + 4:
                server.model = "another"

        server.fault = fault
        with pytest.raises(ModelChangedError, match="another: file changed"):
            collect(server, tmp_path / "a.journal")
    assert len(Index.read(tmp_path / "a.journal").tokens) < 12


def test_open_thinking_blocks_are_closed_before_a_probe(tmp_path):
    path = tmp_path / "a.journal"
    settings = replace(SETTINGS, prompt=PromptForm(thinking="on"), branches=1)
    with serving(chat=True) as server:
        collect(server, path, settings)
        asked = ["".join(map(chr, body["prompt"])) for body in server.asked if body["n_predict"] == 32]
    assert asked
    assert all(prompt.startswith("<user>") and "<assistant><think>\n" in prompt for prompt in asked)
    assert all(prompt.endswith("\n</think>\n" + SUFFIX) for prompt in asked)


def test_thinking_that_ended_is_not_closed_again(tmp_path, monkeypatch):
    import scripted

    text = "<think>\nPerhaps it is 7. \\boxed{1}</think>\nIt is \\boxed{40}."
    monkeypatch.setattr(scripted, "branch_text", lambda prompt, seed: text)
    path = tmp_path / "a.journal"
    with serving() as server:
        collect(server, path, replace(SETTINGS, branches=1))
        asked = ["".join(map(chr, body["prompt"])) for body in server.asked if body["n_predict"] == 32]
    end = text.index("</think>") + len("</think>")
    for prompt in asked:
        part = prompt[: -len(SUFFIX)].removesuffix("\n</think>\n")
        written = len(part) - len(next(task.text for task in TASKS if part.startswith(task.text)))
        closed = prompt.endswith("\n</think>\n" + SUFFIX)
        assert closed == (len("<think>") <= written < end), (written, prompt)
    store = build(path).store
    assert [store.answer(q, final) for q, final in enumerate(store.finals.tolist())] == ["40"] * 3


@pytest.mark.parametrize("server", ["llama.cpp", "vllm"], indirect=True)
def test_logs_are_probed(server, tmp_path):
    path = tmp_path / "a.journal"
    logs = {
        q: [LogBranch(branch_text(task.text, SETTINGS.branch_seed(task.id, b))) for b in range(4)]
        for q, task in enumerate(TASKS)
    }
    outcome = collect(server, path, sample=False, logs=logs)
    assert outcome.index.accounts.branch_tokens == 0
    logged = build(path).store
    collect(server, tmp_path / "b.journal")
    store = build(tmp_path / "b.journal").store
    assert (store.tokens - logged.tokens == 1).all()  # logs have no token that ends a branch
    assert [store.answer(i // 4, f) for i, f in enumerate(store.finals.tolist())] == [
        logged.answer(i // 4, f) for i, f in enumerate(logged.finals.tolist())
    ]
    assert not logged.signals or set(logged.signals) == {"certainty"}
    again = collect(server, path, sample=False, logs=logs)
    assert again.tokens == 0


def test_a_dry_run_keeps_what_it_asked(tmp_path):
    path = tmp_path / "a.journal"
    with serving() as server:
        outcome = collect(server, path, dry=True)
        assert len(outcome.index.tokens) == 3
        server.asked.clear()
        collect(server, path)
        sampled = [body for body in server.asked if body["n_predict"] > 300]
    assert len(sampled) == 9


def test_provenance_is_in_the_store(tmp_path):
    path = tmp_path / "a.journal"
    with serving() as server:
        collect(server, path)
    attributes = json.loads(json.dumps(dict(build(path, license_name="CC0").store.attributes)))
    assert attributes["server"] == "llama.cpp scripted"
    assert attributes["model_identity"]["file"] == "chars.gguf"
    assert attributes["sampling"]["temperature"] == 0.7
    assert attributes["license"] == "CC0"
    assert len(attributes["prompts_sha256"]) == len(attributes["suffix_ids_sha256"]) == 64
    assert attributes["dates"][0] <= attributes["dates"][1]
    accounts = attributes["accounts"]
    assert accounts["probe_tokens"] > 0
    assert accounts["probe_cached_tokens"] == accounts["probe_prompt_tokens"] - Index.read(path).accounts.to_dict().get(
        "unknown", 0
    ) - sum(len(each) for each in Index.read(path).probes.values())


def test_what_comes_while_the_model_is_looked_at_is_looked_at_the_next_time(tmp_path):
    path = tmp_path / "a.journal"
    with serving() as server:
        collect(server, path, replace(SETTINGS, branches=1, probes=0), tasks=TASKS[:2], probe=False)
    records = [record for record, _ in read_journal(path)]
    index, place = Index(path), 0
    for record in records:
        if record.kind == "checked":
            continue
        index.add(record, place := place + 1)
    assert len(index.tokens) == index.unchecked == 2
    index.add(Record("checked", {"newer": 1}), place := place + 1)
    index.add(Record("changed", {}), place + 1)
    assert list(index.tokens) == [next((r.values["question"], 0) for r in records if r.kind == "branch")]
    assert index.unchecked == 0

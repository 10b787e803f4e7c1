"""Variants of stores: half of each pool, stretched by a factor a question, right branches more or less often."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tinkerer import StandIn, Tinkerer, program
from tiny import begin

import agents.explorer.loop as loop
from agents import train as training
from agents.augment import augmented, variant
from agents.explorer.config import Config
from agents.explorer.folder import RunFolder
from autotts_gym import ReplayStore, evaluate, make_controller
from autotts_gym.replay import Branch, Question, build_store, synthesize

INTERVAL = 10
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def tagged(draw: st.DrawFn) -> ReplayStore:
    """A store whose probes say which branch they belong to and where they stand in it."""
    questions = []
    for q in range(draw(st.integers(1, 3))):
        pool = []
        for b in range(draw(st.integers(1, 9))):
            depth = draw(st.integers(1, 12))
            tokens = depth * INTERVAL + draw(st.integers(1 - min(INTERVAL, depth * INTERVAL), 25))
            final = draw(st.sampled_from(("right", "wrong", None)))
            pool.append(Branch([f"{b} {k}" for k in range(depth)], max(1, tokens), final))
        questions.append(Question(f"question {q}", "right", pool))
    return build_store(questions, model="m", benchmark="b", interval_tokens=INTERVAL)


def pool(store: ReplayStore, question: int) -> list[tuple[list[str | None], int, str | None]]:
    """Probes, tokens and final answer of every branch of a question."""
    found = []
    for branch in range(store.branch_offsets[question], store.branch_offsets[question + 1]):
        probes = store.probes[store.probe_offsets[branch] : store.probe_offsets[branch + 1]]
        texts = [store.answer(question, int(each)) if each >= 0 else None for each in probes]
        final = int(store.finals[branch])
        found.append((texts, int(store.tokens[branch]), store.answer(question, final) if final >= 0 else None))
    return found


def number(probes: list[str | None]) -> int:
    """The branch that probes come from."""
    assert probes[0] is not None
    return int(probes[0].split()[0])


@SOME
@given(tagged(), st.floats(0.3, 3.0), st.floats(0.0, 4.0), st.integers(0, 2**31))
def test_a_variant_is_half_of_each_pool_with_every_branch_stretched_alike(
    store: ReplayStore, stretch: float, tilt: float, seed: int
):
    made = variant(store, np.random.default_rng(seed), (stretch, stretch), tilt, "m~1")
    factor, limit = float(np.exp(np.log(stretch))), int(np.diff(store.probe_offsets).max())
    assert (made.model, made.benchmark, made.interval_tokens) == ("m~1", "b", INTERVAL)
    assert made.num_questions == store.num_questions
    for q in range(store.num_questions):
        assert made.answers(q) == store.answers(q)
        assert made.answer(q, int(made.gold[q])) == "right"
        before, after = pool(store, q), pool(made, q)
        assert len(after) == max(1, len(before) // 2)
        numbers = [number(probes) for probes, _, _ in after]
        assert len(set(numbers)) == len(numbers)
        for b, (probes, tokens, final) in zip(numbers, after, strict=True):
            old, old_tokens, old_final = before[b]
            length = max(1, round(len(old) * factor))
            assert probes == [old[min(len(old) - 1, int(k / factor))] for k in range(min(length, limit))]
            if length > limit:  # cut off where the longest branches of the model were
                assert (tokens, final) == (limit * INTERVAL, probes[-1])
            else:
                assert (tokens, final) == (max(1, (length - len(old)) * INTERVAL + old_tokens), old_final)


@SOME
@given(tagged(), st.integers(0, 2**31))
def test_without_tilt_and_stretch_it_is_a_part_of_the_pool_as_it_was(store: ReplayStore, seed: int):
    made = variant(store, np.random.default_rng(seed), (1.0, 1.0), 0.0, "m~1")
    for q in range(store.num_questions):
        before = pool(store, q)
        for branch in pool(made, q):
            assert branch == before[number(branch[0])]


def test_each_question_draws_a_factor_of_its_own_from_the_range():
    questions = [Question("", "right", [Branch([f"0 {k}" for k in range(40)], 400, "right")] * 2) for _ in range(60)]
    questions.append(Question("", "right", [Branch(["0 0"] * 200, 2000, "right")]))  # what lengths are capped by
    store = build_store(questions, model="m", benchmark="b", interval_tokens=INTERVAL)
    made = variant(store, np.random.default_rng(0), (0.5, 2.0), 0.0, "m~1")
    factors = np.diff(made.probe_offsets)[:-1] / 40
    assert 0.5 <= factors.min() < 0.6
    assert 1.7 < factors.max() <= 2.0
    assert 0.3 < np.mean(factors < 1) < 0.7  # log-uniform: as often shorter as longer


def test_tilt_draws_right_branches_more_often_on_some_questions_and_less_often_on_others():
    sides = [Branch(["right"], 5, "right")] * 20 + [Branch(["wrong"], 5, "wrong")] * 20
    store = build_store([Question("", "right", sides)] * 200, model="m", benchmark="b", interval_tokens=INTERVAL)

    def shares(tilt: float) -> np.ndarray:
        made = variant(store, np.random.default_rng(0), (1.0, 1.0), tilt, "m~1")
        right: np.ndarray = (made.finals.reshape(200, 20) == made.gold[:, None]).mean(axis=1)
        return right

    none, some, much = (shares(tilt) for tilt in (0.0, 1.0, 1000.0))
    assert [abs(each.mean() - 0.5) < 0.04 for each in (none, some)] == [True, True]
    assert none.std() < 0.12 < 0.16 < some.std()
    assert np.mean((much == 0) | (much == 1)) > 0.95
    assert 0.4 < much.mean() < 0.6


@pytest.fixture(scope="module")
def stores() -> list[ReplayStore]:
    return [synthesize(5, 12, seed=seed, model=model, benchmark="x") for seed, model in ((1, "a"), (2, "b"))]


def test_the_stores_come_first_and_the_same_seed_gives_the_same_variants(stores: list[ReplayStore]):
    made, twin, other = (augmented(stores, 2, seed) for seed in (3, 3, 4))
    assert [store.name for store in made] == ["a/x", "b/x", "a~1/x", "b~1/x", "a~2/x", "b~2/x"]
    assert all(one is store for one, store in zip(made, stores, strict=False))
    assert all(one.same_content(same) for one, same in zip(made, twin, strict=True))
    drawn = [*made[2:], *other[2:]]
    assert not any(one.same_content(two) for i, one in enumerate(drawn) for two in drawn[:i])
    assert augmented(stores, 0) == stores
    assert made[2].attributes["variant"] == {"stretch": [0.8, 1.6], "tilt": 1.0}


def test_a_variant_is_a_store_like_any_other(stores: list[ReplayStore], tmp_path: Path):
    made = augmented(stores, 1)[2]
    kept = ReplayStore.load(made.save(tmp_path / "variant.h5"))
    assert kept.same_content(made)
    controller = make_controller("cmc", beta=0.5)
    results = [evaluate(controller, store, seeds=range(3), max_branches=8) for store in (made, kept)]
    assert results[0].total_tokens.tolist() == results[1].total_tokens.tolist()
    assert results[0].branches_opened.max() <= 6


def test_a_training_plays_variants_and_is_evaluated_on_real_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: dict[str, list[ReplayStore]] = {}
    make_vec_env, conductor = training.make_vec_env, training.Conductor

    def env_of(*arguments: Any, **values: Any) -> Any:
        seen["trained"] = values["store"]
        return make_vec_env(*arguments, **values)

    def conductor_of(run: Any, counters: Any, env: Any, validation: Any, *more: Any) -> Any:
        seen["validated"] = list(validation)
        assert more[1]["trained_on"] == ["tiny/search"]
        return conductor(run, counters, env, validation, *more)

    monkeypatch.setattr(training, "make_vec_env", env_of)
    monkeypatch.setattr(training, "Conductor", conductor_of)
    run = begin(tmp_path, variants=2, total_steps=256)
    assert training.train(run) == 0
    assert [line["steps"] for line in run.evaluations()] == [0, 256]
    names = [store.name for store in seen["trained"]]
    assert names == ["tiny/search", "tiny~1/search", "tiny~2/search"]
    assert [store.name for store in seen["validated"]] == ["tiny/search"]
    questions = {store.num_questions for store in seen["trained"]}
    assert questions == {30 - seen["validated"][0].num_questions} == {27}


def test_a_search_judges_on_variants_of_each_side_of_its_split(stores: list[ReplayStore], tmp_path: Path):
    config = Config(variants=1, validation=0.4)
    terms = loop.terms_of(RunFolder(tmp_path, config), stores)
    for part, questions in ((terms.search, 3), (terms.held, 2)):
        assert [store.name for store in part] == ["a/x", "b/x", "a~1/x", "b~1/x"]
        assert [store.num_questions for store in part] == [questions] * 4
        for real, made in zip(part[:2], part[2:], strict=True):
            assert [made.answers(q) for q in range(questions)] == [real.answers(q) for q in range(questions)]
    alone = loop.terms_of(RunFolder(tmp_path, config.updated({"validation": 0.0})), stores)
    assert [store.num_questions for store in alone.search] == [5] * 4
    assert alone.held == ()


def test_a_search_on_variants_runs_and_goes_on(
    stores: list[ReplayStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop, "Judge", StandIn)
    paths = tuple(str(store.save(tmp_path / f"{store.model}.h5")) for store in stores)
    (tmp_path / "first.py").write_text(program(2, 10, 0.7))
    config = Config(
        stores=paths, programs=(str(tmp_path / "first.py"),), variants=1, validation=0.4, rounds=1, proposals=2,
        seeds=2, betas=3, screen_betas=2, screen_seeds=1, resamples=40, progress=False, workers=1,
    )  # fmt: skip
    run = RunFolder(tmp_path / "run", config)
    assert loop.explore(run, Tinkerer()) == "rounds"
    again = RunFolder.open(run.path)
    again.config = again.config.updated({"rounds": 2})
    assert loop.explore(again, Tinkerer()) == "rounds"
    assert len(again.records()) == 5

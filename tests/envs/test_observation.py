"""What is observed: every feature against its meaning, the space, and what must not change it."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from players import assert_equal, pick, small, weighted_votes
from reference import ACTIVE, FINISHED, PRUNED, Episode, newest_run
from scipy.stats import beta
from worlds import World, rules, worlds

from autotts_gym.engine import Rules
from autotts_gym.envs.single import ReplayEnv
from autotts_gym.observation import branches, evidence, pool
from autotts_gym.replay import Branch, Question, ReplayStore, pool_order
from autotts_gym.replay.columns import Columns, StringTable

SOME = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SEEDS = st.integers(0, 2**31)


def arguments(laws: Rules) -> dict[str, Any]:
    keys = ("max_branches", "token_budget", "probe", "probe_cost", "accounting", "max_steps")
    return {key: getattr(laws, key) for key in keys}


def squash(x: float, scale: float) -> float:
    return x / (x + scale)


def share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def confidence(top: int, second: int) -> float:
    return 1 - beta.cdf(0.5, top + 1, second + 1) if top else 0.0


def on(active: list[Any], answer: Any) -> float:
    """Share of the active branches whose latest answer it is."""
    return share(sum(answer is not None and s.answer == answer for s in active), len(active))


def pool_features(model: Episode, cost_weight: float, latency_weight: float) -> dict[str, float]:
    """The pool's features from the model of the episode, by their documented meanings."""
    m, interval, left = model.rules.max_branches, model.interval, model.left
    votes = Counter(s.answer for s in model.slots if s.status != PRUNED and s.answer is not None)
    done = Counter(s.answer for s in model.having(FINISHED) if s.answer is not None)
    first, second, *_ = [*sorted(votes.values(), reverse=True), 0, 0]
    top, runner_up, *_ = [*sorted(done.values(), reverse=True), 0, 0]
    active, finished = model.having(ACTIVE), model.having(FINISHED)
    budget = model.rules.token_budget
    leaders = (model.leader, model.finished_leader)
    return {
        "spent": squash(model.total, 500_000),
        "spent_sequential": squash(model.sequential, 20_000),
        "cost_paid": min(1.0, (cost_weight * model.total + latency_weight * model.sequential) / 1e6),
        "budget_left": 1.0 if budget is None else share(left, budget),
        "opened": len(model.slots) / m,
        "active": len(active) / m,
        "finished": len(finished) / m,
        "pruned": len(model.having(PRUNED)) / m,
        "can_open": float(model.mask()[1]),
        "top_share": share(first, votes.total()),
        "runner_up_share": share(second, votes.total()),
        "confidence": confidence(first, second),
        "distinct": share(len(votes), votes.total()),
        "finished_top_share": share(top, done.total()),
        "finished_runner_up_share": share(runner_up, done.total()),
        "finished_confidence": confidence(top, runner_up),
        "finished_distinct": share(len(done), done.total()),
        "leaders_agree": float(None not in leaders and leaders[0] == leaders[1]),
        "active_on_leader": on(active, model.leader),
        "active_on_finished_leader": on(active, model.finished_leader),
        "finished_margin": (top - runner_up) / m,
        "leader_held": squash(model.total - model.leader_since, 50_000),
        "finished_leader_held": squash(len(finished) - model.finished_since, 8),
        "active_depth": squash(share(sum(s.depth for s in active) * interval, len(active)), 10_000),
        "finished_depth": squash(share(sum(s.depth for s in finished) * interval, len(finished)), 10_000),
        "deepest": squash(max((s.depth for s in model.slots), default=0) * interval, 10_000),
        "active_stability": squash(share(sum(newest_run(s.revealed) for s in active), len(active)), 8),
        "cost_weight": squash(cost_weight, 0.25),
        "latency_weight": squash(latency_weight, 1.0),
    }


def evidence_features(model: Episode, cost_weight: float, latency_weight: float) -> dict[str, float]:
    """The evidence from the model of the episode, by its documented meanings."""
    m, interval, shown = model.rules.max_branches, model.interval, pool_features(model, cost_weight, latency_weight)
    active, finished = model.having(ACTIVE), model.having(FINISHED)
    votes = weighted_votes(model)
    top, second, *_ = [*votes.values(), 0.0, 0.0]
    leader = next(iter(votes), None)
    depths = np.array([s.depth for s in finished], float)
    mean = depths.mean() if finished else 0.0
    active_depth = share(sum(s.depth for s in active), len(active))
    length = mean if finished else max((s.depth for s in model.slots), default=0)
    rows = [model.slot_fields(i) for i, s in enumerate(model.slots) if s.status == ACTIVE]
    kept = ("cost_weight", "latency_weight", "finished_top_share", "finished_confidence", "finished_distinct")
    kept += ("finished_leader_held", "active_on_leader", "finished_depth", "active_depth", "active_stability")
    own = {
        "price": squash(cost_weight * length * interval / 1e6, 0.005),
        "opened": len(model.slots) / m,
        "can_open": float(model.mask()[1]),
        "active": squash(len(active), 8),
        "finished": squash(len(finished), 8),
        "weighted_top_share": share(top, sum(votes.values())),
        "weighted_runner_up_share": share(second, sum(votes.values())),
        "weighted_margin": squash(top - second, 4),
        "leaders_agree": float(leader is not None and leader == model.finished_leader),
        "active_on_weighted_leader": on(active, leader) if leader is not None else 0.0,
        "finished_deviation": squash(share(depths.std() if finished else 0.0, mean), 1),
        "active_ahead": share(active_depth, active_depth + mean),
        "overdue": share(sum(bool(finished) and s.depth > 1.5 * mean for s in active), len(active)),
        "stubborn": share(sum(row["off_leader"] >= 24 for row in rows), len(active)),
    }
    every = {**own, **{name: shown[name] for name in kept}}
    return {feature.name: every.pop(feature.name) for feature in evidence.FEATURES}


def branch_features(model: Episode, i: int) -> dict[str, float]:
    if i >= len(model.slots):
        return {feature.name: 0.0 for feature in branches.FEATURES}
    slot, fields = model.slots[i], model.slot_fields(i)
    votes = [s.answer for s in model.slots if s.status != PRUNED and s.answer is not None]
    done = [s.answer for s in model.having(FINISHED) if s.answer is not None]
    known = slot.answer is not None
    return {
        "active": float(slot.status == ACTIVE),
        "finished": float(slot.status == FINISHED),
        "pruned": float(slot.status == PRUNED),
        "depth": squash(slot.depth * model.interval, 10_000),
        "agrees": float(known and slot.answer == model.leader),
        "agrees_finished": float(known and slot.answer == model.finished_leader),
        "vote_share": share(votes.count(slot.answer), len(votes)) if known else 0.0,
        "finished_share": share(done.count(slot.answer), len(done)) if known else 0.0,
        "stability": squash(fields["run"], 8),
        "changes": share(fields["changes"], fields["revealed"]),
        "off_leader": squash(fields["off_leader"], 8),
        "finished_early": 1 - slot.rank / model.rules.max_branches if slot.status == FINISHED else 0.0,
    }


def assert_close(observed: np.ndarray, expected: dict[str, float], names: list[str]) -> None:
    assert list(expected) == names
    for name, value in zip(names, observed.tolist(), strict=True):
        assert value == pytest.approx(expected[name], abs=3e-6), name


@SOME
@given(st.data(), worlds(), SEEDS, st.floats(0, 1e5), st.floats(0, 1e5))
def test_every_feature_has_its_documented_meaning(
    data: st.DataObject, world: World, seed: int, cost_weight: float, latency_weight: float
):
    laws = data.draw(rules(world.interval, auto_stop=True))
    env = ReplayEnv(world.store(), cost_weight=cost_weight, latency_weight=latency_weight, **arguments(laws))
    question = world.questions[0]
    order = pool_order(3, len(question.branches))
    model = Episode([question.branches[k] for k in order], question.gold, world.interval, laws)
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=0, options={"question": 0, "branch_seed": 3})
    pool_names, branch_names = [f.name for f in pool.FEATURES], [f.name for f in branches.FEATURES]
    for _ in range(30):
        assert_close(observation["pool"], pool_features(model, cost_weight, latency_weight), pool_names)
        rows = observation["branches"].reshape(laws.max_branches, -1)
        for i in range(laws.max_branches):
            assert_close(rows[i], branch_features(model, i), branch_names)
        if model.reason != "running":
            break
        action = pick(rng, info["action_mask"])
        observation, _, terminated, truncated, info = env.step(action)
        model.act(action)
        assert (terminated or truncated) == (model.reason != "running")


@SOME
@given(st.data(), worlds(pool=12, longest=12), SEEDS, st.floats(0, 1e5), st.floats(0, 1e5))
def test_the_evidence_has_its_documented_meaning(
    data: st.DataObject, world: World, seed: int, cost_weight: float, latency_weight: float
):
    laws = data.draw(rules(world.interval, auto_stop=True))
    weights = {"cost_weight": cost_weight, "latency_weight": latency_weight}
    env = ReplayEnv(world.store(), observation="evidence", **weights, **arguments(laws))
    question = world.questions[0]
    order = pool_order(3, len(question.branches))
    model = Episode([question.branches[k] for k in order], question.gold, world.interval, laws)
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=0, options={"question": 0, "branch_seed": 3})
    names = [feature.name for feature in evidence.FEATURES]
    for _ in range(40):
        assert env.observation_space.contains(observation)
        assert_close(observation, evidence_features(model, **weights), names)
        if model.reason != "running":
            break
        action = pick(rng, info["action_mask"])
        observation, *_, info = env.step(action)
        model.act(action)


def test_every_feature_is_documented_once():
    for module in (pool, branches, evidence):
        names = [feature.name for feature in module.FEATURES]
        assert len(set(names)) == len(names)
        assert all(feature.meaning for feature in module.FEATURES)
    env = ReplayEnv(small(), max_branches=3)
    assert env.observation_space["pool"].shape == (len(pool.FEATURES),)
    assert env.observation_space["branches"].shape == (3 * len(branches.FEATURES),)


@SOME
@given(st.data(), worlds(), SEEDS)
def test_observations_stay_in_their_space_and_the_three_kinds_agree(data: st.DataObject, world: World, seed: int):
    laws = arguments(data.draw(rules(world.interval)))
    weights = data.draw(st.sampled_from([(0.0, 0.0), (1e300, 1e300), (0.25, 0.1)]))
    store = world.store()
    envs = {
        kind: ReplayEnv(store, observation=kind, cost_weight=weights[0], latency_weight=weights[1], **laws)
        for kind in ("dict", "flat", "pool")
    }
    rng = np.random.default_rng(seed)
    results = {kind: env.reset(seed=seed) for kind, env in envs.items()}
    for _ in range(25):
        for kind, env in envs.items():
            assert env.observation_space.contains(results[kind][0]), kind
        both = results["dict"][0]
        assert_equal(results["pool"][0], both["pool"])
        assert_equal(results["flat"][0], np.concatenate([both["pool"], both["branches"].ravel()]))
        for kind in ("flat", "pool"):
            assert_equal(list(results[kind][1:]), list(results["dict"][1:]))
        if len(results["dict"]) == 5 and (results["dict"][2] or results["dict"][3]):
            break
        action = pick(rng, results["dict"][-1]["action_mask"])
        results = {kind: env.step(action) for kind, env in envs.items()}


def test_observations_stay_in_their_space_in_long_wide_episodes():
    rng = np.random.default_rng(0)
    pool = [
        Branch([f"a{rng.integers(6)}" for _ in range(rng.integers(1, 200))], int(rng.integers(1, 10**8)), "a0")
        for _ in range(70)
    ]
    env = ReplayEnv(World(4000, (Question("q", "a0", pool),)).store(), max_branches=64, cost_weight=5.0)
    _, info = env.reset(seed=0)
    for _ in range(3000):
        observation, _, terminated, _, info = env.step(pick(rng, info["action_mask"], stops=0.0))
        assert env.observation_space.contains(observation)
        if terminated:
            break


# --------------------------------------------------------------------------------------- what must change nothing seen


def everything_seen(env: ReplayEnv, actions: list[float], seed: int, **options: Any) -> list[Any]:
    """All that an agent sees of one episode of scripted actions, raw state included, but for the answer's text."""
    observation, info = env.reset(seed=seed, options=options)
    steps: list[Any] = [observation, info]
    for choice in actions:
        good = np.flatnonzero(info["action_mask"])
        # Out of [0, 1): an admissible action other than STOP; else any action.
        action = int(good[1:][int(choice * (len(good) - 1))]) if len(good) > 1 and choice < 1 else int(choice)
        observation, reward, terminated, truncated, info = env.step(action % len(info["action_mask"]))
        steps.append([observation, reward, terminated, truncated, info, revealed(env)])
        if terminated or truncated:
            break
    return steps


def revealed(env: ReplayEnv) -> list[Any]:
    seen = env.revealed
    answers = int(seen.pools["answers_seen"][0])
    opened = int(seen.pools["opened"][0])
    return [
        seen.pools.tolist(),
        seen.slots.tolist(),
        seen.votes[:, :answers].tolist(),
        seen.finished_votes[:, :answers].tolist(),
        seen.abandoned[:, :answers].tolist(),
        seen.arrays.answers["finished_depth"][:, :answers].tolist(),
        seen.arrays.finished_answers.tolist(),
        seen.admissible.tolist(),
        [seen.history(0, i).tolist() for i in range(opened)],
        [env._episodes.state.answer_text(0, k) for k in range(answers)],
    ]


def scripts(length: int = 20) -> st.SearchStrategy[list[float]]:
    return st.lists(st.one_of(st.floats(0, 1, exclude_max=True), st.integers(1, 40).map(float)), max_size=length)


def renumbered(store: ReplayStore, rng: np.random.Generator, rename: bool) -> ReplayStore:
    """The same store with its answer ids permuted within each question, and its strings changed if asked."""
    probes, finals, gold = store.probes.copy(), store.finals.copy(), store.gold.copy()
    tables: list[str] = []
    for q in range(store.num_questions):
        table = store.answers(q)
        order = rng.permutation(len(table))
        new = np.empty(len(table) + 1, np.int32)
        new[order], new[-1] = np.arange(len(table)), -1
        low, high = store.branch_offsets[q : q + 2]
        rows = slice(store.probe_offsets[low], store.probe_offsets[high])
        probes[rows], finals[low:high], gold[q] = new[probes[rows]], new[finals[low:high]], new[gold[q]]
        tables += [f"{k}#{table[k]}" if rename else table[k] for k in order]
    return ReplayStore(
        Columns(
            branch_offsets=store.branch_offsets,
            probe_offsets=store.probe_offsets,
            answer_offsets=store.answer_offsets,
            probes=probes,
            tokens=store.tokens,
            finals=finals,
            gold=gold,
        ),
        StringTable.of("answers", tables),
        StringTable.of("questions", store.questions),
        model=store.model,
        benchmark=store.benchmark,
        interval_tokens=store.interval_tokens,
    )


def without_texts(transcript: Any) -> Any:
    """Transcripts without answers' strings."""
    steps = [transcript[0], transcript[1]]
    for observation, reward, terminated, truncated, info, state in transcript[2:]:
        info = {key: value for key, value in info.items() if key != "answer"}
        steps.append([observation, reward, terminated, truncated, info, state[:-1]])
    return steps


@SOME
@given(st.data(), worlds(), scripts(), SEEDS)
def test_permuting_and_renaming_stored_answers_changes_nothing_but_their_strings(
    data: st.DataObject, world: World, script: list[float], seed: int
):
    laws = arguments(data.draw(rules(world.interval)))
    rng = np.random.default_rng(seed)
    store = world.store()
    original = everything_seen(ReplayEnv(store, **laws), [*script, 1e9], seed)
    permuted = everything_seen(ReplayEnv(renumbered(store, rng, False), **laws), [*script, 1e9], seed)
    assert_equal(original, permuted)
    renamed = everything_seen(ReplayEnv(renumbered(store, rng, True), **laws), [*script, 1e9], seed)
    assert_equal(without_texts(original), without_texts(renamed))


def altered(world: World, env: ReplayEnv, question: int, rng: np.random.Generator) -> World:
    """The world with everything changed that the episode of an environment has not revealed."""
    state = env._episodes.state
    auto, exact = state.rules.probe == "auto", state.rules.accounting == "exact"
    interval, pool = world.interval, list(world.questions[question].branches)
    first = int(state.arrays.hidden_pools["first_branch"][0])
    opened = int(state.pools["opened"][0])
    held = {int(state.arrays.hidden_slots["branch"][0, i]) - first: i for i in range(opened)}
    assert len(held) == opened

    def answer() -> str | None:
        return str(rng.choice(["a", "b", "zz", "yy"])) if rng.random() < 0.8 else None

    def other(branch: Branch, i: int | None) -> Branch:
        if i is None:
            probes = [answer() for _ in range(rng.integers(1, 8))]
            return Branch(probes, int(rng.integers(1, 10 * interval)), answer())
        slot, total = state.slots[0, i], branch.tokens
        depth = int(slot["depth"])
        seen = [auto or bool(state.arrays.probed[0, i, k]) for k in range(depth)]
        probes = [branch.probes[k] if seen[k] else answer() for k in range(depth)]
        if slot["status"] == FINISHED:
            return Branch(probes, total, branch.final)
        extra = int(rng.integers(0, 4))
        intervals = (
            sum(min(interval, max(0, total - k * interval)) for k in range(depth)) if exact else depth * interval
        )
        tried = int(slot["tokens"]) - intervals - sum(seen) * (0 if auto else state.rules.probe_cost)
        if tried > 0:  # a finishing step that was too dear showed that there is no further interval
            return Branch(probes, total + extra, answer())
        if exact and total < depth * interval:  # so did intervals of no length: where its tokens end is known
            return Branch([*probes, *(answer() for _ in range(extra + 1))], total, answer())
        least = depth * interval + (extra == 0) if exact else 1
        return Branch(
            [*probes, *(answer() for _ in range(extra))], max(1, least) + int(rng.integers(0, 5 * interval)), answer()
        )

    changed = [other(branch, held.get(k)) for k, branch in enumerate(pool)]
    questions = [
        Question(
            "another text",
            str(rng.choice(["a", "b", "zz", "new"])),
            changed if q == question else [other(b, None) for b in it.branches],
        )
        for q, it in enumerate(world.questions)
    ]
    return World(interval, tuple(questions))


@settings(SOME, max_examples=300)
@given(st.data(), worlds(least=2), scripts(), SEEDS, st.booleans())
def test_nothing_that_is_not_revealed_can_be_seen(
    data: st.DataObject, world: World, script: list[float], seed: int, dealt: bool
):
    """Change all future probes, lengths, final answers, closed branches, other questions and gold: same episode."""
    laws = arguments(data.draw(rules(world.interval)))
    options = {"question": 0, **({"branch_seed": seed % 7} if dealt else {})}
    env = ReplayEnv(world.store(), cost_weight=3.0, **laws)
    original = everything_seen(env, script, seed, **options)
    rng = np.random.default_rng(seed)
    for _ in range(2):
        twin = ReplayEnv(altered(world, env, 0, rng).store(), cost_weight=3.0, **laws)
        assert_equal(hide_correctness(original), hide_correctness(everything_seen(twin, script, seed, **options)))


def hide_correctness(transcript: list[Any]) -> list[Any]:
    """Transcripts without what gold decides, which comes at the very end."""
    steps: list[Any] = [transcript[0], transcript[1]]
    for observation, reward, terminated, truncated, info, state in transcript[2:]:
        info = dict(info)
        correct = info.pop("correct", False)
        assert not correct or terminated
        steps.append([observation, round(reward - correct, 12), terminated, truncated, info, state])
    return steps


def test_the_mask_does_not_tell_whether_a_branch_is_about_to_finish():
    """With less than an interval left, neither an almost free nor a dear finishing step may be tried."""
    masks = []
    for tokens in (21, 40):
        world = World(10, (Question("q", "a", (Branch(["a", "a"], tokens, "a"),)),))
        env = ReplayEnv(world.store(), max_branches=1, token_budget=25)
        env.reset(seed=0)
        env.step(1)
        masks.append(env.step(2)[4]["action_mask"].tolist())
    assert masks == [[1, 0, 0, 1]] * 2


def test_the_shapes_of_what_is_revealed_tell_nothing():
    """How many answers the pools hold, seen or not, may not be read off an array's shape."""
    shapes = []
    for answers in ("a", "abcdefg"):
        pool = tuple(Branch([letter], 10, letter) for letter in answers)
        env = ReplayEnv(World(10, (Question("q", "a", pool * (7 // len(pool))),)).store(), max_branches=4)
        env.reset(seed=0)
        shapes.append(
            [getattr(env.revealed, name).shape for name in ("pools", "slots", "votes", "finished_votes", "abandoned")]
        )
    assert shapes[0] == shapes[1]

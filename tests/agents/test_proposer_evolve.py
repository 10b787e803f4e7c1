"""Evolution: every genome is a program that plays, changes are what they say, a search by it goes on as it began."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tinkerer import StandIn

import agents.explorer.loop as loop
from agents.explorer.config import Config
from agents.explorer.folder import RunFolder
from agents.explorer.proposers import make_proposer
from agents.explorer.proposers.base import Parent, Request, Usage
from agents.explorer.proposers.evolve import (
    FOUNDERS,
    NOTHING,
    NUMBERS,
    REMEDIES,
    SLOTS,
    Change,
    Evolve,
    Genome,
    complete,
    needed,
    random_genome,
    write_program,
)
from autotts_gym import ReplayStore, evaluate, make_controller
from autotts_gym.engine import Rules
from autotts_gym.evaluation import evaluate_all
from autotts_gym.evaluation.diagnosis import CAUSES, WASTE
from autotts_gym.replay import Branch, Question, build_store, pool_order, synthesize
from autotts_gym.sandbox import check_program

EVERY = [(slot, mechanism) for slot, choices in SLOTS.items() for mechanism in choices]
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def stores() -> list[ReplayStore]:
    """Pools that are smaller than the slots, one of them of branches that never answer."""
    silent = Question("silent", "1", [Branch([None] * depth, 500 * depth - 3, None) for depth in (3, 9, 30)])
    return [
        synthesize(2, 7, seed=5),
        build_store([silent], model="m", benchmark="silent", interval_tokens=500),
    ]


def written(genome: Genome, folder: Path) -> Path:
    path = folder / "written.py"
    path.write_text(write_program(genome))
    return path


def with_mechanism(slot: str, mechanism: str, seed: int = 0) -> Genome:
    """A random genome that has it."""
    rng = np.random.default_rng(seed)
    genome = random_genome(rng)
    return complete({**genome["slots"], slot: mechanism}, genome["numbers"], rng)


def parent(genome: Genome | None, name: str = "001-01", objective: float = 0.4, **diagnosis: float) -> Parent:
    meta = {} if genome is None else {"genome": genome}
    source = '"""By hand."""\n' if genome is None else write_program(genome)
    return Parent(name, source, objective, ((0.0, 0.3, 1e4), (1.0, 0.5, 1e5)), dict(diagnosis), meta)


def request(folder: Path, parents: Sequence[Parent], population: Sequence[Parent], seed: int = 0) -> Request:
    return Request(prompt="", seed=seed, parents=parents, population=population, workspace=folder)


# -------------------------------------------------------------------- programs


@pytest.mark.parametrize(("slot", "mechanism"), EVERY, ids=lambda each: str(each))
def test_every_mechanism_is_part_of_a_program_that_passes_the_checks_and_plays(
    slot: str, mechanism: str, stores: list[ReplayStore], tmp_path: Path
):
    genome = with_mechanism(slot, mechanism, EVERY.index((slot, mechanism)))
    path = written(genome, tmp_path)
    checked = check_program(path)
    assert set(checked.schedule) == set(needed(genome["slots"])) == set(genome["numbers"])
    about = SLOTS[slot][mechanism].about
    assert about.lower() in " ".join(path.read_text().split('"""')[1].split()).lower()
    laws = (Rules(accounting="autotts"), Rules(max_branches=5, token_budget=9_000))
    for beta, rules in zip((1.0, 0.0), laws, strict=True):
        for result in evaluate_all([make_controller(path, beta=beta)], stores, seeds=range(2), rules=rules):
            assert result.branches_opened.min() >= 1
            assert result.total_tokens.max() <= (rules.token_budget or result.total_tokens.max())


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_a_schedule_is_monotone_and_meets_the_genome_at_both_ends(seed: int):
    genome = random_genome(np.random.default_rng(seed))
    program: dict[str, Any] = {}
    exec(write_program(genome), program)
    sweep = [program["schedule"](k / 20) for k in range(21)]
    assert set(sweep[0]) == set(genome["numbers"])
    for name, (start, end) in genome["numbers"].items():
        number, values = NUMBERS[name], [schedule[name] for schedule in sweep]
        assert number.low <= min(start, end) <= max(start, end) <= number.high
        if number.whole:
            assert all(isinstance(value, int) for value in values)
            assert (values[0], values[-1]) == (start, end)
        else:
            assert values[0] == pytest.approx(start, rel=2e-4, abs=1e-4)
            assert values[-1] == pytest.approx(end, rel=2e-4, abs=1e-4)
        assert values == sorted(values, reverse=end < start), name


def test_a_program_whose_numbers_are_all_alike_at_both_ends_is_never_drawn():
    for seed in range(300):
        genome = random_genome(np.random.default_rng(seed))
        assert any(start != end for start, end in genome["numbers"].values())


def asc(store: ReplayStore, question: int, seed: int, most: int, finishes: int, threshold: float) -> tuple[bool, int]:
    """What founder 1 comes to in autotts accounting, in plain Python: is it right, and its tokens."""
    first = int(store.branch_offsets[question])
    count = int(store.branch_offsets[question + 1]) - first
    votes: dict[int, float] = {}
    spent, leader = 0, None
    for opened, slot in enumerate(pool_order(seed, count)[:most], 1):
        branch = first + slot
        depth = int(store.probe_offsets[branch + 1] - store.probe_offsets[branch])
        spent += max(int(store.tokens[branch]), depth * store.interval_tokens)
        if store.finals[branch] >= 0:
            votes[int(store.finals[branch])] = votes.get(int(store.finals[branch]), 0.0) + 1.0
        leader = max(votes, key=votes.__getitem__, default=None)
        one, two = [*sorted(votes.values(), reverse=True), 0.0, 0.0][:2]
        spread = math.sqrt((one + 1) * (two + 1) / (one + two + 3))
        sure = 0.5 + 0.5 * math.erf((one - two) / (2 * math.sqrt(2) * spread))
        if opened >= finishes and sure >= threshold:
            break
    return leader == int(store.gold[question]), spent


@pytest.mark.parametrize("steps", [1, 2])
def test_founder_1_reads_branches_until_its_votes_are_clear(steps: int, tmp_path: Path):
    store = synthesize(5, 20, seed=3)
    assert (
        np.mean(store.tokens <= np.diff(store.probe_offsets) * store.interval_tokens) > 0.1
    )  # steps that cost nothing
    numbers = {**FOUNDERS[0]["numbers"], "most": [4, 16], "finishes": [2, 2], "threshold": [0.8, 0.99]}
    numbers |= {"width": [1, 1], "steps": [steps, steps]}
    path = written({**FOUNDERS[0], "numbers": numbers}, tmp_path)
    for beta, most, threshold in ((0.0, 4, 0.8), (1.0, 16, 0.99)):
        result = evaluate(make_controller(path, beta=beta), store, seeds=range(4), accounting="autotts")
        expected = [[asc(store, q, seed, most, 2, threshold) for q in range(5)] for seed in range(4)]
        assert result.correct.tolist() == [[right for right, _ in row] for row in expected]
        assert result.total_tokens.tolist() == [[tokens for _, tokens in row] for row in expected]
    assert len({int(opened) for opened in result.branches_opened.flat}) > 2


@pytest.mark.parametrize("grow", list(SLOTS["grow"]))
@pytest.mark.parametrize("accounting", ["exact", "autotts"])
def test_a_program_that_is_never_sure_reads_all_that_it_may(grow: str, accounting: str, tmp_path: Path):
    store = synthesize(4, 12, seed=8)
    slots = {**FOUNDERS[0]["slots"], "grow": grow}
    genome = complete(slots, {"most": [9, 12], "threshold": [0.999999, 0.9999999]}, np.random.default_rng(1))
    path = written(genome, tmp_path)
    result = evaluate(make_controller(path, beta=0.0), store, seeds=range(4), accounting=accounting)
    expected = evaluate(make_controller("sc", branches=9), store, seeds=range(4), accounting=accounting)
    assert result.branches_opened.tolist() == expected.branches_opened.tolist()
    if accounting == "exact":
        assert result.total_tokens.tolist() == expected.total_tokens.tolist()
    else:
        assert (result.total_tokens >= expected.total_tokens).all()


def test_branches_are_not_pruned_for_being_off_a_leader_that_is_not_there(tmp_path: Path):
    """All branches answer, and differ, long before the first one finishes."""
    pool = [Branch([str(b)] * 20, 9_999, str(b)) for b in range(4)]
    store = build_store([Question("q", "0", pool)], model="m", benchmark="b", interval_tokens=500)
    slots = {**FOUNDERS[0]["slots"], "dissent": "patience"}
    numbers = {"width": [4, 4], "most": [4, 5], "steps": [1, 1], "finishes": [4, 4], "patience": [6, 6]}
    path = written(complete(slots, {**numbers, "threshold": [0.99, 0.99]}, np.random.default_rng(0)), tmp_path)
    result = evaluate(make_controller(path, beta=0.0), store, seeds=range(2), accounting="exact")
    assert result.branches_pruned.tolist() == [[0], [0]]


# -------------------------------------------------------------------- changes


def test_remedies_name_what_there_is():
    known = {*CAUSES, *WASTE}
    assert set(REMEDIES) <= known
    assert known - set(REMEDIES) == {"out_of_reach"}  # against which nothing helps
    for remedies in REMEDIES.values():
        for what, how in remedies:
            if isinstance(how, str):
                assert how in SLOTS[what]
            else:
                assert what in NUMBERS
                assert how in (-1.0, 1.0)
    named = [name for choices in SLOTS.values() for mechanism in choices.values() for name in mechanism.numbers]
    assert set(named) == set(NUMBERS)


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.sampled_from(sorted(REMEDIES)))
def test_a_remedy_moves_what_it_names_the_way_it_says(seed: int, cause: str):
    rng = np.random.default_rng(seed)
    genome = random_genome(rng)
    change = Change(genome, rng)
    change.remedy({cause: 0.3, "out_of_reach": 0.9, "lucky": 0.2})
    (note,) = change.notes
    before, after = genome, change.genome
    if "against" not in note:  # nothing that helps could be changed
        assert not note.endswith(f"(against {cause})")
        return
    assert note.endswith(f"(against {cause})")
    swapped = [slot for slot in SLOTS if before["slots"][slot] != after["slots"][slot]]
    moved = [name for name, ends in before["numbers"].items() if after["numbers"].get(name, ends) != ends]
    if swapped:
        (slot,) = swapped
        assert (slot, after["slots"][slot]) in REMEDIES[cause]
        assert not moved
    else:
        (name,) = moved
        directions = {how for what, how in REMEDIES[cause] if what == name}
        ways = {float(np.sign(b - a)) for a, b in zip(before["numbers"][name], after["numbers"][name], strict=True)}
        assert ways - {0.0} <= directions
    assert genome == random_genome(np.random.default_rng(seed))  # the parent's genome is as it was


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_a_crossing_takes_mechanisms_with_their_numbers(seed: int):
    rng = np.random.default_rng(seed)
    one, other = random_genome(rng), random_genome(rng)
    change = Change(one, rng)
    change.cross(other)
    child = change.genome
    (note,) = change.notes
    assert list(child["slots"]) == list(SLOTS)
    assert set(child["numbers"]) == set(needed(child["slots"]))
    named = note.removeprefix("crossed: ").removesuffix(" of the other parent")
    taken = [] if named == "nothing" else named.split(", ")
    for slot, mechanism in child["slots"].items():
        giver = other if slot in taken else one
        assert mechanism == giver["slots"][slot]
    theirs = {name for slot in taken for name in SLOTS[slot][child["slots"][slot]].numbers}
    for name, ends in child["numbers"].items():
        assert ends == (other if name in theirs else one)["numbers"][name]


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_a_child_differs_from_its_parents_and_says_how(seed: int):
    rng = np.random.default_rng([seed, 1])
    parents = [
        parent(random_genome(rng), f"001-0{k}", 0.5 - k / 10, outvoted=0.2, wasted_right=0.1, stopped_early=0.05)
        for k in (1, 2, 3)
    ]
    proposer = Evolve(fresh=0.0, founding=0)
    proposal = proposer.propose(request(Path("."), parents, parents, seed), lambda text: None)
    assert proposal.source == write_program(proposal.meta["genome"])
    assert proposal.source not in [each.source for each in parents]
    json.dumps(proposal.meta, allow_nan=False)
    lineage, *changes = proposal.meta["changes"]
    assert lineage.removeprefix("child of ") in [each.id for each in parents]
    assert changes
    assert proposal.reply.splitlines() == proposal.meta["changes"]
    compile(proposal.source, "child", "exec")


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_the_same_seed_writes_the_same_program(seed: int):
    population = [parent(random_genome(np.random.default_rng(k)), f"000-{k:02d}", k / 10) for k in range(14)]
    ways = [request(Path("."), population[-3:], population, seed)] * 2
    one, two = (Evolve().propose(each, lambda text: None) for each in ways)
    assert one == two
    assert Evolve().propose(replace(ways[0], seed=seed + 1), lambda text: None).source != one.source


def test_it_begins_with_programs_of_its_own_and_then_builds_on_parents():
    proposer, shown = Evolve(fresh=0.0, founding=3), []
    hand = parent(None, "000-01", 0.9)
    own = [parent(random_genome(np.random.default_rng(k)), f"001-0{k}", k / 10) for k in range(1, 4)]
    for seed in range(12):
        first = proposer.propose(request(Path("."), [hand], [hand], seed), shown.append).meta["changes"][0]
        assert first == "new, at random" or first.startswith("from founder")
        few = proposer.propose(request(Path("."), own[:2], [hand, *own[:2]], seed), shown.append).meta["changes"][0]
        assert not few.startswith("child of")
        # A parent by hand cannot be recombined: the best of its own stand in.
        child = proposer.propose(request(Path("."), [hand], [hand, *own], seed), shown.append).meta["changes"][0]
        assert child in ("child of 001-03", "child of 001-02")
    assert len(shown) == 36
    assert proposer.bound(request(Path("."), [], [])) == Usage()
    assert make_proposer("evolve", founding=3).founding == 3  # type: ignore[attr-defined]


def test_founders_have_just_the_numbers_that_they_need():
    for genome in FOUNDERS:
        assert set(genome["numbers"]) == set(needed(genome["slots"]))
        assert genome == complete(genome["slots"], genome["numbers"], np.random.default_rng(0))
        assert any(start != end for start, end in genome["numbers"].values())
    assert all(mechanism.code for choices in SLOTS.values() for name, mechanism in choices.items() if name != NOTHING)


# -------------------------------------------------------------------- a run


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("search")
    path = synthesize(6, 12, seed=2, model="a", benchmark="x").save(folder / "a.h5")
    return Config(
        stores=(str(path),), programs=("agents/programs/sc.py",), rounds=2, proposals=4, option=("founding=2",),
        seeds=2, betas=3, screen_betas=2, screen_seeds=1, diagnosis_seeds=1, resamples=40, finalists=2, validation=0.0,
        max_branches=12, progress=False, workers=1,
    )  # fmt: skip


@pytest.mark.long
def test_a_search_finds_programs_and_never_loses_its_best(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    run = RunFolder(tmp_path / "run", config)
    assert loop.explore(run, make_proposer("evolve", founding=2)) == "rounds"
    records = run.records()
    assert not [record.message for record in records if record.status == "failed"]
    assert [record.model for record in records] == ["hand-written", *["evolve"] * 8]
    rounds = [json.loads(run.round_file(k).read_text()) for k in range(3)]
    scores = [figures["search/score"] for figures in rounds]
    assert scores == sorted(scores)
    best = json.loads((run.path / "best.json").read_text())
    evaluated = [record.figures.score for record in records if record.figures is not None]
    assert best["all"]["score"] == max(evaluated) > evaluated[0]
    assert any(record.meta["changes"][0].startswith("child of") for record in records if record.order[0] == 2)
    for record in records[1:]:
        assert run.place_of(record.id).program.read_text() == write_program(record.meta["genome"])


def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    monkeypatch.setattr(loop, "Judge", StandIn)
    plain = RunFolder(tmp_path / "plain", config.updated({"rounds": 3}))
    loop.explore(plain, Evolve(founding=2))

    class Killed(BaseException):
        pass

    class Dying(Evolve):
        left = 1 + config.proposals  # dies in the second round

        def propose(self, request: Request, progress: Any) -> Any:
            if not self.left:
                raise Killed
            self.left -= 1
            return super().propose(request, progress)

    run = RunFolder(tmp_path / "run", config.updated({"rounds": 3}))
    with pytest.raises(Killed):
        loop.explore(run, Dying(founding=2))
    assert 0 < len(run.records()) < len(plain.records())
    assert loop.explore(RunFolder.open(run.path), Evolve(founding=2)) == "rounds"
    assert run.records() == plain.records()

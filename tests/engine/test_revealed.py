"""What is revealed leads to nothing hidden, and the history in it is what the probes were."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import Episode, deal, random_plan
from walker import assert_nothing_hidden, hidden_arrays, reachable
from worlds import World, rules, worlds

from autotts_gym.engine import Bank, PoolState, Revealed, Rules
from autotts_gym.engine.layout import BANK, HIDDEN, REVEALED, TABLE, named
from autotts_gym.errors import AutottsError
from autotts_gym.replay import Branch, Question, synthesize

SEEDS = st.integers(0, 2**32 - 1)
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def played(probe: str = "auto", rounds: int = 6, **laws: object) -> PoolState:
    bank = Bank([synthesize(questions=3, branches=9, signals=True)])
    state = PoolState(bank, 4, Rules(max_branches=6, probe=probe, **laws))
    state.begin()
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        state.play(random_plan(rng, state, stops=0.0))
    return state


# ----------------------------------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize("probe", ["auto", "explicit"])
def test_no_reference_leads_from_what_is_revealed_to_what_is_hidden(probe: str):
    state = played(probe)
    secrets = hidden_arrays(state)
    revealed = state.revealed
    handed_out = (revealed, revealed.history, revealed.reveals, revealed.arrays, revealed.votes)
    assert assert_nothing_hidden(secrets, *handed_out, copy.deepcopy(revealed)) > 10


def test_the_walk_finds_a_state_behind_a_bound_method_a_closure_a_default_and_a_view():
    state = played()
    secrets = hidden_arrays(state)
    view = state.arrays.hidden_pools["gold"][1:]
    for leak in (state.history, lambda: state, lambda owner=state: owner, [{"deep": (view,)}], iter([state.bank])):
        with pytest.raises(AssertionError):
            assert_nothing_hidden(secrets, leak)


def test_a_record_of_an_episode_is_a_copy_that_leads_to_nothing_hidden():
    state = played()
    state.act(np.zeros(4, np.int64))
    record = state.record(2)
    assert_nothing_hidden(hidden_arrays(state), record)
    assert not any(np.shares_memory(a, b) for a in record.revealed.arrays for b in state.arrays if a.size and b.size)
    assert record.correct is bool(state.correct[2])
    assert record.pool == state.pools[2]
    assert record.texts == tuple(state.answer_text(2, k) for k in range(len(record.texts)))
    assert all(
        record.revealed.history(0, i).tolist() == state.history(2, i).tolist() for i in range(record.pool["opened"])
    )
    assert record.record(0) is record
    with pytest.raises(AutottsError, match="n: expected"):
        record.record(1)


def test_a_record_tells_whether_the_answer_is_right_only_when_it_was_given():
    state = played()
    assert state.record(0).correct is None
    cut = played(rounds=2, max_steps=2)
    assert not cut.running.any()
    assert cut.record(0).correct is None


def test_what_is_revealed_is_made_of_arrays_that_fit_together():
    revealed = played().revealed
    for name, array in revealed.arrays._asdict().items():
        for bad in (array[:-1], array.astype(np.int16) if array.dtype.names is None else array.view(np.uint8), None):
            with pytest.raises(AutottsError, match="expected"):
                Revealed(revealed.rules, revealed.arrays._replace(**{name: bad}))


def test_the_handle_of_what_is_revealed_has_no_address_of_anything_else():
    state = played()
    place = {each.name: k for k, each in enumerate(TABLE)}
    for name in named(HIDDEN, BANK):
        assert state.revealed.addresses[place[name]] == 0
        assert state.addresses[place[name]] == getattr(state.arrays, name).ctypes.data
    for name in named(REVEALED):
        assert state.revealed.addresses[place[name]] == state.addresses[place[name]]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda revealed: pickle.loads(pickle.dumps(revealed))])
def test_a_copy_of_what_is_revealed_has_arrays_and_a_handle_of_its_own(copied):
    revealed = played().revealed
    twin = copied(revealed)
    for k, name in enumerate(named(REVEALED)):
        assert not np.shares_memory(getattr(twin.arrays, name), getattr(revealed.arrays, name)) or name == "probed"
        assert twin.addresses[k] == getattr(twin.arrays, name).ctypes.data
    assert twin.history(1, 2).tolist() == revealed.history(1, 2).tolist()


# ----------------------------------------------------------------------------------------------------------- history


def shown(model: Episode, i: int) -> list[int]:
    """The history of a branch by the model, as local ids."""
    slot = model.slots[i]
    auto = model.rules.probe == "auto"
    probed = [auto or k + 1 in slot.probed for k in range(slot.depth)]
    return [model.id(answer) if yes else -1 for answer, yes in zip(slot.branch.probes, probed, strict=False)]


@SOME
@given(st.data(), worlds(), SEEDS)
def test_the_history_is_that_of_the_model_after_rounds_and_primitive_actions(
    data: st.DataObject, world: World, seed: int
):
    laws = data.draw(rules(world.interval, auto_stop=False, max_steps=None))
    state = PoolState(Bank([world.store()]), 1, laws)
    (model,) = deal(state, [0], np.random.default_rng(seed), world)
    rng = np.random.default_rng(seed)
    for _ in range(25):
        good = np.flatnonzero(state.admissible[0])
        action = int(rng.choice(good[1:] if len(good) > 1 else good))
        state.act(np.array([action]))
        model.act(action)
        opened = int(state.pools["opened"][0])
        for i in range(opened):
            assert state.history(0, i).tolist() == shown(model, i)
        rows, slots = np.zeros(opened, np.int64), np.arange(opened)
        starts = rng.integers(0, state.slots["depth"][0, :opened] + 1)
        expected = [shown(model, i)[k:] for i, k in enumerate(starts.tolist())]
        assert state.reveals(rows, slots, starts).tolist() == [answer for each in expected for answer in each]


def test_a_copy_has_the_history_and_goes_on_with_it():
    state = played()
    for twin in (copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        again = copy.deepcopy(state)
        for one in (twin, again):
            rng = np.random.default_rng(7)
            for _ in range(4):
                one.play(random_plan(rng, one, stops=0.0))
        for n in range(4):
            for i in range(6):
                assert twin.history(n, i).tolist() == again.history(n, i).tolist()


def test_the_history_has_room_for_branches_that_change_their_answer_at_every_depth():
    answers = [str(k) for k in range(40)]
    branch = Branch(answers, 40 * 10 + 5, "final")
    store = World(10, (Question("q", "final", [branch] * 5),)).store()
    state = PoolState(Bank([store]), 2, Rules(max_branches=5))
    for _ in range(3):
        state.begin()
        for _ in range(5):
            state.act(np.array([1, 1]))
        for i in range(5):
            for _ in range(41):
                state.act(np.array([2 + i, 2 + i]))
        assert (state.pools["finished"] == 5).all()
        assert state.arrays.pools["recorded"].tolist() == [state.arrays.history.shape[1]] * 2
        assert state.history(1, 4).tolist() == list(range(40))


def test_the_walk_goes_through_what_it_should():
    assert {id(value) for value in reachable([1, "a", (2.0,)])}  # containers are followed, numbers are not


def test_what_is_revealed_cannot_be_made_writable():
    state = PoolState.begun(Bank([synthesize(2, 5)]), Rules(max_branches=3), np.arange(2), np.arange(2))
    record = state.record(0).revealed
    for revealed in (state.revealed, record):
        for array in (*revealed.arrays, revealed.votes, revealed.slots["newest"], revealed.admissible[0]):
            assert not array.flags.writeable
            if array.size:
                with pytest.raises(ValueError, match="WRITEABLE"):
                    array.setflags(write=True)

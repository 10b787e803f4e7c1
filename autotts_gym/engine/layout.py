"""The layout of the state of N episodes: what is revealed, what is hidden, the rules, and the bank behind them.

Revealed and hidden fields are in different arrays, so that code with the revealed arrays cannot reach hidden ones.
``TABLE`` is the one place that says which arrays there are, of which dtype, shape and owner.
"""

import math
from collections import namedtuple
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from autotts_gym.units import MILLION

# Status of a branch slot.
CLOSED, ACTIVE, FINISHED, PRUNED = 0, 1, 2, 3

# Why an episode ended (0: it runs).
RUNNING, STOPPED, EXHAUSTED, TRUNCATED = 0, 1, 2, 3
STOP_REASONS = ("running", "stop", "exhausted", "truncated")

# Primitive actions: STOP, BRANCH, then DEEPEN(i), PRUNE(i) and, where probing is explicit, PROBE(i).
STOP, BRANCH, FIRST_DEEPEN = 0, 1, 2

UNLIMITED = np.iinfo(np.int64).max

SLOT = np.dtype(
    [
        ("status", np.int32),  # CLOSED, ACTIVE, FINISHED or PRUNED
        ("depth", np.int32),  # intervals generated
        ("answer", np.int32),  # latest revealed answer, an episode-local answer id; -1: none
        ("revealed", np.int32),  # answers revealed so far
        ("run", np.int32),  # length of the newest run of equal revealed answers
        ("changes", np.int32),  # how often the revealed answer changed
        ("off_leader", np.int32),  # length of the newest run of revealed answers that were not the leader's
        ("rank", np.int32),  # order of completion among finished branches; -1: not finished
        ("newest", np.int32),  # its newest change in the history; -1: none
        ("tokens", np.int64),  # tokens paid for it, probes included
    ],
    align=True,
)
"""The revealed record of a branch slot."""

ANSWER = np.dtype(
    [
        ("votes", np.int32),  # branches not pruned whose latest answer it is
        ("finished_votes", np.int32),  # finished branches that gave it
        ("finished_depth", np.int32),  # sum of their depths
        ("abandoned", np.int32),  # branches, pruned ones too, that have shown it and show another or none now
    ],
    align=True,
)
"""The revealed record of an answer seen, by local id; one record, since a branch that is read changes all fields."""

POOL = np.dtype(
    [
        ("total_tokens", np.int64),
        ("sequential_tokens", np.int64),
        ("budget", np.int64),  # UNLIMITED where there is none
        ("cost_weight", np.float64),  # per token unit of total tokens
        ("latency_weight", np.float64),  # per token unit of sequential tokens
        ("token_unit", np.int64),  # tokens that a price is for, by which features of tokens are scaled; see units.py
        ("finished_squares", np.int64),  # sum of the squares of the depths of the finished branches
        ("leader_since", np.int64),  # total tokens when the leader last changed
        ("interval_tokens", np.int32),
        ("slots", np.int32),  # slots that can ever be opened: min(max_branches, size of the pool)
        ("steps", np.int32),  # transitions so far: primitive actions or rounds
        ("opened", np.int32),
        ("active", np.int32),
        ("finished", np.int32),
        ("pruned", np.int32),
        ("answers_seen", np.int32),  # distinct answers revealed; their local ids are 0 .. answers_seen - 1
        ("leader", np.int32),  # majority of the latest answers of branches not pruned; ties: opened first
        ("leader_votes", np.int32),
        ("voters", np.int32),  # branches not pruned that have an answer
        ("distinct", np.int32),  # distinct answers among them
        ("finished_leader", np.int32),  # majority of the finished branches' answers; ties: finished first
        ("finished_leader_votes", np.int32),
        ("finished_runner_up", np.int32),  # votes of the second most frequent finished answer
        ("finished_voters", np.int32),
        ("finished_distinct", np.int32),
        ("finished_since", np.int32),  # branches that had finished when their leader last changed
        ("active_depth", np.int32),  # sum of the depths of the active branches
        ("active_run", np.int32),  # sum of their runs
        ("finished_depth", np.int32),  # sum of the depths of the finished branches
        ("deepest", np.int32),  # largest depth reached by any branch
        ("recorded", np.int32),  # changes in the history so far
        ("stop_reason", np.int32),
        ("answer", np.int32),  # local id of the answer given at the end; -1: none
    ],
    align=True,
)
"""The revealed record of an episode."""

CHANGE = np.dtype(
    [
        ("answer", np.int32),  # what the branch showed then, a local id; -1: no answer yet
        ("depth", np.int32),  # at which depth; one behind the branch's last for a final answer unlike its last probe
        ("before", np.int32),  # the branch's change before this one; -1: none
    ],
    align=True,
)
"""The revealed record of a change: a branch showed another answer than before. Those of older episodes are kept."""

SIGNAL = np.dtype(
    [
        ("latest", np.float32),  # of the interval generated last
        ("mean", np.float32),  # of all intervals so far
        ("minimum", np.float32),
        ("tail", np.float32),  # mean of the last intervals that make up TAIL_MILLIONTHS, at least of one
        ("total", np.float64),
    ],
    align=True,
)
"""The revealed record of a signal of a branch slot; all 0 before the first interval."""

TAIL_MILLIONTHS = 2048
"""The tail of a signal in millionths of the token unit; of 10^6 it is the window of DeepConf, 2,048 tokens (Fu et al.
2025, arXiv 2508.15260, section 3)."""


def _blank(dtype: np.dtype[Any], **values: int) -> NDArray[np.void]:
    """One record as it is before anything has happened: these values, and 0."""
    record = np.zeros(1, dtype)
    for name, value in values.items():
        record[name] = value
    record.setflags(write=False)
    return record


BLANK_SLOT = _blank(SLOT, answer=-1, rank=-1, newest=-1)
BLANK_ANSWER = _blank(ANSWER)
BLANK_POOL = _blank(POOL, leader=-1, finished_leader=-1, answer=-1)
BLANK_SIGNAL = _blank(SIGNAL)

HIDDEN_SLOT = np.dtype(
    [
        ("branch", np.int64),  # row of the bank's branches; -1: not drawn yet
        ("start", np.int64),  # first probe in the bank
        ("probes", np.int32),
        ("tokens", np.int32),
        ("final", np.int32),  # stored answer id
    ],
    align=True,
)
"""The hidden record of a branch slot. All fields but the branch are valid only once it is opened."""

HIDDEN_POOL = np.dtype(
    [
        ("stream", np.uint64),  # key of the stream of episodes
        ("episode", np.int64),  # episodes begun in the stream
        ("random", np.uint64),  # state of the episode's own generator
        ("question", np.int64),
        ("first_branch", np.int64),
        ("branches", np.int64),
        ("answers", np.int32),  # stored answer ids of the question
        ("gold", np.int32),  # one of them
        ("correct", np.bool_),  # of the answer given at the end
        ("ordered", np.bool_),  # the order of the pool was given, not drawn
    ],
    align=True,
)
"""The hidden record of an episode."""

QUESTION = np.dtype(
    [
        ("first_branch", np.int64),
        ("branches", np.int64),
        ("first_answer", np.int64),  # in the bank's answers
        ("answers", np.int32),  # how many
        ("token_unit", np.int64),
        ("gold", np.int32),
        ("interval_tokens", np.int32),
    ],
    align=True,
)

STORED_BRANCH = np.dtype(
    [
        ("start", np.int64),  # first probe
        ("probes", np.int32),  # how many
        ("tokens", np.int32),  # total
        ("final", np.int32),  # stored answer id; -1: none
    ],
    align=True,
)
"""What the bank knows of a branch except its probes; one record, since a branch that is opened needs all fields."""

OUTCOME = (
    "answer",  # in the bank's answers; -1: none
    "correct",
    "total_tokens",
    "sequential_tokens",
    "branches_opened",
    "branches_pruned",
    "stop_reason",
)
"""What is reported of an episode that has ended, an integer each."""

COUNTS = OUTCOME[1:-1]
"""The names of OUTCOME that evaluations keep for every episode."""

RULES = np.dtype(
    [
        ("probe_cost", np.int64),
        ("token_budget", np.int64),  # UNLIMITED where there is none
        ("max_steps", np.int64),
        ("cost_weight_low", np.float64),
        ("cost_weight_high", np.float64),
        ("latency_weight", np.float64),
        ("token_unit", np.int64),  # 0: that of the question's store
        ("max_branches", np.int32),
        ("shaping", np.bool_),  # correctness is paid as it changes, else at the end
        ("exact", np.bool_),  # accounting "exact", else "autotts"
        ("explicit", np.bool_),  # probe "explicit", else "auto"
        ("auto_stop", np.bool_),  # an episode with nothing left but STOP ends by itself
        ("own_pools", np.bool_),  # every row of episodes has a question of its own, the one with its number
    ],
    align=True,
)


class Sizes(NamedTuple):
    """What the shapes of all arrays follow from, in the order in which ``Addresses`` hold it."""

    episodes: int  # N
    max_branches: int  # M
    counts: int  # M + 1, the numbers of votes that an answer can have
    answers: int  # A, the most distinct answers of a question
    actions: int  # K
    depths: int  # D, the most probes of a branch; 0 unless probing is explicit
    changes: int  # H, the most changes of answers in an episode
    signals: int = 0  # S, signals that every store has
    signal_depths: int = 0  # the most probes of a branch; 0 where there are no signals
    votes: int = 1  # V + 1, the numbers of votes that answers of one question can have
    rewarded: int = 0  # N where the reward is a function of a user's, else 0
    questions: int = 0  # Q
    branches: int = 0  # B
    probes: int = 0

    @classmethod
    def of(cls, episodes: int, max_branches: int, explicit: bool, answers: int, probes: int, changes: int) -> "Sizes":
        """Sizes without those of the bank.

        Args:
            episodes: N.
            max_branches: M.
            explicit: whether probing is.
            answers: the most distinct answers of a question.
            probes: the most probes of a branch.
            changes: the most changes of answers in an episode, see ``Bank.changes``.
        """
        return cls(
            episodes=episodes,
            max_branches=max_branches,
            counts=max_branches + 1,
            answers=max(answers, 1),
            actions=actions(max_branches, explicit),
            depths=probes if explicit else 0,
            changes=changes,
        )


REVEALED, CONSTANT, HIDDEN, BANK = "revealed", "constant", "hidden", "bank"
"""The owner of an array: revealed to controllers, a table that never changes, known to the transition alone, or
collected."""


class Array(NamedTuple):
    """One array of the state."""

    name: str
    dtype: np.dtype[Any]
    axes: tuple[str, ...]  # fields of ``Sizes``; none: one record, (1,)
    owner: str
    blank: int = 0  # what it holds before any episode has begun, where its dtype is no record

    def shape(self, sizes: Sizes) -> tuple[int, ...]:
        """Its shape for such sizes."""
        return tuple(getattr(sizes, axis) for axis in self.axes) or (1,)


_INT32, _INT8, _BOOL = np.dtype(np.int32), np.dtype(np.int8), np.dtype(np.bool_)
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

TABLE = (
    Array("rules", RULES, (), REVEALED),
    Array("pools", POOL, ("episodes",), REVEALED),
    Array("slots", SLOT, ("episodes", "max_branches"), REVEALED),
    Array("answers", ANSWER, ("episodes", "answers"), REVEALED),  # by local id
    # Those of finished branches, the first one given first; then -1.
    Array("finished_answers", _INT32, ("episodes", "max_branches"), REVEALED, -1),
    Array("tally", _INT32, ("episodes", "counts"), REVEALED),  # tally[v]: how many answers have exactly v votes
    Array("admissible", _INT8, ("episodes", "actions"), REVEALED),  # the action mask
    Array("probed", _BOOL, ("episodes", "max_branches", "depths"), REVEALED),  # depths probed, where it is explicit
    # In the order in which they were revealed; the first ``recorded`` hold.
    Array("history", CHANGE, ("episodes", "changes"), REVEALED),
    Array("signals", SIGNAL, ("episodes", "max_branches", "signals"), REVEALED),
    # By depth, as far as the branch has grown.
    Array("signal_history", _FLOAT32, ("episodes", "max_branches", "signal_depths", "signals"), REVEALED),
    Array("confidence", _FLOAT64, ("votes", "votes"), CONSTANT),  # see votes.confidence_table
    Array("hidden_pools", HIDDEN_POOL, ("episodes",), HIDDEN),
    Array("hidden_slots", HIDDEN_SLOT, ("episodes", "max_branches"), HIDDEN),
    Array("drawn", _INT32, ("episodes", "max_branches"), HIDDEN),  # position that the shuffle drew for a slot
    Array("displaced", _INT32, ("episodes", "max_branches"), HIDDEN),  # what the shuffle then moved to that position
    Array("local_ids", _INT32, ("episodes", "answers"), HIDDEN),  # stored answer id -> local id + 1; 0: not revealed
    Array("stored_ids", _INT32, ("episodes", "answers"), HIDDEN),  # local id -> stored answer id
    Array("before", POOL, ("rewarded",), HIDDEN),  # of the episode before the step that is taken, for such a reward
    Array("questions", QUESTION, ("questions",), BANK),
    Array("branches", STORED_BRANCH, ("branches",), BANK),
    Array("probes", _INT32, ("probes",), BANK),  # of all branches, stored answer ids; -1: no answer yet
    Array("signal_values", _FLOAT32, ("probes", "signals"), BANK),  # of the interval before each of them
)
"""Every array of the state. Allocation, the addresses that kernels take, the checks of dtype and shape, copies and what
a controller is shown all follow from it."""


BY_EPISODE = tuple(array.name for array in TABLE if array.axes[:1] == ("episodes",))
"""The names of the arrays with a row for each episode."""

FUNCTIONS = ("reward", "aggregator", "begin", "perform", "play_round")
"""Functions that kernels call; ``Addresses`` hold their addresses, behind all sizes; 0: there is none.

The first two are a user's; the others are the transition, see ``entries.py``."""


def named(*owners: str) -> tuple[str, ...]:
    """The names of the arrays of some owners, in the order of the table."""
    return tuple(array.name for array in TABLE if array.owner in owners)


if TYPE_CHECKING:

    class Arrays:
        """Arrays of N episodes with M slots, K actions and at most A answers a question, by name; see ``TABLE``."""

        _fields: tuple[str, ...]

        def __init__(self, **arrays: NDArray[Any]) -> None: ...
        def __getattr__(self, name: str) -> NDArray[Any]: ...
        def __iter__(self) -> Iterator[NDArray[Any]]: ...
        def _asdict(self) -> dict[str, NDArray[Any]]: ...
        def _replace(self, **arrays: NDArray[Any]) -> Self: ...

    class RevealedArrays(Arrays):
        """The arrays that a controller may see."""

else:
    Arrays = namedtuple("Arrays", named(REVEALED, CONSTANT, HIDDEN, BANK))
    RevealedArrays = namedtuple("RevealedArrays", named(REVEALED, CONSTANT))


def allocate(sizes: Sizes) -> dict[str, NDArray[Any]]:
    """Fresh arrays of the episodes, blank: no episode has begun."""
    arrays = {each.name: np.zeros(each.shape(sizes), each.dtype) for each in TABLE if each.owner in (REVEALED, HIDDEN)}
    for each in TABLE:
        if each.owner in (REVEALED, HIDDEN) and each.blank:
            arrays[each.name].fill(each.blank)
    for name, fields in _BLANK.items():
        for field, value in fields.items():
            arrays[name][field] = value
    return arrays


_BLANK: dict[str, dict[str, int]] = {
    "pools": {"token_unit": MILLION, "stop_reason": TRUNCATED, "leader": -1, "finished_leader": -1, "answer": -1},
    "slots": {"answer": -1, "rank": -1, "newest": -1},
    "hidden_slots": {"branch": -1},
}
"""Fields of records that are not 0 before any episode has begun."""


def footprint(sizes: Sizes) -> int:
    """Bytes that a state of such sizes asks for, the bank's aside; not all of it is touched."""
    return sum(each.dtype.itemsize * math.prod(each.shape(sizes)) for each in TABLE if each.owner in (REVEALED, HIDDEN))


def actions(max_branches: int, explicit: bool) -> int:
    """Number of primitive actions for so many branch slots."""
    return FIRST_DEEPEN + (3 if explicit else 2) * max_branches

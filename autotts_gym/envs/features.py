"""What an agent observes: every feature with its range and meaning, in the order of the arrays.

All features are float32 in [0, 1], computed from what has been revealed, and do not depend on how answers are spelled
or numbered. Quantities without an upper end are squashed by x / (x + scale), which is monotone and keeps small values
apart.
"""

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class Feature(NamedTuple):
    """One number of an observation."""

    name: str
    meaning: str


TOKENS_SCALE = 500_000.0
SEQUENTIAL_SCALE = 20_000.0
HELD_SCALE = 50_000.0
DEPTH_SCALE = 10_000.0
COUNT_SCALE = 8.0
COST_WEIGHT_SCALE = 0.25
LATENCY_WEIGHT_SCALE = 1.0
PRICE_SCALE = 0.005
VOTES_SCALE = 4.0

POOL_FEATURES = (
    Feature("spent", "total tokens, squashed at 500 k"),
    Feature("spent_sequential", "sequential tokens, squashed at 20 k"),
    Feature("cost_paid", "reward paid for tokens so far, at most 1"),
    Feature("budget_left", "share of the token budget that is left; 1 without a budget"),
    Feature("opened", "opened branches / max_branches"),
    Feature("active", "active branches / max_branches"),
    Feature("finished", "finished branches / max_branches"),
    Feature("pruned", "pruned branches / max_branches"),
    Feature("can_open", "1 if BRANCH is admissible"),
    Feature("top_share", "the leader's share of the latest answers of branches not pruned"),
    Feature("runner_up_share", "the second most frequent answer's share of them"),
    Feature("confidence", "1 - BetaCDF(1/2; v1 + 1, v2 + 1) of their two top counts; 0 without votes"),
    Feature("distinct", "distinct answers / votes among them"),
    Feature("finished_top_share", "the same of finished branches: their leader's share"),
    Feature("finished_runner_up_share", "the second most frequent answer's share"),
    Feature("finished_confidence", "Beta confidence of the two top counts"),
    Feature("finished_distinct", "distinct answers / votes"),
    Feature("leaders_agree", "1 if both leaders exist and are the same answer"),
    Feature("active_on_leader", "active branches on the leader / active branches"),
    Feature("active_on_finished_leader", "active branches on the finished branches' leader / active branches"),
    Feature("finished_margin", "votes by which the finished branches' leader leads / max_branches"),
    Feature("leader_held", "tokens spent since the leader last changed, squashed at 50 k"),
    Feature("finished_leader_held", "branches finished since their leader last changed, squashed at 8"),
    Feature("active_depth", "mean depth of the active branches in tokens, squashed at 10 k"),
    Feature("finished_depth", "mean depth of the finished branches in tokens, squashed at 10 k"),
    Feature("deepest", "largest depth reached in tokens, squashed at 10 k"),
    Feature("active_stability", "mean run of equal answers of the active branches, squashed at 8"),
    Feature("cost_weight", "reward per million total tokens, squashed at 0.25"),
    Feature("latency_weight", "reward per million sequential tokens, squashed at 1"),
)

EVIDENCE_FEATURES = (
    Feature("price", "reward that a branch as deep as the finished ones (without them: the deepest) costs, squashed"),
    Feature("cost_weight", "reward per million total tokens, squashed at 0.25"),
    Feature("latency_weight", "reward per million sequential tokens, squashed at 1"),
    Feature("opened", "opened branches / max_branches"),
    Feature("can_open", "1 if BRANCH is admissible"),
    Feature("active", "active branches, squashed at 8"),
    Feature("finished", "finished branches, squashed at 8"),
    Feature("weighted_top_share", "the leader's share of the finished branches' weighted votes"),
    Feature("weighted_runner_up_share", "the second answer's share of them"),
    Feature("weighted_margin", "the difference of both in votes, squashed at 4"),
    Feature("finished_top_share", "the finished branches' leader's share when all count the same"),
    Feature("finished_confidence", "Beta confidence of the two top counts of the same"),
    Feature("finished_distinct", "distinct answers / votes of finished branches"),
    Feature("finished_leader_held", "branches finished since their leader last changed, squashed at 8"),
    Feature("leaders_agree", "1 if weighted and equal votes of the finished branches have the same leader"),
    Feature("active_on_weighted_leader", "active branches on the weighted votes' leader / active branches"),
    Feature("active_on_leader", "active branches on the leader of all latest answers / active branches"),
    Feature("finished_depth", "mean depth of the finished branches in tokens, squashed at 10 k"),
    Feature("finished_deviation", "standard deviation of their depths / their mean depth, squashed at 1"),
    Feature("active_depth", "mean depth of the active branches in tokens, squashed at 10 k"),
    Feature("active_ahead", "mean depth of the active branches, squashed at that of the finished ones"),
    Feature("overdue", "active branches half as deep again as the finished ones on average / active branches"),
    Feature("stubborn", "active branches off the leader for 24 answers in a row / active branches"),
    Feature("active_stability", "mean run of equal answers of the active branches, squashed at 8"),
)
"""What has been seen for and against stopping, in units that carry over from one question and model to another.

*Weighted votes* are those of the macro ``stop_weighted``: an answer counts the less, the longer its finished branches
are and the more branches have abandoned it."""

BRANCH_FEATURES = (
    Feature("active", "1 if the branch is active"),
    Feature("finished", "1 if it has finished"),
    Feature("pruned", "1 if it was pruned; a slot with all three 0 is closed, and so are all its features"),
    Feature("depth", "depth in tokens, squashed at 10 k"),
    Feature("agrees", "1 if its latest answer is the leader"),
    Feature("agrees_finished", "1 if its latest answer is the finished branches' leader"),
    Feature("vote_share", "share of its latest answer among those of branches not pruned"),
    Feature("finished_share", "share of its latest answer among those of finished branches"),
    Feature("stability", "length of its newest run of equal answers, squashed at 8"),
    Feature("changes", "changes of its answer / answers it has revealed"),
    Feature("off_leader", "how many of its newest answers in a row were not the leader's, squashed at 8"),
    Feature("finished_early", "1 - (place in the order of completion) / max_branches if it has finished, else 0"),
)

OBSERVATIONS = ("dict", "flat", "pool", "evidence")
assert len(EVIDENCE_FEATURES) != len(POOL_FEATURES)  # kernels tell by its width which of them a row has room for


def documentation() -> str:
    """All features in tables of Markdown: number, name, meaning and range, in the order of the arrays."""
    tables = (
        ("pool", 'Of the episode, in `observation="dict"` (key `pool`), `"flat"` and `"pool"`', POOL_FEATURES),
        (
            "branches",
            'Of each branch slot, in `"dict"` (key `branches`) and, behind the pool, `"flat"`',
            BRANCH_FEATURES,
        ),
        ("evidence", 'In `"evidence"`: what speaks for and against stopping', EVIDENCE_FEATURES),
    )
    lines = []
    for name, where, features in tables:
        lines += [
            f"### {name}",
            "",
            f"{where}:",
            "",
            "| number | name | meaning | range |",
            "| --- | --- | --- | --- |",
        ]
        lines += [f"| {k} | `{each.name}` | {each.meaning} | [0, 1] |" for k, each in enumerate(features)]
        lines.append("")
    return "\n".join(lines)


def unit_box(*shape: int) -> spaces.Box:
    """A float32 box of [0, 1]."""
    return spaces.Box(0.0, 1.0, shape, np.float32)


def observation_space(observation: str, max_branches: int) -> spaces.Space[Any]:
    """The space of one observation.

    Args:
        observation: "dict" (``pool`` (P,) and ``branches`` (M F,), slot by slot), "flat" (both in one (P + M F,)
            vector, pool first), "pool" (the pool's features alone, (P,)) or "evidence" (those of
            ``EVIDENCE_FEATURES``, (E,)).
        max_branches: M.

    Raises:
        ValueError: another name.
    """
    pool, branch = len(POOL_FEATURES), len(BRANCH_FEATURES)
    if observation == "dict":
        return spaces.Dict({"pool": unit_box(pool), "branches": unit_box(max_branches * branch)})
    if observation == "flat":
        return unit_box(pool + max_branches * branch)
    if observation == "pool":
        return unit_box(pool)
    if observation == "evidence":
        return unit_box(len(EVIDENCE_FEATURES))
    raise ValueError(f"observation: expected one of {OBSERVATIONS}, got {observation!r:.200}")


def observation_size(observation: str, max_branches: int) -> int:
    """Bytes of one observation."""
    return 4 * sum(math.prod(shape) for shape in buffer_shapes(observation, 1, max_branches))


class Buffers(NamedTuple):
    """Fresh arrays of N observations, for the kernels to write."""

    pool: NDArray[np.float32]  # (N, P), or (N, E) where the evidence is observed
    branches: NDArray[np.float32]  # (N, M, F); (N, 0, F) if they are not observed
    flat: NDArray[np.float32] | None  # (N, P + M F), of which the other two are views

    def observations(self) -> Any:
        """The batch of observations."""
        if self.flat is not None:
            return self.flat
        if self.branches.shape[1] == 0:
            return self.pool
        return {"pool": self.pool, "branches": self.branches.reshape(len(self.pool), -1)}

    def observation(self, n: int) -> Any:
        """One of them."""
        if self.flat is not None:
            return self.flat[n]
        if self.branches.shape[1] == 0:
            return self.pool[n]
        return {"pool": self.pool[n], "branches": self.branches[n].reshape(-1)}

    def observation_copies(self, rows: NDArray[np.int64]) -> list[Any]:
        """Some of them, in memory of their own."""
        if self.flat is not None:
            return list(self.flat[rows])
        if self.branches.shape[1] == 0:
            return list(self.pool[rows])
        branches = self.branches[rows].reshape(len(rows), -1)
        return [{"pool": pool, "branches": branch} for pool, branch in zip(self.pool[rows], branches, strict=True)]


class Results(NamedTuple):
    """What a step of N episodes gives, for the kernels to write.

    Of ``outcomes`` only the columns, and of the last three only the rows, of episodes that have just ended are written.
    """

    rewards: NDArray[np.float64]  # (N,)
    terminations: NDArray[np.bool_]  # (N,)
    truncations: NDArray[np.bool_]  # (N,)
    invalid: NDArray[np.bool_]  # (N,), whether the action was not admissible
    pool: NDArray[np.float32]  # as in Buffers
    branches: NDArray[np.float32]  # likewise
    outcomes: NDArray[np.int64]  # (7, N) by layout.OUTCOME, of episodes that have just ended
    last_masks: NDArray[np.int8]  # (N, actions), where in their place the next ones have begun
    last_pool: NDArray[np.float32]  # likewise
    last_branches: NDArray[np.float32]  # likewise


@cache
def buffer_shapes(observation: str, episodes: int, max_branches: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of ``Buffers.pool`` and ``Buffers.branches`` for N observations of a kind."""
    pool = len(EVIDENCE_FEATURES if observation == "evidence" else POOL_FEATURES)
    slots = max_branches if observation in ("dict", "flat") else 0
    return (episodes, pool), (episodes, slots, len(BRANCH_FEATURES))


def buffers(observation: str, episodes: int, max_branches: int) -> Buffers:
    """Arrays for N observations of a kind."""
    pool, branches = buffer_shapes(observation, episodes, max_branches)
    if observation == "flat":
        flat = np.empty((episodes, pool[1] + branches[1] * branches[2]), np.float32)
        return Buffers(flat[:, : pool[1]], flat[:, pool[1] :].reshape(branches), flat)
    return Buffers(np.empty(pool, np.float32), np.empty(branches, np.float32), None)

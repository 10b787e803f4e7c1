"""Stores of any size from a statistical model, for scale tests, examples, and the stores that ship.

No language model wrote anything in such a store. The model, with the defaults of ``Statistics`` chosen so that
aggregates (accuracy, lengths, convergence) resemble those of mid-sized reasoning models on a mathematics contest:

1. Each question draws the probability that a branch ends right from a mixture of three Beta distributions:
   hopeless, contested and easy questions. Their shares hold for any number of questions (a golden-ratio sequence
   picks the component), and a question does not depend on how many others there are.
2. A branch is right with that probability. Its depth is log-normal around a level of the question, longer for hard
   questions and for wrong branches, and capped; most right branches that reach the cap turn wrong there.
3. A wrong branch ends with the attractor of its question (one wrong answer with a share of its own) or with another
   wrong answer, by a Zipf law.
4. Probes are noise up to a convergence depth (a Beta fraction of the branch, earlier for right branches), and the
   final answer from there on, save for rare relapses; the last probe is always the final answer. Noise holds its
   value for a while, then changes: to "ERR", to an early glimpse of the final answer, or to another answer.
5. The total is the depth times Δ plus a finishing text of log-normal length; some branches end inside their last
   interval, and capped ones run a fixed few intervals on. No text is so long that probes seem to be missing
   (``autotts_gym.replay.probing``).
6. With signals, every interval has two more numbers, drawn apart, so that all else stays as it is without them.
   ``confidence`` is DeepConf's (arXiv 2508.15260), about 12: higher by 1 in right branches and by 0.8 where the probe
   is the branch's final answer, with a normal offset of each branch and a normal noise of each interval, both of
   standard deviation 1. ``certainty`` is how sure the model is of the probe's answer (DEER, arXiv 2504.15895), in (0,
   1): its logit is -1, plus 3 where the probe is the branch's final answer, plus 0.5 in right branches, with offset and
   noise of standard deviations 0.5 and 0.7. So both inform of what is right, and neither decides it.
"""

import sys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.errors import StoreError, quote
from autotts_gym.memory import require_memory
from autotts_gym.replay.columns import Columns, StringTable
from autotts_gym.replay.probing import longest
from autotts_gym.replay.store import BYTES_PER_BRANCH, MAX_TOKENS, ReplayStore
from autotts_gym.validation import check, is_integer

GENERATOR_VERSION = 2
"""Version of the generator; it is increased when the same seed gives other data."""

_GOLDEN = 0.6180339887498949
_NO_ANSWER = "ERR"


@dataclass(frozen=True)
class Statistics:
    """Parameters of the model; see the module's text for their roles.

    Attributes:
        shares: weights of hopeless, contested and easy questions; they sum to 1.
        skills: Beta parameters of the probability to end right, for each of the three.
        log_depth: mean log depth (in intervals) of a right branch of a question that is always answered right.
        log_depth_hard: added for a question that is never answered right, in proportion in between.
        log_depth_wrong: added for a wrong branch.
        log_depth_question: standard deviation of a question's level.
        log_depth_branch: standard deviation of a branch around it.
        max_depth: cap on the depth, in intervals.
        cap_failure: probability that a right branch at the cap turns wrong.
        attractor: Beta parameters of the attractor's share among wrong final answers.
        zipf: exponent of the other wrong answers' frequencies.
        wrong_answers: median number of wrong answers that a question can meet.
        wrong_answers_sd: standard deviation of its logarithm.
        settle_right: Beta parameters of the convergence depth of a right branch, as a fraction of its depth.
        settle_wrong: the same for a wrong branch.
        hold: probability that a noise probe repeats the one before.
        error: share of "ERR" among new noise probes.
        glimpse: share of the final answer among new noise probes.
        relapse: probability that a probe after convergence is noise again.
        finish_inside: share of branches that end inside their last interval.
        finish_tokens: median length of the finishing text of the others, in tokens.
        finish_sd: standard deviation of its logarithm.
        finish_max: longest finishing text, in tokens.
        cap_overrun: smallest and largest finishing text of a capped branch, in intervals.
    """

    shares: tuple[float, float, float] = (0.2, 0.4, 0.4)
    skills: tuple[tuple[float, float], ...] = ((0.4, 12.0), (2.0, 1.5), (14.0, 0.8))
    log_depth: float = 2.7
    log_depth_hard: float = 0.6
    log_depth_wrong: float = 0.3
    log_depth_question: float = 0.35
    log_depth_branch: float = 0.33
    max_depth: int = 80
    cap_failure: float = 0.85
    attractor: tuple[float, float] = (1.2, 3.5)
    zipf: float = 0.8
    wrong_answers: float = 60.0
    wrong_answers_sd: float = 0.8
    settle_right: tuple[float, float] = (2.6, 1.6)
    settle_wrong: tuple[float, float] = (4.0, 1.0)
    hold: float = 0.5
    error: float = 0.14
    glimpse: float = 0.1
    relapse: float = 0.004
    finish_inside: float = 0.17
    finish_tokens: float = 340.0
    finish_sd: float = 0.95
    finish_max: int = 4200
    cap_overrun: tuple[float, float] = (2.2, 2.9)


DEFAULT_STATISTICS = Statistics()


def synthesize(
    questions: int = 30,
    branches: int = 128,
    interval_tokens: int = 500,
    seed: int = 0,
    model: str = "synthetic",
    benchmark: str = "synthetic",
    statistics: Statistics = DEFAULT_STATISTICS,
    signals: bool = False,
) -> ReplayStore:
    """Make a synthetic store in memory; the same arguments give the same bits.

    Args:
        questions: number of questions.
        branches: branches per question.
        interval_tokens: Δ, tokens between probes.
        seed: seed of everything random, at least 0.
        model: name to store as the model.
        benchmark: name to store as the benchmark.
        statistics: parameters of the statistical model.
        signals: whether every interval has the signals ``confidence`` and ``certainty``.

    Returns:
        A store whose attributes say that it is synthetic, and how it was made.

    Raises:
        StoreError: if a number is out of range.
    """
    check("statistics", statistics, isinstance(statistics, Statistics), "Statistics", StoreError)
    for field, value, least in (("questions", questions, 1), ("branches", branches, 1), ("seed", seed, 0)):
        if not is_integer(value, least, sys.maxsize):
            raise StoreError(f"{field}: expected at least {least}, got {quote(value)}")
    questions, branches, seed = int(questions), int(branches), int(seed)  # numbers of NumPy may overflow
    require_memory(f"questions, branches: {questions} x {branches}", questions * branches * BYTES_PER_BRANCH)
    most = (MAX_TOKENS - statistics.finish_max) / (statistics.max_depth + statistics.cap_overrun[1])
    if not is_integer(interval_tokens, 1, int(most)):
        raise StoreError(f"interval_tokens: expected 1 to {MAX_TOKENS // 100}, got {quote(interval_tokens)}")
    interval_tokens = int(interval_tokens)
    made = [
        _question(np.random.default_rng([seed, q]), q, branches, interval_tokens, statistics) for q in range(questions)
    ]
    depths = np.concatenate([item.depths for item in made])
    drawn = [_signals(np.random.default_rng([seed, q, 0x516]), made[q]) for q in range(questions)] if signals else []
    return ReplayStore(
        Columns(
            branch_offsets=np.arange(questions + 1, dtype=np.int64) * branches,
            probe_offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(depths, dtype=np.int64)]),
            answer_offsets=np.cumsum([0, *(len(item.answers) for item in made)], dtype=np.int64),
            probes=np.concatenate([item.probes for item in made]),
            tokens=np.concatenate([item.tokens for item in made]),
            finals=np.concatenate([item.finals for item in made]),
            gold=np.array([item.gold for item in made], np.int32),
        ),
        StringTable.of("answers", (answer for item in made for answer in item.answers)),
        StringTable.of("questions", (f"Synthetic question {q}: nobody asked it." for q in range(questions))),
        model=model,
        benchmark=benchmark,
        interval_tokens=interval_tokens,
        attributes={
            "synthetic": True,
            "note": "Synthetic: drawn from a statistical model. No language model produced any of these branches, "
            "and no result on them says anything about one.",
            "generator": "autotts_gym.replay.synthetic",
            "generator_version": GENERATOR_VERSION,
            "seed": seed,
            "statistics": asdict(statistics),
            "license": "MIT",
        },
        signals={name: np.concatenate([each[name] for each in drawn]) for name in (drawn[0] if drawn else ())},
    )


@dataclass(frozen=True)
class _DrawnQuestion:
    """One question of B branches and P probes: depths, tokens, finals (B,) int32; probes (P,) int32."""

    depths: NDArray[np.int32]
    tokens: NDArray[np.int32]
    finals: NDArray[np.int32]
    probes: NDArray[np.int32]
    answers: list[str]
    gold: int


def _question(
    rng: np.random.Generator, index: int, branches: int, interval_tokens: int, s: Statistics
) -> _DrawnQuestion:
    """Draw one question; raw answer ids are 0 for gold, 1 for "ERR", 2 for the attractor, then the rest."""
    # The sequence spreads evenly, so even a few questions hold the shares of the mixture.
    component = int(np.searchsorted(np.cumsum(s.shares)[:-1], (index + 0.5) * _GOLDEN % 1.0))
    skill = rng.beta(*s.skills[component])
    level = s.log_depth + s.log_depth_hard * (1.0 - skill) + s.log_depth_question * rng.standard_normal()
    wrong_answers = int(np.clip(np.exp(np.log(s.wrong_answers) + s.wrong_answers_sd * rng.standard_normal()), 4, 900))
    zipf = np.cumsum(np.arange(1, wrong_answers + 1, dtype=np.float64) ** -s.zipf)
    zipf /= zipf[-1]
    attractor = rng.beta(*s.attractor)
    gold, *rest = rng.permutation(1000)[: wrong_answers + 2].tolist()
    strings = [str(gold), _NO_ANSWER, *map(str, rest)]

    right = rng.random(branches) < skill
    log_depths = level + s.log_depth_wrong * ~right + s.log_depth_branch * rng.standard_normal(branches)
    depths = np.clip(np.ceil(np.exp(log_depths)), 1, s.max_depth).astype(np.int32)
    capped = depths == s.max_depth
    right &= ~capped | (rng.random(branches) >= s.cap_failure)
    wrong = np.where(rng.random(branches) < attractor, 2, 3 + np.searchsorted(zipf, rng.random(branches)))
    finals = np.where(right, 0, wrong).astype(np.int32)

    probes = _probes(rng, depths, finals, right, zipf, s)
    probes, finals, kept = _renumbered(probes, finals, len(strings))
    return _DrawnQuestion(
        depths=depths,
        tokens=_tokens(rng, depths, capped, interval_tokens, s),
        finals=finals,
        probes=probes,
        answers=[strings[i] for i in kept],
        gold=kept.index(0),
    )


def _signals(rng: np.random.Generator, made: _DrawnQuestion) -> dict[str, NDArray[np.float32]]:
    """Draw the (P,) signals of a question."""

    def of_probes(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.repeat(values, made.depths).astype(np.float64)

    def drawn(weights: tuple[float, float, float], branch: float, interval: float) -> NDArray[np.float64]:
        level = weights[0] + weights[1] * right + weights[2] * final
        offset = of_probes(rng.normal(0.0, branch, made.depths.size))
        values: NDArray[np.float64] = level + offset + rng.normal(0.0, interval, final.size)
        return values

    right, final = of_probes(made.finals == made.gold), made.probes == of_probes(made.finals)
    confidence = drawn((12.0, 1.0, 0.8), 1.0, 1.0)
    certainty = 1.0 / (1.0 + np.exp(-drawn((-1.0, 0.5, 3.0), 0.5, 0.7)))
    return {"confidence": confidence.astype(np.float32), "certainty": certainty.astype(np.float32)}


def _probes(
    rng: np.random.Generator,
    depths: NDArray[np.int32],
    finals: NDArray[np.int32],
    right: NDArray[np.bool_],
    zipf: NDArray[np.float64],
    s: Statistics,
) -> NDArray[np.int32]:
    """Draw the (P,) raw answer ids of all branches, one after the other."""
    branches = depths.size
    ends = np.cumsum(depths, dtype=np.int64)
    settle = np.where(right, rng.beta(*s.settle_right, branches), rng.beta(*s.settle_wrong, branches))
    settled_from = ends - depths + np.floor(settle * depths).astype(np.int64)
    at = np.arange(ends[-1])

    changes = rng.random(at.size, np.float32) >= s.hold
    changes[ends - depths] = True
    settled = at >= np.repeat(settled_from, depths)
    settled &= rng.random(at.size, np.float32) >= s.relapse
    settled[ends - 1] = True
    final = np.repeat(finals, depths)

    kind = rng.random(at.size, np.float32)
    noise = 2 + np.searchsorted(zipf.astype(np.float32), rng.random(at.size, np.float32)).astype(np.int32)
    noise = np.where(kind < s.error, np.int32(1), np.where(kind < s.error + s.glimpse, final, noise))
    # Every probe takes the noise drawn at the last change at or before it.
    last_change = np.maximum.accumulate(np.where(changes, at, 0))
    return np.where(settled, final, noise[last_change])


def _renumbered(
    probes: NDArray[np.int32], finals: NDArray[np.int32], size: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], list[int]]:
    """Number answers by first appearance, gold last if unseen, as an importer does; so ids reveal nothing.

    Returns:
        The new probes and final answers, and the raw ids in their new order. A final answer is its branch's last
        probe, so probes alone give the order.
    """
    first = np.full(size, probes.size, np.int64)
    first[probes[::-1]] = np.arange(probes.size - 1, -1, -1)
    order = [int(raw) for raw in np.argsort(first, kind="stable") if first[raw] < probes.size]
    if 0 not in order:
        order.append(0)
    new = np.full(size, -1, np.int32)
    new[order] = np.arange(len(order), dtype=np.int32)
    return new[probes], new[finals], order


def _tokens(
    rng: np.random.Generator,
    depths: NDArray[np.int32],
    capped: NDArray[np.bool_],
    interval_tokens: int,
    s: Statistics,
) -> NDArray[np.int32]:
    """Draw the (B,) total tokens of branches."""
    branches = depths.size
    inside = -interval_tokens * rng.beta(1.0, 3.0, branches)
    after = np.minimum(np.exp(np.log(s.finish_tokens) + s.finish_sd * rng.standard_normal(branches)), s.finish_max)
    overrun = interval_tokens * rng.uniform(*s.cap_overrun, branches)
    finish = np.where(capped, overrun, np.where(rng.random(branches) < s.finish_inside, inside, after))
    total = np.maximum(depths * interval_tokens + np.rint(finish), 1)
    return np.minimum(total, longest(depths.astype(np.int64), interval_tokens)).astype(np.int32)

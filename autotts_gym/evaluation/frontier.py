"""The accuracy-token frontier of a family of settings, with intervals by bootstrap over questions.

A *family* is one controller over its knob. Each setting is a point: mean tokens and accuracy, averaged over seeds
within a question, over questions within a store, and over stores (a macro average: every store weighs the same). The
*curve* A(t) of a family joins its points, sorted by tokens, by straight lines in log-tokens:

    A(t) = a_i + (a_{i+1} - a_i) * (log t - log t_i) / (log t_{i+1} - log t_i)      for t_i <= t <= t_{i+1}

Right of the dearest point the curve keeps that point's accuracy: with a larger budget one may spend less. Left of the
cheapest point it is not defined (NaN): no setting of the family is that cheap. So a family's curve is
defined on [cheapest, infinity), and families are compared on the part that all of them share.

Intervals are percentile intervals of a bootstrap over questions (Efron & Tibshirani 1993, "An Introduction to the
Bootstrap", chapters 8 and 13), stratified as in Agarwal et al. 2021, "Deep RL at the edge of the statistical
precipice" (section 4.3): a resample redraws the n questions of every benchmark with replacement. The question of a
benchmark that several models answered is one question: stores of the same benchmark and the same number of questions
share the drawn indices. All families of a comparison see the same resamples, which makes the comparison paired.
Accuracy, tokens, order of the points, reference accuracy and common token range are all taken anew in each resample.
What the bootstrap does not vary is the seeds, over which each question has been averaged.

A statistic may be undefined in a resample (an accuracy never reached, a budget below the cheapest setting). It then
counts as the worst value, +inf tokens or -inf accuracy, in intervals and comparisons, and ``Interval.defined`` says in
which share of the resamples it was defined.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, Protocol, get_args

import numpy as np

from autotts_gym.errors import AutottsError, plain, quote
from autotts_gym.evaluation.resampling import Floats, Interval, Stratum, percentile_interval, resample
from autotts_gym.evaluation.results import EvaluationResult, setting_label
from autotts_gym.units import MILLION

Axis = Literal["total_tokens", "sequential_tokens"]

_SAME = 1e-9  # accuracies, log-tokens and ratios closer than this differ by rounding only


@dataclass(frozen=True)
class Setting:
    """One setting of a family.

    Attributes:
        controller: name of the controller.
        params: all its knobs.
        label: the setting in full, such as ``asc(branches=8, threshold=0.95)``.
        short: the setting with the knobs that vary in its family only, such as ``asc(branches=8)``.
    """

    controller: str
    params: Mapping[str, object]
    label: str
    short: str


@dataclass(frozen=True)
class Point:
    """A setting on the accuracy-token plane: mean tokens along the family's axis, and accuracy in [0, 1]."""

    setting: Setting
    tokens: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class StoreMeans:
    """The results of a family on one store, per question; arrays are float64 (settings, questions), means over seeds.

    Attributes:
        store: name of the store.
        model: whose branches it holds.
        benchmark: where its questions come from.
        accuracy: in [0, 1].
        total_tokens: tokens generated.
        sequential_tokens: tokens on the critical path.
        orders: number of orders of the pools that the means are over.
        repeats: how often each order was played: by every training seed of an agent once.
        synthetic: whether the store's branches are drawn from a statistical model.
        token_unit: tokens that a price was for.
    """

    store: str
    model: str
    benchmark: str
    accuracy: Floats
    total_tokens: Floats
    sequential_tokens: Floats
    orders: int = 1
    repeats: int = 1
    synthetic: bool = False
    token_unit: float = MILLION

    @property
    def questions(self) -> int:
        """Number of questions."""
        return int(self.accuracy.shape[1])

    @property
    def stratum(self) -> Stratum:
        """The key of the resamples: stores with an equal one share them."""
        return self.benchmark, self.questions


@dataclass(frozen=True)
class Comparison:
    """Family a against family b on the same resampled questions.

    Attributes:
        difference: statistic of a minus statistic of b; 0 in a resample where it is undefined for both.
        probability: share of the resamples in which a is better; a tie counts one half.
    """

    difference: Interval
    probability: float


@dataclass(frozen=True, eq=False)
class Curves:
    """R curves of S points each, as the module describes them.

    Attributes:
        tokens: float64 (R, S); ascending in each row, of equals the less accurate first.
        accuracy: float64 (R, S).
    """

    tokens: Floats
    accuracy: Floats

    @classmethod
    def through(cls, tokens: Floats, accuracy: Floats) -> Curves:
        """Return the curves through points given in any order, both (R, S)."""
        order = np.lexsort((accuracy, tokens), axis=-1)
        return cls(np.take_along_axis(tokens, order, -1), np.take_along_axis(accuracy, order, -1))

    @cached_property
    def log_tokens(self) -> Floats:
        """Natural logarithm of the tokens, (R, S); less than one token counts as one."""
        log_tokens: Floats = np.log(np.maximum(self.tokens, 1.0))
        return log_tokens

    def at(self, log_tokens: Floats) -> Floats:
        """Accuracy at the given log-tokens, (R,) or broadcast to it; NaN left of the cheapest point."""
        return self._read(log_tokens)[0]

    def area(self, lo: Floats, hi: Floats) -> Floats:
        """Mean accuracy over log-tokens from ``lo`` to ``hi``, that is, their integral over hi - lo, (R,).

        Where the ends coincide it is the accuracy there; NaN where lo > hi or lo is left of the cheapest point.
        """
        accuracy, start = self._read(lo)
        _, end = self._read(hi)
        span = hi - lo
        mean = np.divide(end - start, span, out=accuracy, where=span > _SAME)
        return np.where(span < -_SAME, np.nan, mean)

    def reach(self, accuracy: Floats) -> Floats:
        """Smallest tokens at which a curve has the given accuracy, (R,); NaN where it never does.

        A curve whose cheapest point has it already gives that point's tokens.
        """
        target = np.broadcast_to(accuracy, self.tokens.shape[:1])
        reached = self.accuracy >= target[:, None] - _SAME
        rows = np.arange(len(target))
        right = reached.argmax(axis=1)
        left = np.maximum(right - 1, 0)
        rise = self.accuracy[rows, right] - self.accuracy[rows, left]
        share = np.divide(target - self.accuracy[rows, left], rise, out=np.ones_like(rise), where=rise > 0)
        step = self.log_tokens[rows, right] - self.log_tokens[rows, left]
        between = np.exp(self.log_tokens[rows, left] + share * step)
        tokens = np.where(share < 1.0, between, self.tokens[rows, right])
        return np.where(reached.any(axis=1), tokens, np.nan)

    def peak(self) -> tuple[Floats, Floats]:
        """The highest accuracy and the smallest tokens of a point that has it, both (R,)."""
        rows = np.arange(len(self.accuracy))
        best = (self.accuracy >= self.accuracy.max(axis=1, keepdims=True) - _SAME).argmax(axis=1)
        return self.accuracy[rows, best], self.tokens[rows, best]

    def _read(self, log_tokens: Floats) -> tuple[Floats, Floats]:
        """Accuracy at the given log-tokens, and its integral from the cheapest point up to there."""
        x = np.broadcast_to(log_tokens, self.tokens.shape[:1])
        rows, last = np.arange(len(x)), self.tokens.shape[1] - 1
        index = np.count_nonzero(self.log_tokens <= x[:, None], axis=1) - 1
        left, right = np.maximum(index, 0), np.minimum(index + 1, last)
        x0, y0 = self.log_tokens[rows, left], self.accuracy[rows, left]
        width = self.log_tokens[rows, right] - x0
        share = np.divide(x - x0, width, out=np.zeros_like(width), where=width > 0)
        value = y0 + share * (self.accuracy[rows, right] - y0)
        steps = np.diff(self.log_tokens) * (self.accuracy[:, 1:] + self.accuracy[:, :-1]) / 2
        before = np.concatenate([np.zeros((len(x), 1)), np.cumsum(steps, axis=1)], axis=1)[rows, left]
        inside = index >= 0
        return np.where(inside, value, np.nan), np.where(inside, before + (x - x0) * (y0 + value) / 2, np.nan)


@dataclass(frozen=True, eq=False)
class Frontier:
    """A family of settings measured on the same stores; build one with ``from_results``.

    Attributes:
        name: what to call the family.
        settings: its S settings.
        stores: per-question means on every store; the macro average weighs stores equally.
        accounting: the token accounting of all results.
        x: the token axis that points, curve and statistics use.
    """

    name: str
    settings: tuple[Setting, ...]
    stores: tuple[StoreMeans, ...]
    accounting: str
    x: Axis = "total_tokens"

    @classmethod
    def from_results(cls, name: str, results: Iterable[EvaluationResult], x: Axis = "total_tokens") -> Frontier:
        """Groups results by setting, and settings into a family.

        Args:
            name: what to call the family.
            results: one result for every setting on every store, in any order.
            x: token axis, ``"total_tokens"`` or ``"sequential_tokens"``.

        Raises:
            AutottsError: if there is no result, a setting lacks a store, has it twice, with other questions or by
                another token unit, or the results mix token accountings.
        """
        by_setting: dict[str, dict[str, EvaluationResult]] = {}
        results = tuple(results)
        for result in results:
            result.require_gold("frontier")
        for result in results:
            group = by_setting.setdefault(result.label, {})
            if result.store in group:
                raise AutottsError(f"{name}: expected one result of {result.label} on {result.store}, got two")
            group[result.store] = result
        if not by_setting:
            raise AutottsError(f"{name}: expected at least one result, got none")
        groups = list(by_setting.values())
        first = groups[0]
        for label, group in by_setting.items():
            _check_same_cover(name, label, first, group)
        return cls(
            name=name,
            settings=_settings([next(iter(group.values())) for group in groups]),
            stores=tuple(
                StoreMeans(
                    store=store,
                    model=result.model,
                    benchmark=result.benchmark,
                    accuracy=np.stack([group[store].correct.mean(axis=0) for group in groups]),
                    total_tokens=np.stack([group[store].total_tokens.mean(axis=0) for group in groups]),
                    sequential_tokens=np.stack([group[store].sequential_tokens.mean(axis=0) for group in groups]),
                    orders=len(set(result.seeds)),
                    repeats=len(result.seeds) // len(set(result.seeds)),
                    synthetic=result.synthetic,
                    token_unit=result.token_unit,
                )
                for store, result in first.items()
            ),
            accounting=next(iter(first.values())).accounting,
        ).along(x)

    @classmethod
    def families(cls, results: Iterable[EvaluationResult], x: Axis = "total_tokens") -> tuple[Frontier, ...]:
        """Return one family for each controller in the results, in order of first appearance; see ``from_results``."""
        by_controller: dict[str, list[EvaluationResult]] = {}
        for result in results:
            by_controller.setdefault(result.controller, []).append(result)
        return tuple(cls.from_results(name, group, x) for name, group in by_controller.items())

    def along(self, x: Axis) -> Frontier:
        """Return the same family along another token axis."""
        if x not in get_args(Axis):
            raise AutottsError(f"x: expected one of {', '.join(get_args(Axis))}, got {quote(x)}")
        return replace(self, x=x)

    def on(self, stores: Iterable[str]) -> Frontier:
        """Return the family on some of its stores, in the family's order.

        Raises:
            AutottsError: if a name is not one of its stores, or none is given.
        """
        names = set(stores)
        known = [means.store for means in self.stores]
        if not names or names - set(known):
            raise AutottsError(f"{self.name}: expected stores among {', '.join(known)}, got {quote(sorted(names))}")
        return replace(self, stores=tuple(means for means in self.stores if means.store in names))

    def select(self, **params: object) -> Frontier:
        """Return the part of the family whose knobs have the given values, such as ``select(branches=64)``.

        Raises:
            AutottsError: if there is no such setting.
        """
        keep = [
            i
            for i, setting in enumerate(self.settings)
            if all(name in setting.params and setting.params[name] == value for name, value in params.items())
        ]
        if not keep:
            labels = ", ".join(setting.label for setting in self.settings)
            raise AutottsError(f"{self.name}: expected a setting among {labels}, got {quote(params)}")
        return replace(
            self,
            settings=tuple(self.settings[i] for i in keep),
            stores=tuple(
                replace(
                    means,
                    accuracy=means.accuracy[keep],
                    total_tokens=means.total_tokens[keep],
                    sequential_tokens=means.sequential_tokens[keep],
                )
                for means in self.stores
            ),
        )

    @property
    def token_unit(self) -> float:
        """The token unit of its stores, on average: what levels of its mean tokens are shares of."""
        return float(np.mean([means.token_unit for means in self.stores]))

    def evened(self) -> Frontier:
        """Return the same family with the tokens of every store scaled to one token unit, that of the family.

        A price is for the token unit of each store, so the price of an episode is the mean of these tokens, divided by
        that unit.
        """
        unit = self.token_unit
        return replace(
            self,
            stores=tuple(
                replace(
                    means,
                    total_tokens=means.total_tokens * (unit / means.token_unit),
                    sequential_tokens=means.sequential_tokens * (unit / means.token_unit),
                    token_unit=unit,
                )
                for means in self.stores
            ),
        )

    @property
    def points(self) -> tuple[Point, ...]:
        """The settings as points, sorted by tokens (of equals the less accurate first)."""
        tokens, accuracy = Draws(self).means(self)
        points = [Point(*row) for row in zip(self.settings, tokens[0].tolist(), accuracy[0].tolist(), strict=True)]
        return tuple(sorted(points, key=lambda point: (point.tokens, point.accuracy)))

    @property
    def undominated(self) -> tuple[Point, ...]:
        """The points that no other point of the family beats: each is more accurate than all that cost no more."""
        kept: list[Point] = []
        for point in self.points:
            if not kept or point.accuracy > kept[-1].accuracy + _SAME:
                kept = [each for each in kept if each.tokens < point.tokens] + [point]
        return tuple(kept)

    @property
    def peak(self) -> Point:
        """The most accurate point; of equally accurate ones the cheapest.

        It is the best of several settings on the questions it was chosen on, so it flatters a family with many.
        """
        points = self.points
        highest = max(point.accuracy for point in points)
        return next(point for point in points if point.accuracy >= highest - _SAME)

    def area(self, lo: float | None = None, hi: float | None = None) -> float:
        """Mean accuracy over log-tokens, the area under A divided by log(hi / lo); see ``Area``."""
        return self.estimate(Area(lo, hi))

    def accuracy_at(self, tokens: float) -> float:
        """A(tokens); NaN below the cheapest setting."""
        return self.estimate(AccuracyAt(tokens))

    def tokens_to_reach(self, accuracy: float | Frontier) -> float:
        """Smallest tokens at which the curve has an accuracy, NaN if it never has; see ``TokensToReach``."""
        return self.estimate(TokensToReach(accuracy))

    def estimate(self, statistic: Statistic) -> float:
        """Return a statistic of the family on the data; NaN where it is not defined."""
        return float(statistic([self], Draws(self))[0, 0])

    def interval(self, statistic: Statistic, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
        """Return a statistic with its percentile interval over resampled questions.

        Args:
            statistic: ``Area``, ``Peak``, ``AccuracyAt``, ``TokensToReach``, ``Saving``, or one of your own.
            level: nominal coverage in (0, 1).
            resamples: number of resamples.
            seed: seed of the resamples; the same seed gives the same interval.
        """
        return bootstrap([self], statistic, resamples=resamples, seed=seed).interval(0, level)

    def point_intervals(
        self,
        against: Frontier | None = None,
        *,
        level: float = 0.95,
        resamples: int = 2000,
        seed: int = 0,
    ) -> tuple[tuple[Interval, Interval], ...]:
        """Return the intervals of (accuracy, mean tokens) of every point, in the order of ``points``.

        Args:
            against: a reference on the same stores. If given, the intervals are those of the paired difference to
                the accuracy of its peak, and of the share of that point's tokens that is saved. What makes a
                resample easy or hard for all settings cancels.
            level: nominal coverage in (0, 1).
            resamples: number of resamples.
            seed: seed of the resamples.
        """
        draws = Draws(self, resamples, seed)
        tokens, accuracy = draws.means(self)
        if against is not None:
            best, cost = draws.curves(against.along(self.x)).peak()
            accuracy = accuracy - best[:, None]
            tokens = 1.0 - tokens / cost[:, None]
        labels = [setting.label for setting in self.settings]
        order = [labels.index(point.setting.label) for point in self.points]
        return tuple(
            (percentile_interval(accuracy[:, i], level), percentile_interval(tokens[:, i], level)) for i in order
        )


class Draws:
    """The data and its resamples: how often each draw holds each question of every stratum.

    Draw 0 is the data itself. The resamples of a benchmark depend on the seed, the benchmark's name and its number of
    questions only, so families, and a family on some of its stores, see the same ones.
    """

    def __init__(self, frontier: Frontier, resamples: int = 0, seed: int = 0) -> None:
        """Draw the resamples.

        Args:
            frontier: its stores say which questions there are.
            resamples: number of resamples, R.
            seed: non-negative seed.
        """
        if resamples < 0 or seed < 0:
            raise AutottsError(f"bootstrap: expected resamples >= 0 and seed >= 0, got {resamples} and {seed}")
        self._counts = {
            means.stratum: resample(means.stratum, resamples, seed)
            for means in sorted(frontier.stores, key=lambda means: means.stratum)
        }
        self._cover = _cover(frontier)
        self._name = frontier.name

    def left_out(self) -> Draws:
        """The questions that each resample does not hold, each once: what was chosen on a resample is judged on them.

        Draw 0, and a resample that holds every question, stays as it is.
        """
        outside = copy.copy(self)
        outside._counts = {stratum: _left_out(counts) for stratum, counts in self._counts.items()}
        return outside

    def means(self, frontier: Frontier) -> tuple[Floats, Floats]:
        """Macro averages of tokens along the family's axis and of accuracy, both (1 + R, settings).

        Raises:
            AutottsError: if the family was measured on other stores, other questions or by another accounting.
        """
        if _cover(frontier) != self._cover:
            raise AutottsError(
                f"{frontier.name}: expected the stores, questions and accounting of {self._name}, "
                f"{_describe(self._cover)}, got {_describe(_cover(frontier))}"
            )
        counts = [self._counts[means.stratum] for means in frontier.stores]
        pairs = list(zip(counts, frontier.stores, strict=True))
        tokens = [count @ getattr(means, frontier.x).T / count.shape[1] for count, means in pairs]
        accuracy = [count @ means.accuracy.T / count.shape[1] for count, means in pairs]
        return np.mean(tokens, axis=0), np.mean(accuracy, axis=0)

    def curves(self, frontier: Frontier) -> Curves:
        """The curve of a family on the data and on every resample: 1 + R curves."""
        return Curves.through(*self.means(frontier))


class Statistic(Protocol):
    """A number per family and draw; see ``Area`` for an example."""

    @property
    def larger_is_better(self) -> bool:
        """Which of two values is the better one; undefined values (NaN) count as the worst."""

    def __call__(self, families: Sequence[Frontier], draws: Draws) -> Floats:
        """Return the values (families, 1 + R); NaN where undefined."""


@dataclass(frozen=True)
class Area:
    """Mean accuracy over log-tokens from ``lo`` to ``hi`` tokens: the area under A(t) over log t, over log(hi / lo).

    Attributes:
        lo: tokens. By default those of the cheapest setting; of several families, the largest of these, which is
            where all curves are defined.
        hi: tokens. By default those of the dearest setting of all.
    """

    lo: float | None = None
    hi: float | None = None
    larger_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if any(end is not None and not 0 < end < math.inf for end in (self.lo, self.hi)) or (
            self.lo is not None and self.hi is not None and self.lo > self.hi
        ):
            raise AutottsError(f"area: expected 0 < lo <= hi in tokens, got lo={self.lo}, hi={self.hi}")

    def __call__(self, families: Sequence[Frontier], draws: Draws) -> Floats:
        """Return the values (families, 1 + R)."""
        curves = [draws.curves(family) for family in families]
        shape = curves[0].tokens.shape[:1]
        lo = np.max([c.log_tokens[:, 0] for c in curves], axis=0)
        hi = np.max([c.log_tokens[:, -1] for c in curves], axis=0)
        lo = lo if self.lo is None else np.full(shape, math.log(self.lo))
        hi = hi if self.hi is None else np.full(shape, math.log(self.hi))
        return np.stack([c.area(lo, hi) for c in curves])


@dataclass(frozen=True)
class Peak:
    """Highest accuracy of a family's settings. See ``Frontier.peak`` for its bias."""

    larger_is_better: ClassVar[bool] = True

    def __call__(self, families: Sequence[Frontier], draws: Draws) -> Floats:
        """Return the values (families, 1 + R)."""
        return np.stack([draws.curves(family).peak()[0] for family in families])


@dataclass(frozen=True)
class AccuracyAt:
    """Accuracy A(tokens) at a number of tokens; undefined below the cheapest setting."""

    tokens: float
    larger_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.tokens < math.inf:
            raise AutottsError(f"accuracy_at: expected tokens > 0, got {self.tokens}")

    def __call__(self, families: Sequence[Frontier], draws: Draws) -> Floats:
        """Return the values (families, 1 + R)."""
        x = np.asarray(math.log(self.tokens))
        return np.stack([draws.curves(family).at(x) for family in families])


@dataclass(frozen=True)
class TokensToReach:
    """Smallest tokens at which A has an accuracy; undefined where it never has.

    Attributes:
        target: an accuracy in [0, 1]; or a reference, usually one setting (``sc.select(branches=64)``), whose peak
            accuracy in each resample is the target there. The second is the question most have: a fixed number is
            easy to reach in a resample of easy questions and out of reach in one of hard questions.
    """

    target: float | Frontier
    larger_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.target, Frontier) and not 0 <= self.target <= 1:
            raise AutottsError(f"tokens_to_reach: expected an accuracy in [0, 1], got {self.target}")

    def __call__(self, families: Sequence[Frontier], draws: Draws) -> Floats:
        """Return the values (families, 1 + R)."""
        if isinstance(self.target, Frontier):
            target = draws.curves(self.target).peak()[0]
        else:
            target = np.asarray(self.target, dtype=np.float64)
        return np.stack([draws.curves(family).reach(target) for family in families])


@dataclass(frozen=True)
class Saving:
    """Share of a reference's tokens that a family saves at the reference's accuracy.

    1 - tokens_to_reach(accuracy of the reference's peak) / tokens of that peak; negative where more is spent, and
    undefined where the accuracy is never reached.
    """

    reference: Frontier
    larger_is_better: ClassVar[bool] = True

    def __call__(self, families: Sequence[Frontier], draws: Draws) -> Floats:
        """Return the values (families, 1 + R)."""
        rows = []
        for family in families:
            target, cost = draws.curves(self.reference.along(family.x)).peak()
            rows.append(1.0 - draws.curves(family).reach(target) / cost)
        return np.stack(rows)


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """A statistic of several families on the data and on the same resamples.

    Attributes:
        values: float64 (families, 1 + R); column 0 is the data; NaN where undefined.
        larger_is_better: which of two values is the better one.
    """

    values: Floats
    larger_is_better: bool

    def interval(self, family: int, level: float = 0.95) -> Interval:
        """Return the estimate and percentile interval of one family, by its index."""
        values = self.values[family]
        defined = 1.0 - float(np.isnan(values[1:]).mean())
        return replace(percentile_interval(self._filled(family), level), estimate=float(values[0]), defined=defined)

    def compare(self, a: int, b: int, level: float = 0.95) -> Comparison:
        """Return the paired comparison of two families, by their indices."""
        left, right = self._filled(a), self._filled(b)
        tie = np.isclose(left, right, rtol=_SAME, atol=0.0)
        difference = np.subtract(left, right, out=np.zeros_like(left), where=~tie)
        better = np.sign(difference[1:]) * (1 if self.larger_is_better else -1)
        both = ~np.isnan(self.values[a] + self.values[b])
        return Comparison(
            difference=replace(
                percentile_interval(difference, level),
                estimate=float(difference[0]) if both[0] else math.nan,
                defined=float(both[1:].mean()),
            ),
            probability=float((1 + better.mean()) / 2),
        )

    def _filled(self, family: int) -> Floats:
        values = self.values[family]
        return np.where(np.isnan(values), -np.inf if self.larger_is_better else np.inf, values)


def bootstrap(families: Sequence[Frontier], statistic: Statistic, *, resamples: int = 2000, seed: int = 0) -> Bootstrap:
    """Evaluate a statistic for several families on the same resampled questions.

    Args:
        families: families measured on the same stores, along the same axis.
        statistic: what to evaluate; it sees all families at once, so that ``Area`` takes their common range.
        resamples: number of resamples, at least 1.
        seed: non-negative seed; everything is a function of it.

    Raises:
        AutottsError: if families were measured on different stores, questions, accountings or along different axes.
    """
    axes = {family.x for family in families}
    if len(axes) != 1:
        raise AutottsError(f"bootstrap: expected families along one token axis, got {sorted(axes)}")
    if resamples < 1:
        raise AutottsError(f"bootstrap: expected at least 1 resample, got {resamples}")
    return Bootstrap(statistic(families, Draws(families[0], resamples, seed)), statistic.larger_is_better)


def compare(
    a: Frontier, b: Frontier, statistic: Statistic, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Comparison:
    """Compare two families on the same resampled questions; see ``Frontier.interval`` for the arguments."""
    return bootstrap([a, b], statistic, resamples=resamples, seed=seed).compare(0, 1, level)


def find_reference(families: Iterable[Frontier]) -> Frontier | None:
    """Return the self-consistency setting that reads most branches (SC@64 as a rule), or None if there is none."""
    found = [
        (branches, family)
        for family in families
        for setting in family.settings
        if setting.controller == "sc" and isinstance(branches := setting.params.get("branches"), int)
    ]
    if not found:
        return None
    branches, family = max(found, key=lambda pair: pair[0])
    return family.select(branches=branches)


def _settings(results: Sequence[EvaluationResult]) -> tuple[Setting, ...]:
    """Names the settings of a family; the short name leaves out knobs that all settings have in common."""
    names = {name for result in results for name in result.params}
    varying = {name for name in names if len({str(result.params.get(name)) for result in results}) > 1} or names
    return tuple(
        Setting(
            controller=result.controller,
            params=result.params,
            label=result.label,
            short=setting_label(result.controller, {k: v for k, v in result.params.items() if k in varying}),
        )
        for result in results
    )


def _check_same_cover(
    name: str, label: str, expected: Mapping[str, EvaluationResult], group: Mapping[str, EvaluationResult]
) -> None:
    """Check that a setting was measured on the stores, questions and accounting of the family's first one."""
    if group.keys() != expected.keys():
        raise AutottsError(
            f"{name}: {label}: expected results on {', '.join(sorted(expected))}, got {plain(', '.join(sorted(group)))}"
        )
    accounting = next(iter(expected.values())).accounting
    for store, result in group.items():
        questions, wanted = result.correct.shape[1], expected[store].correct.shape[1]
        if questions != wanted:
            raise AutottsError(f"{name}: {label}: expected {wanted} questions on {store}, got {questions}")
        if result.token_unit != expected[store].token_unit:
            raise AutottsError(
                f"{name}: {label}: expected a token unit of {expected[store].token_unit} on {store}, "
                f"got {result.token_unit}"
            )
        if result.accounting != accounting:
            raise AutottsError(
                f"{name}: {label}: expected accounting {quote(accounting)}, got {quote(result.accounting)}"
            )


def _cover(frontier: Frontier) -> tuple[str, frozenset[tuple[str, str, int]]]:
    return frontier.accounting, frozenset((means.store, *means.stratum) for means in frontier.stores)


def _describe(cover: tuple[str, frozenset[tuple[str, str, int]]]) -> str:
    accounting, stores = cover
    return f"{', '.join(f'{store} ({questions})' for store, _, questions in sorted(stores))} [{accounting}]"


def _left_out(counts: Floats) -> Floats:
    """Count of the questions that each row lacks, scaled to sum to their number as those of a resample do."""
    missing = np.where((counts == 0).any(axis=1, keepdims=True), counts == 0, counts)
    scaled: Floats = missing * (counts.shape[1] / missing.sum(axis=1, keepdims=True))
    return scaled

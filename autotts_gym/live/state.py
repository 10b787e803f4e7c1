"""Live episodes: a state whose rounds wait for the server, and are then played by the one transition."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotts_gym.controllers import Controller
from autotts_gym.engine import PoolState, RoundPlan, Rules
from autotts_gym.engine.layout import ACTIVE, FINISHED, RUNNING, TRUNCATED
from autotts_gym.errors import AutottsError
from autotts_gym.live.background import Background
from autotts_gym.live.bank import LiveBank
from autotts_gym.live.branches import LivePool
from autotts_gym.live.recording import Outcome
from autotts_gym.models import EndpointError


class Need(NamedTuple):
    """What an episode needs of a branch: to grow to a depth (None: to its end), and perhaps a probe there."""

    pool: LivePool
    branch: int
    depth: int | None
    probe: bool

    async def get(self) -> None:
        """Ask the server for it."""
        await self.pool.reach(self.branch, self.depth)
        if self.probe and not self.pool.ended[self.branch]:
            await self.pool.probe(self.branch)


class LiveState(PoolState):
    """N live episodes side by side.

    What a round needs is found by playing it on a copy, in which a branch that has not ended never does: what the copy
    reads beyond what is written is generated, and so again until it reads nothing else. Then the round is played. A
    branch that ends sooner only leaves more of a budget, so no interval is generated that the round does not read.

    Args:
        bank: a pool an episode.
        rules: of all episodes.
        background: the loop in which the server is asked.
    """

    bank: LiveBank

    def __init__(self, bank: LiveBank, rules: Rules, background: Background) -> None:
        super().__init__(bank, len(bank.questions), rules)
        self._background = background
        self._copy = PoolState(bank, self.episodes, rules)
        for state in (self, self._copy):
            state.arrays.rules["own_pools"] = True
        self.live: list[LivePool | None] = [None] * self.episodes
        """The branches of each episode; None: it has not begun."""
        self.failures: dict[int, EndpointError] = {}
        """Episodes that were ended, without an answer, since the server failed them."""
        self.forced: dict[int, str] = {}
        """Answers of episodes that had none when they were stopped: of a probe that was asked then."""
        self.deadline: float | None = None
        """When all episodes are stopped with the answers that they have then, by ``time.monotonic``; None: never."""
        self.late = False
        """Whether it has come."""

    def __getstate__(self) -> dict[str, Any]:
        """A live episode stays in its process.

        Raises:
            AutottsError: always.
        """
        raise AutottsError("live episodes: cannot be sent to another process or copied, as their server is not there")

    def adopt(self, pools: dict[int, LivePool]) -> None:
        """Take live pools for episodes that have just begun: slot i holds branch i."""
        chosen = np.zeros(self.episodes, np.bool_)
        for n, pool in pools.items():
            chosen[n] = True
            self._close(n)
            self.live[n] = pool
            self.failures.pop(n, None)
            self.forced.pop(n, None)
        self.deal(chosen, self.bank.order(self.episodes))

    def close(self) -> None:
        """Cancel all that is being generated of episodes that have not ended; may be called twice."""
        for n in range(self.episodes):
            self._close(n)

    def _close(self, n: int) -> None:
        if pool := self.live[n]:
            self._background.call(pool.close)

    def act(self, actions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Generate what primitive actions need, and take them; as ``PoolState.act``."""
        running = self.running
        self.generate(lambda copy: copy.act(actions))
        valid = super().act(actions)
        self.settle(running)
        return valid

    def play(self, plan: RoundPlan) -> int:
        """Generate what a round needs, and play it; as ``PoolState.play``."""
        running = self.running
        try:
            self.generate(lambda copy: copy.play(plan))
        except TimeoutError:
            self.late = True
            plan = RoundPlan.empty(*self.slots.shape)
            plan.stop[:] = True
            self._reread()  # a branch may have ended in time
        super().play(plan)
        self.settle(running)
        return int(np.count_nonzero(self.running))

    def generate(self, play: Callable[[PoolState], Any]) -> None:
        """Generate all that some way to play reads.

        Episodes that the server fails are ended without an answer, see ``failures``.

        Args:
            play: plays a step of the state that it is given.

        Raises:
            ControllerError: an episode is stopped with an answer that it has not seen.
            TimeoutError: it would take longer than the deadline.
        """
        while True:
            self._reread()
            self._copy.imitate(self)
            play(self._copy)
            wanted = self._wanted()
            if not wanted:
                return
            left = None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)
            for n, error in self._background.run(_reach(wanted), left).items():
                self.failures[n] = error
                ended = np.zeros(self.episodes, np.bool_)
                ended[n] = True
                self.truncate(ended)

    def _reread(self) -> None:
        """Read again what slots took from the bank when they were opened: how branches end is written later."""
        written = self.bank.branches.reshape(self.episodes, -1)[:, : self.slots.shape[1]]
        for name in ("tokens", "probes", "final"):
            self.arrays.hidden_slots[name] = written[name]

    def _wanted(self) -> dict[int, list[Need]]:
        """What the copy has read and nobody has written: by episode, branches and depths; None: to the end."""
        wanted: dict[int, list[Need]] = {}
        copy = self._copy
        for n in np.flatnonzero(self.running).tolist():
            pool = self.live[n]
            assert pool is not None
            opened = int(copy.pools["opened"][n])
            depth, status = copy.slots["depth"][n, :opened], copy.slots["status"][n, :opened]
            unended = ~pool.ended[:opened]
            whole = unended & (status == FINISHED)
            probe = np.zeros(opened, np.bool_)
            if self.rules.probe == "explicit" and opened:
                at = np.maximum(depth, 1) - 1
                probe = unended & ~whole & copy.arrays.probed[n, np.arange(opened), at] & (pool.probed[:opened] < depth)
            more = unended & (whole | probe | (depth > pool.depths[:opened]))
            rows = [
                Need(pool, i, None if whole[i] else int(depth[i]), bool(probe[i]))
                for i in np.flatnonzero(more).tolist()
            ]
            if rows:
                wanted[n] = rows
        return wanted

    def settle(self, running: NDArray[np.bool_]) -> None:
        """Cancel what no later round reads, after a step of the episodes that were running before it."""
        ended = running & ~self.running
        for n in np.flatnonzero(running & ~ended).tolist():
            pool = self.live[n]
            assert pool is not None
            for i in np.flatnonzero(self.slots["status"][n, : self.pools["opened"][n]] != ACTIVE).tolist():
                self._background.call(pool.close, i)
        over = {n: self.live[n] for n in np.flatnonzero(ended).tolist()}
        if over:
            work = {n: (pool, self._read(n)) for n, pool in over.items() if pool}
            forced, failures = self._background.run(_finish(work, self._unanswered(over)))
            self.forced |= forced
            self.failures |= failures

    def _read(self, n: int) -> int:
        """The tokens of branches that the rounds of an episode have read."""
        slots = self.slots[n, : self.pools["opened"][n]]
        whole = self.arrays.hidden_slots["tokens"][n, : len(slots)]
        return int(np.where(slots["status"] == FINISHED, whole, slots["depth"] * self.bank.interval).sum())

    def ended(self, controller: Controller, seeds: Sequence[int]) -> list[Outcome]:
        """How all episodes ended.

        Args:
            controller: that played them.
            seeds: of each.
        """
        fields = self.outcomes(True)
        answers = fields.pop("answers")
        found = []
        for n, pool in enumerate(self.live):
            assert pool is not None
            forced = self.forced.get(n)
            found.append(
                Outcome(
                    question=int(self.bank.problems[n]),
                    seed=seeds[n],
                    controller=controller.name,
                    params=dict(controller.params),
                    counts={name: int(values[n]) for name, values in fields.items()},
                    answer=answers[n] if forced is None else forced,
                    forced=forced is not None,
                    failure=str(self.failures.get(n, "")),
                    usage=pool.usage,
                )
            )
        return found

    def agreed(self) -> NDArray[np.bool_]:
        """Whether the answer given is the majority of the branches that the episode opened, (N,) bool."""
        agreed: NDArray[np.bool_] = (self.pools["answer"] >= 0) & (self.pools["answer"] == self.pools["leader"])
        return agreed

    def _unanswered(self, over: dict[int, Any]) -> dict[int, int]:
        """Episodes that were stopped without an answer, and a branch of each that may have one: the deepest active.

        Where every interval is probed, that branch has just said that it has none.
        """
        found: dict[int, int] = {}
        if self.bank.probing and self.rules.probe == "auto":
            return found
        for n in over:
            opened = int(self.pools["opened"][n])
            stopped = self.pools["stop_reason"][n] not in (RUNNING, TRUNCATED)
            if stopped and opened and self.pools["answer"][n] < 0:
                active = self.slots["status"][n, :opened] == ACTIVE
                if active.any():
                    found[n] = int(np.argmax(np.where(active, self.slots["depth"][n, :opened], -1)))
        return found


async def _reach(wanted: dict[int, list[Need]]) -> dict[int, EndpointError]:
    """Generate what episodes need; returns those that failed. The others of an episode that fails are cancelled."""

    async def episode(rows: list[Need]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for want in rows:
                    group.create_task(want.get())
        except BaseExceptionGroup as failures:
            raise _first(failures) from None

    done = await asyncio.gather(*map(episode, wanted.values()), return_exceptions=True)
    failed = {}
    for n, error in zip(wanted, done, strict=True):
        if isinstance(error, EndpointError):
            failed[n] = error
        elif isinstance(error, BaseException):
            raise error
    return failed


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of the errors of a group."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def _finish(
    over: dict[int, tuple[LivePool, int]], unanswered: dict[int, int]
) -> tuple[dict[int, str], dict[int, EndpointError]]:
    """Cancel all of some episodes, and ask those without an answer for one; returns answers and failures."""
    await asyncio.gather(*(pool.finish(read) for pool, read in over.values()))
    asked = await asyncio.gather(*(over[n][0].ask_now(b) for n, b in unanswered.items()), return_exceptions=True)
    answers, failures = {}, {}
    for n, answer in zip(unanswered, asked, strict=True):
        if isinstance(answer, EndpointError):
            failures[n] = answer
        elif isinstance(answer, BaseException):
            raise answer
        elif answer is not None:
            answers[n] = answer
    return answers, failures

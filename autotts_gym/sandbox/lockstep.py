"""All episodes of a program in lockstep: what they ask for becomes a round, and they are sent what it revealed."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from autotts_gym.engine import Revealed, RoundPlan
from autotts_gym.engine.layout import RUNNING
from autotts_gym.errors import ControllerError, quote
from autotts_gym.sandbox import messages
from autotts_gym.sandbox.batches import Batch
from autotts_gym.sandbox.config import Sandbox
from autotts_gym.sandbox.processes import Processes
from autotts_gym.sandbox.protocol import MAX_STEPS, ROUND
from autotts_gym.sandbox.static import Source

_WRONG = {
    messages.TORN: "ends in the middle of a request",
    messages.ROW: "asks for an episode that is not its turn",
    messages.NUMBER: "asks for more branches than there are",
    messages.SLOT: "names a branch that is not open",
    messages.ANSWER: "names an answer that was not seen",
    messages.SILENT: "leaves out an episode",
    messages.OWED: "does not open the branches that it asked for",
}


class Lockstep:
    """All episodes of a program that one batch plays, in lockstep; their processes start with the first ``decide``.

    Args:
        source: the program.
        betas: (N,) float64, its knob in each episode.
        revealed: N episodes that have begun.
        sandbox: limits and layers.
        batch: which of them share a process, and in which order each process begins them.
    """

    def __init__(
        self, source: Source, betas: NDArray[np.float64], revealed: Revealed, sandbox: Sandbox, batch: Batch
    ) -> None:
        rules = revealed.rules
        if rules.probe != "auto":
            raise ControllerError(f"{source.path}: expected rules with probe 'auto', got {quote(rules.probe)}")
        running = np.flatnonzero(revealed.pools["stop_reason"] == RUNNING)
        order = running[np.lexsort((batch.places[running], batch.processes[running]))]
        _, own, sizes = np.unique(batch.processes[order], return_inverse=True, return_counts=True)
        self._rows = order
        self._firsts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        # By row: its process, its number there, whether it is to ask for something, the depths it knows.
        self._process_of = np.zeros(revealed.episodes, np.int64)
        self._process_of[order] = own
        self._numbers = np.zeros(revealed.episodes, np.int64)
        self._numbers[order] = np.arange(len(order)) - self._firsts[own]
        self._awaited = np.zeros(revealed.episodes, np.bool_)
        self._awaited[order] = True
        self._known_depth = np.zeros(revealed.slots.shape, np.int32)
        self._asked: NDArray[np.int64] = order[:0]
        # How many branches can surely be opened; a pool that is smaller than the slots would give its question away.
        pools, slots = revealed.pools[order], rules.max_branches
        self._asking = np.zeros(revealed.episodes, np.bool_)
        self._sure = np.full(revealed.episodes, slots if (pools["slots"] == slots).all() else 0, np.int64)
        common = {
            "slots": slots,
            "sure": int(self._sure[0]),
            "budget": rules.token_budget,
            "signals": revealed.signal_names,
        }
        episodes = list(zip(betas[order].tolist(), pools["interval_tokens"].tolist(), strict=True))
        first_messages = [{**common, "episodes": episodes[first:end]} for first, end in pairwise(self._firsts.tolist())]
        bounds = (8 * (7 + 3 * slots) * sizes).tolist()
        self._processes = Processes(source, first_messages, bounds, sandbox, batch.servers, batch.since)
        self._begun = False

    def close(self) -> None:
        """End the processes."""
        self._processes.close()

    def decide(self, revealed: Revealed, plan: RoundPlan) -> None:
        """Write what the processes ask for into an empty plan.

        Raises:
            ProgramError: the program failed.
            ControllerError: a process can't start, or it was not sent what the last round revealed.
        """
        if not self._begun:
            self._begun = True
            self._processes.begin()
        self._asked = rows = self._rows[self._awaited[self._rows]]
        if not len(rows):
            raise ControllerError("decide: expected a call of look after each round that leaves episodes running")
        while len(rows):
            self._read(revealed, plan, rows)
            rows = rows[self._asking[rows]]  # they asked for a branch, get their message, and then ask for the rest
            self._asking[rows] = False
            self._send_reveals(revealed, rows)

    def _read(self, revealed: Revealed, plan: RoundPlan, rows: NDArray[np.int64]) -> None:
        """Write what the processes of these episodes ask for."""
        processes = np.unique(self._process_of[rows])
        received = self._processes.receive(processes.tolist(), ROUND)
        words = np.frombuffer(b"".join(received), np.int64)
        ends = np.cumsum([len(message) // 8 for message in received])
        wrong = messages.read_requests(
            *(words, ends, processes, self._rows, self._firsts, self._awaited, revealed.pools),
            *(revealed.rules.max_branches, self._sure, self._asking, MAX_STEPS, plan.arrays),
        )
        if wrong:
            self._processes.fail("answer" if wrong == messages.ANSWER else "protocol", f"a request {_WRONG[wrong]}")

    def look(self, revealed: Revealed) -> None:
        """Send the processes what the last round revealed."""
        self._send_reveals(revealed, self._asked)

    def _send_reveals(self, revealed: Revealed, rows: NDArray[np.int64]) -> None:
        """Send these episodes what has been revealed since their last message."""
        if not len(rows):
            return
        pools, slots = revealed.pools, revealed.slots
        records = pools[rows]
        opened = int(records["opened"].sum())
        grown: NDArray[np.int64] = np.empty((3, opened), np.int64)
        grown = grown[:, : messages.find_growth(pools, slots, rows, self._known_depth, *grown)]
        answers = revealed.reveals(*grown)
        size = 8 * len(rows) + 2 * opened + int(records["active"].sum() + records["finished"].sum()) + len(answers)
        history = revealed.arrays.signal_history
        size += len(answers) * history.shape[3]
        words, ends = np.empty(size, np.int64), np.empty(len(rows), np.int64)
        messages.write_reveals(
            *(pools, slots, history, rows, self._numbers[rows], self._sure),
            *(*grown, answers, words, words.view(np.float64), ends),
        )
        self._awaited[rows[records["stop_reason"] == RUNNING]] = True
        processes = self._process_of[rows]
        stops = ends[np.flatnonzero(np.diff(processes, append=-1))]
        data = words.data.cast("B")
        bounds = pairwise([0, *(8 * stops).tolist()])
        parts = zip(processes[np.diff(processes, prepend=-1) != 0].tolist(), bounds, strict=True)
        self._processes.send({c: data[start:stop] for c, (start, stop) in parts if stop > start})

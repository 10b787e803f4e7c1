"""A controller in the published style, for tests: the Confidence Momentum Controller from its definition.

It uses nothing but ``probe_new``, ``probe_more`` and what they return.
"""

import math
from collections import Counter


class OptimalController:
    """Plays one question."""

    def __init__(self, config):
        """Set every number from beta."""
        b = min(1.0, max(0.0, float(config["beta"])))
        self.n_init, self.max_open = max(2, round(2 + 6 * b)), min(64, round(4 + 60 * b))
        self.warm_up, self.abandon = max(2, round(2 + 8 * b)), max(3, round(3 + 9 * b))
        self.window, self.burst = max(2, round(2 + 6 * b)), max(1, round(1 + 2 * b))
        self.widen, self.min_done = max(1, round(1 + 3 * b)), max(2, round(2 + 3 * b))
        self.alpha, self.threshold = round(0.70 - 0.40 * b, 4), round(0.85 + 0.12 * b, 4)
        self.slack, self.trend = round(0.04 - 0.03 * b, 4), round(0.04 - 0.03 * b, 4)

    def judge(self, pool):
        """The majority of the pool, ties to the first, and its Beta confidence."""
        if not pool:
            return None, 0.0
        counts = Counter(pool)
        top, second = [*sorted(counts.values(), reverse=True), 0][:2]
        coins = top + second + 1
        sure = sum(math.comb(coins, k) for k in range(top + 1)) / 2**coins
        return counts.most_common(1)[0][0], sure

    def solve(self, question):
        """Return the answer."""
        branches, pool = [], []

        def widen(count):
            for _ in range(count):
                answer, index, _ = question.probe_new()
                branches.append({"index": index, "answer": answer, "steps": 0, "off": 0, "state": "active"})

        widen(self.n_init)
        ema, entries = 0.0, []
        for turn in range(500):
            leader, sure = self.judge(pool)
            ema = (1 - self.alpha) * ema + self.alpha * sure
            entries = [*entries, ema][-self.window :]
            active = [branch for branch in branches if branch["state"] == "active"]
            late = turn >= self.warm_up and leader is not None
            if late:
                for branch in active:
                    branch["off"] = branch["off"] + 1 if branch["answer"] != leader else 0
                for branch in sorted(active, key=lambda branch: -branch["off"]):
                    if branch["off"] >= self.abandon and len(active) > 2:
                        branch["state"] = "dropped"
                        active.remove(branch)
            for branch in sorted(active, key=lambda branch: -branch["steps"]):
                for _ in range(self.burst if late and branch["answer"] == leader else 1):
                    branch["answer"], finished = question.probe_more(branch["index"])
                    branch["steps"] += 1
                    if finished:
                        branch["state"] = "finished"
                        pool.append(branch["answer"])
                        break
            leader, sure = self.judge(pool)
            ema = (1 - self.alpha) * ema + self.alpha * sure
            entries[-1] = ema
            delta = entries[-1] - entries[0] if len(entries) > 1 else 0.0
            if turn >= self.warm_up and len(pool) >= self.min_done and ema >= self.threshold and delta >= -self.slack:
                return leader
            if all(branch["state"] != "active" for branch in branches):
                break
            widening = delta <= self.trend and turn >= max(1, self.warm_up // 2) and ema < self.threshold
            if len(branches) < self.max_open and widening:
                widen(min(self.widen, self.max_open - len(branches)))
        if pool:
            return self.judge(pool)[0]
        return self.judge([branch["answer"] for branch in branches if branch["state"] != "dropped"])[0]

"""Small stores as plain Python objects, drawn by Hypothesis: ragged, tiny, and full of odd branches."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from autotts_gym.engine import Rules
from autotts_gym.replay import Branch, Question, ReplayStore, build_store

LETTERS = ("a", "b", "c", "d")
ANSWERS = st.sampled_from((*LETTERS[:3], *LETTERS, None))


@dataclass(frozen=True)
class World:
    """Questions with their pools, and the store made of them."""

    interval: int
    questions: tuple[Question, ...]

    def store(self, benchmark: str = "world") -> ReplayStore:
        return build_store(self.questions, model="m", benchmark=benchmark, interval_tokens=self.interval)


@st.composite
def branches(draw: st.DrawFn, interval: int, longest: int = 6) -> Branch:
    probes = draw(st.lists(ANSWERS, min_size=1, max_size=longest))
    end = len(probes) * interval
    tokens = draw(
        st.one_of(
            st.just(end),  # a finishing step of no length
            st.integers(1, end),  # may end long before its last interval
            st.integers(max(1, end - interval), end),  # ends inside its last interval
            st.integers(end, end + 3 * interval),  # text behind the last probe
        )
    )
    final = draw(st.one_of(st.just(probes[-1]), ANSWERS))
    return Branch(probes, tokens, final)


@st.composite
def worlds(draw: st.DrawFn, questions: int = 2, pool: int = 7, least: int = 1, longest: int = 6) -> World:
    interval = draw(st.sampled_from((1, 3, 10, 500)))
    pools = draw(
        st.lists(st.lists(branches(interval, longest), min_size=least, max_size=pool), min_size=1, max_size=questions)
    )
    golds = draw(st.lists(st.sampled_from((*LETTERS, "unseen")), min_size=len(pools), max_size=len(pools)))
    return World(
        interval, tuple(Question(f"q{i}", gold, p) for i, (gold, p) in enumerate(zip(golds, pools, strict=True)))
    )


@st.composite
def rules(draw: st.DrawFn, interval: int, max_branches: int = 6, **fixed: Any) -> Rules:
    drawn = {
        "max_branches": draw(st.integers(1, max_branches)),
        "token_budget": draw(st.none() | st.integers(0, 12 * interval)),
        "probe": draw(st.sampled_from(("auto", "explicit"))),
        "probe_cost": draw(st.sampled_from((0, 1, interval, 2 * interval))),
        "accounting": draw(st.sampled_from(("exact", "autotts"))),
        "max_steps": draw(st.none() | st.integers(1, 40)),
        "auto_stop": draw(st.booleans()),
    }
    return Rules(**{**drawn, **fixed})

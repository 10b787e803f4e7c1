"""A user's compiled function is never that of another text, constant or helper."""

from collections import namedtuple
from types import FunctionType, ModuleType
from typing import Any

import gymnasium as gym
import numba
import numpy as np
import pytest

import autotts_gym
from autotts_gym.engine.frozen import UnknownValueError, digest_of

Rates = namedtuple("Rates", "paid")

PLAIN = "def f(x):\n    return x * K\n"


def made(text: str = PLAIN, file: str = "a.py", **known: Any) -> FunctionType:
    exec(compile(text, file, "exec"), known)
    function: FunctionType = known["f"]
    return function


def helper(result: int) -> Any:
    return numba.njit(made(f"def f():\n    return {result}\n"))


def module(**content: Any) -> ModuleType:
    made_module = ModuleType("constants")
    vars(made_module).update(content)
    return made_module


@pytest.mark.parametrize(
    ("text", "one", "other"),
    [
        (PLAIN, 2, 3),
        (PLAIN, 2, 2.0),
        (PLAIN, 1, True),
        (PLAIN, (1, 2), (1, 3)),
        (PLAIN, np.arange(3), np.arange(3.0)),
        (PLAIN, np.arange(3), np.array([0, 1, 3])),
        (PLAIN, np.float32(1), np.float64(1)),
        (PLAIN, np.sin, np.cos),
        ("def f(x):\n    return K()\n", helper(1), helper(2)),
        ("def f(x):\n    return K.rate * x\n", module(rate=1), module(rate=2)),
        ("def f(x):\n    return K.g() * x\n", module(g=helper(1)), module(g=helper(2))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_is_compiled_in_changes_the_digest(text: str, one: Any, other: Any):
    assert digest_of(made(text, K=one)) != digest_of(made(text, K=other))


def test_the_text_changes_the_digest_and_where_it_stands_does_not():
    assert digest_of(made(K=2)) == digest_of(made("\n\n" + PLAIN, "b.py", K=2))
    assert digest_of(made(K=2)) != digest_of(made(PLAIN.replace("*", "+"), K=2))
    assert digest_of(made(K=2)) != digest_of(made(PLAIN.replace("K", "7"), K=2))
    assert digest_of(made(K=2)) == digest_of(made(K=2, UNUSED=object()))


def test_defaults_and_closures_change_the_digest():
    assert digest_of(made("def f(x=1):\n    return x\n")) != digest_of(made("def f(x=2):\n    return x\n"))
    text = "def g(k):\n    def f(x):\n        return x * k\n    return f\nf = g({})\n"
    assert digest_of(made(text.format(1))) != digest_of(made(text.format(2)))


def test_a_function_that_calls_itself_has_a_digest():
    assert digest_of(made("def f(x):\n    return f(x - 1) if x else K\n", K=1))


@pytest.mark.parametrize("value", [{}, [1], object(), (1, []), Rates(1)], ids=lambda value: type(value).__name__)
def test_what_nothing_is_known_of_is_refused(value: Any):
    with pytest.raises(UnknownValueError):
        digest_of(made(K=value))


@pytest.mark.parametrize(("value", "wrap"), [("K", float), ("K.paid", Rates)], ids=["kept", "not kept"])
def test_an_environment_pays_by_the_function_that_it_is_given(value: str, wrap: Any):
    """As after an edit, a reload, or with another variable of the environment: the file and the line are the same."""
    text = f"def f(before, after, was_right, is_right):\n    return {value}\n"
    for paid in (0.25, 0.75):
        reward = autotts_gym.reward(made(text, "<stdin>", K=wrap(paid), __name__=__name__))
        env: Any = gym.make("AutoTTS-Replay-v0", reward=reward)
        env.reset(seed=0)
        assert env.step(1)[1] == paid


@pytest.mark.parametrize(
    ("decorator", "keyword"), [(autotts_gym.reward, "reward"), (autotts_gym.aggregator, "aggregator")]
)
def test_a_function_of_other_parameters_is_refused_in_one_line(decorator: Any, keyword: str):
    with pytest.raises(autotts_gym.errors.AutottsError, match=f"^{keyword} f: Numba cannot compile it: [^\n]+$"):
        gym.make("AutoTTS-Replay-v0", **{keyword: decorator(made("def f(x):\n    return 0\n"))}).reset()

"""How far long work is: lines where there is no terminal, a bar where there is one."""

import re
import threading

from autotts_gym import evaluate, progress
from autotts_gym.progress import Progress


class Lines:
    """A stream that is no terminal, and whose lines can be waited for."""

    def __init__(self, terminal=False):
        self.text, self.terminal = "", terminal
        self.come = threading.Event()

    def write(self, text):
        self.text += text
        if "\n" in text:
            self.come.set()

    def flush(self):
        pass

    def isatty(self):
        return self.terminal


def listening(monkeypatch):
    """Stand in for the standard error from here on; pytest sets its own after the fixtures."""
    made = Lines()
    monkeypatch.setattr("sys.stderr", made)
    monkeypatch.setattr(progress, "SECONDS", 0.01)
    return made


def test_without_a_terminal_lines_come_while_a_single_step_takes_its_time(monkeypatch):
    stream = listening(monkeypatch)
    with Progress("evaluating", 8) as work:
        work.update(2, "cmc")
        stream.come.clear()
        assert stream.come.wait(30), "expected a line"
    line = stream.text.splitlines()[-1]
    assert re.fullmatch(r"evaluating: 2/8, 0:0\d so far, about 0:0\d left; cmc", line), line


def test_nothing_is_printed_after_the_end_and_nothing_where_it_is_not_wanted(monkeypatch):
    stream = listening(monkeypatch)
    with Progress("work", show=False) as work:
        work.say("no")
    assert stream.text == ""
    with Progress("work"):
        assert any(thread.name == "progress" for thread in threading.enumerate())
    assert not any(thread.name == "progress" for thread in threading.enumerate())


def test_a_fraction_is_shown_in_percent_and_a_line_steers_no_terminal(monkeypatch):
    listening(monkeypatch)
    work = Progress("training", 1.0, percent=True)
    work.update(0.25, "\x1b[31m red")
    assert re.match(r"training: 25 %, 0:0\d so far, about ", work.line())
    assert "\x1b" not in work.line()


def test_an_evaluation_of_minutes_tells_how_far_it_is(monkeypatch):
    stream = listening(monkeypatch)

    class Patient:
        """Waits for a line in the middle of its work."""

        name, params = "patient", {}

        def begin(self, revealed):
            return None

        def decide(self, revealed, memory, plan):
            stream.come.clear()
            assert stream.come.wait(30), "expected a line"
            plan.stop[:] = True

    evaluate(Patient(), seeds=range(1), progress=True)
    assert "evaluating: 0/1" in stream.text

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tinkerer import Scripted, StandIn, Tinkerer, program

import agents.explorer.loop as loop
from agents.episodes import load_results
from agents.explorer.__main__ import main
from agents.explorer.config import Config
from agents.explorer.folder import RunFolder
from agents.explorer.judge import Judge, Terms, ignores_beta, play_program
from agents.explorer.proposers import make_proposer, read_options
from agents.explorer.proposers.base import Proposal, ProposerError, Usage
from autotts_gym import evaluate, make_controller
from autotts_gym.controllers.programs import Program
from autotts_gym.engine import Bank, Rules
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation import evaluate_all
from autotts_gym.replay import ReplayStore, synthesize

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "rounds": 2, "proposals": 3, "seeds": 2, "betas": 3, "screen_betas": 2, "screen_seeds": 1, "diagnosis_seeds": 1,
    "resamples": 40, "finalists": 2, "progress": False, "workers": 1, "validation": 0.25,
}  # fmt: skip


@pytest.fixture(scope="session")
def stores(tmp_path_factory):
    """Two models on the same eight questions."""
    folder = tmp_path_factory.mktemp("stores")
    made = [synthesize(8, 16, seed=seed, model=model, benchmark="x") for seed, model in ((1, "a"), (2, "b"))]
    return tuple(str(store.save(folder / f"{store.model}.h5")) for store in made)


@pytest.fixture(scope="session")
def seeds_of_search(tmp_path_factory):
    """A program to begin with."""
    path = tmp_path_factory.mktemp("programs") / "first.py"
    path.write_text(program(2, 10, 0.7))
    return (str(path),)


@pytest.fixture
def config(stores, seeds_of_search):
    return Config(**SMALL, stores=stores, programs=seeds_of_search)


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(loop, "Judge", StandIn)


@pytest.fixture(scope="session")
def finished(stores, seeds_of_search, tmp_path_factory):
    """A run with everything real but the proposer."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    proposer = Tinkerer()
    run = RunFolder(folder, Config(**SMALL, stores=stores, programs=seeds_of_search))
    assert loop.explore(run, proposer) == "rounds"
    return run, proposer


def story(folder):
    """Everything that a run found, without times, money and places."""
    found = {}
    for file in sorted(folder.glob("rounds/*/proposal-*/*")):
        if file.name in ("outcome.json", "proposal.json", "program.py", "prompt.md", "trace.txt", "diagnosis.json"):
            found[str(file.relative_to(folder))] = file.read_text()
        if file.suffix == ".npz":
            found[str(file.relative_to(folder))] = [result.correct.tolist() for result in load_results(file)]
    for file in sorted(folder.glob("rounds/*/round.json")):
        values = json.loads(file.read_text())
        found[str(file.relative_to(folder))] = {
            k: v for k, v in values.items() if not k.startswith(("cost", "seconds"))
        }
    best = json.loads((folder / "best.json").read_text())
    found["best"] = {name: value for name, value in best.items() if name != "run"}
    return found


def records(folder):
    return {record.id: record for record in RunFolder.open(folder).records()}


# -------------------------------------------------------------------- a run to its end


def test_a_run_leaves_everything_on_record(finished):
    run, _ = finished
    found = run.records()
    assert [record.id for record in found] == ["000-01", *(f"00{r}-0{n}" for r in (1, 2) for n in (1, 2, 3))]
    assert any(record.status == "evaluated" for record in found[1:])
    for record in found:
        names = {file.name for file in run.place_of(record.id).path.iterdir()}
        assert names >= {"proposal.json", "reply.md", "program.py", "outcome.json"}
        if record.status == "evaluated":
            assert names >= {"screen.npz", "results.npz", "diagnosis.json", "trace.txt"}
            assert len(load_results(run.place_of(record.id).path / "results.npz")) == 6
        if record.order[0]:
            assert "prompt.md" in names
            assert set(record.parents) <= {each.id for each in found if each.order < record.order}
    versions = json.loads((run.path / "versions.json").read_text())
    assert versions["sittings"][0]["git_commit"]
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["ended_by"] == "rounds"
    assert summary["usd"] == pytest.approx(0.06)


def test_figures_are_those_of_the_sweep_on_the_search_questions(finished):
    run, _ = finished
    record = run.records()[0]
    results = load_results(run.place_of(record.id).path / "results.npz")
    assert results[0].correct.shape == (2, 6)
    for beta, accuracy, tokens in record.frontier:
        own = [result for result in results if result.params["beta"] == beta]
        assert accuracy == pytest.approx(np.mean([result.accuracy for result in own]))
        assert tokens == pytest.approx(np.mean([result.mean_tokens for result in own]))
    assert record.figures is not None


def test_the_best_program_is_accepted_everywhere(finished, stores):
    run, _ = finished
    best = json.loads((run.path / "best.json").read_text())
    scores = [final["all"]["score"] for final in best["finalists"]]
    assert best["all"]["score"] == max(scores)
    assert best["validation_questions"] == [2, 2]
    assert len(scores) == 2
    source = run.place_of(best["id"]).program.read_text()
    assert (run.path / "best.py").read_text().endswith(source)
    controller = make_controller(run.path / "best.py", beta=0.5)
    assert evaluate(controller, stores[0], seeds=range(1)).correct.shape == (1, 8)


def test_a_proposer_sees_nothing_but_what_it_may(finished, stores):
    _, proposer = finished
    assert len(proposer.requests) == 6
    request = proposer.requests[-1]
    assert [parent.objective for parent in request.parents] == sorted(
        (parent.objective for parent in request.parents), reverse=True
    )
    assert {parent.id for parent in request.parents} <= {parent.id for parent in request.population}
    assert list(request.workspace.iterdir()) == []
    seen = request.prompt + json.dumps([parent.__dict__ for parent in request.population])
    for path in stores:
        store = ReplayStore.load(path)
        assert not any(store.questions[i] in seen for i in range(store.num_questions))
    assert len({each.seed for each in proposer.requests}) == 6


def scalars(folder):
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_has_the_rounds_the_frontiers_and_the_hand_written(finished):
    run, _ = finished
    charts = scalars(run.path)
    for tag in ("search/score", "search/objective", "search/evaluated", "cost/usd"):
        assert [step for step, _ in charts[tag]] == [0, 1, 2], tag
    assert charts["cost/usd"][-1][1] == pytest.approx(0.06)
    assert any(tag.startswith("diagnosis/") for tag in charts)
    best = json.loads((run.path / "best.json").read_text())
    assert charts["search/score"][-1][1] == pytest.approx(best["all"]["score"])
    (curve,) = [v for tag, v in scalars(run.path / "budget" / "best").items() if tag == "budget/accuracy"]
    record = {each.id: each for each in run.records()}[best["id"]]
    assert {round(tokens) for _, _, tokens in record.frontier} == {step for step, _ in curve}
    for name in ("CMC", "Self-consistency", "Parallel-Probe"):
        assert "budget/accuracy" in scalars(run.path / "controllers" / name)
    assert (run.path / "budget" / "round 002").is_dir()


def test_several_processes_find_the_same(finished, stores, seeds_of_search, tmp_path):
    run, _ = finished
    config = run.config.updated({"workers": 2})
    loop.explore(RunFolder(tmp_path / "two", config), Tinkerer())
    assert story(tmp_path / "two") == story(run.path)


def test_stores_side_by_side_play_as_evaluate_all_plays_them(stores, seeds_of_search):
    opened, path = [ReplayStore.load(store) for store in stores], Path(seeds_of_search[0])
    rules = Rules(accounting="autotts")
    expected = evaluate_all([Program(path, beta) for beta in (0.0, 1.0)], opened, seeds=range(3), rules=rules)
    got = play_program(path, Bank(opened), (0.0, 1.0), 3, rules)
    assert [result.label for result in got] == [result.label for result in expected]
    for one, other in zip(got, expected, strict=True):
        assert one.store == other.store
        for name in ("correct", "total_tokens", "sequential_tokens", "branches_opened", "branches_pruned"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


# -------------------------------------------------------------------- what goes wrong

GOOD = program(3, 9, 0.8)
IGNORES = GOOD.replace('int(schedule(beta)["width"])', "4")
CRASHES = GOOD.replace("    width = int", "    1 // 0\n    width = int")
SWINGS = GOOD.replace("3 + 9 * beta", "3 + 9 * beta * (1 - beta)")
RENAMED = GOOD.replace("width", "number")


def test_whatever_fails_is_an_outcome(config, tmp_path):
    replies = [
        ProposerError("429: too many requests", Usage(1, usd=0.03)),
        RuntimeError("a client that breaks"),
        "",
        "def solve(:",
        "x" * (loop.MAX_SOURCE + 1),
        IGNORES,
        CRASHES,
        SWINGS,
        GOOD,
        GOOD.replace('"""Read', '"""Other words: read') + "\n# and a comment\n",
        RENAMED,
        Proposal(GOOD, "", Usage(1, usd=0.01), meta={"bad": float("nan")}),
    ]
    proposer = Scripted(*replies, usd=0.05)
    run = RunFolder(tmp_path / "run", config.updated({"rounds": 1, "proposals": len(replies)}))
    assert loop.explore(run, proposer) == "rounds"
    found = [record for record in run.records() if record.order[0]]
    assert [(record.status, record.stage, record.kind) for record in found] == [
        ("failed", "proposal", "proposer"),
        ("failed", "proposal", "proposer"),
        ("failed", "proposal", "empty"),
        ("failed", "program", "static"),
        ("failed", "program", "static"),
        ("failed", "screen", "schedule"),
        ("failed", "screen", "exception"),
        ("failed", "program", "schedule"),
        ("evaluated", "done", ""),
        ("duplicate", "program", ""),
        ("duplicate", "screen", ""),
        ("failed", "proposal", "proposer"),
    ]
    assert found[0].message == "429: too many requests"
    assert "ignored" in found[5].message
    assert found[6].line == CRASHES.split("\n").index("    1 // 0") + 1
    assert (found[9].like, found[10].like) == ("001-09", "001-09")
    # A call that failed costs what its error says, and one that nobody knows the cost of its bound.
    assert json.loads((run.path / "summary.json").read_text())["usd"] == pytest.approx(0.03 + 0.05 * 11)


def test_what_is_clearly_worse_is_dropped_on_the_screen(config, tmp_path):
    none = GOOD.replace("    return None", "    return session.answers[-1]").replace("answers and", "False and")
    wasteful = none.replace('"width": 3', '"width": 12')
    run = RunFolder(tmp_path / "run", config.updated({"rounds": 1, "proposals": 1, "cost_weight": (5.0, 50.0)}))
    loop.explore(run, Scripted(wasteful))
    record = run.records()[-1]
    assert record.status == "dropped", record
    assert "beside the best program's" in record.message
    assert not (run.place_of(record.id).path / "results.npz").exists()


def test_a_program_that_fails_on_the_validation_questions_makes_room(config, tmp_path, monkeypatch):
    class Picky(StandIn):
        def begin(self, stage, path):
            if stage == "validation" and "proposal-02" in str(path):
                return lambda: loop.Failure("validation", "timeout", "too slow")
            return super().begin(stage, path)

    monkeypatch.setattr(loop, "Judge", Picky)
    run = RunFolder(tmp_path / "run", config.updated({"finalists": 9}))
    loop.explore(run, Tinkerer())
    best = json.loads((run.path / "best.json").read_text())
    assert not any(final["id"].endswith("-02") for final in best["finalists"])
    assert json.loads((run.path / "rounds/001/proposal-02/validation.json").read_text())["kind"] == "timeout"


def test_a_table_is_not_called_best(config, tmp_path, monkeypatch):
    class Forgetful(StandIn):
        def begin(self, stage, path):
            results = super().begin(stage, path)()
            if stage == "twin" and "proposal-02" in str(path):
                results = [replace(result, correct=np.zeros_like(result.correct)) for result in results]
            return lambda: results

    monkeypatch.setattr(loop, "Judge", Forgetful)
    run = RunFolder(tmp_path / "run", config.updated({"finalists": 9}))
    loop.explore(run, Tinkerer())
    best = json.loads((run.path / "best.json").read_text())
    assert not any(final["id"].endswith("-02") for final in best["finalists"])
    assert best["twin"]["high"] >= -0.02
    refused = json.loads((run.path / "rounds/001/proposal-02/twin.json").read_text())
    assert (refused["stage"], refused["kind"]) == ("twin", "table")


def test_a_judging_process_that_dies_costs_its_program_only(config, stores, tmp_path):
    terms = Terms(config, tuple(ReplayStore.load(store) for store in stores), ())
    (tmp_path / "p.py").write_text(GOOD)
    judge = Judge(terms, 2)
    try:
        wait = judge.begin("screen", tmp_path / "p.py")
        for worker in judge._pool._workers:
            os.kill(worker.process.pid, signal.SIGKILL)
        assert not ignores_beta(wait())
        assert judge.begin("screen", tmp_path / "p.py")() is not None
    finally:
        judge.close()


@pytest.mark.usefixtures("stand_in")
def test_the_budget_ends_the_run_before_it_is_passed(config, tmp_path):
    proposer = Tinkerer(usd=0.01)
    run = RunFolder(tmp_path / "run", config.updated({"budget_usd": 0.045}))
    assert loop.explore(run, proposer) == "budget"
    assert len(proposer.requests) == 3  # after which a fourth could cost two cents more
    assert json.loads((run.path / "summary.json").read_text())["usd"] == pytest.approx(0.03)
    again = RunFolder.open(run.path)
    again.config = again.config.updated({"budget_usd": 1.0})
    assert loop.explore(again, proposer) == "rounds"
    plain = RunFolder(tmp_path / "plain", config)
    loop.explore(plain, Tinkerer())
    assert story(run.path) == story(plain.path)


@pytest.mark.usefixtures("stand_in")
def test_minutes_end_the_run(config, tmp_path):
    class Slow(Tinkerer):
        def propose(self, request, progress):
            time.sleep(0.3)
            return super().propose(request, progress)

    run = RunFolder(tmp_path / "run", config.updated({"rounds": 0, "minutes": 0.02}))
    proposer = Slow()
    assert loop.explore(run, proposer) == "minutes"
    assert 1 <= len(proposer.requests) <= 6
    assert run.seconds > 0.3


@pytest.mark.usefixtures("stand_in")
def test_a_model_without_a_price_is_refused_before_it_is_called(config, tmp_path):
    class Unpriced(Tinkerer):
        def bound(self, request):
            return Usage(1, 100, 0, 100)

    proposer = Unpriced()
    with pytest.raises(AutottsError, match="expected a price for the model 'clay'"):
        loop.explore(RunFolder(tmp_path / "run", config), proposer)
    assert proposer.requests == []


@pytest.mark.usefixtures("stand_in")
def test_what_cannot_be_paid_is_refused_before_anything_is_evaluated(config, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "Judge", None)  # nothing gets as far as that
    for budget in (0.0, 0.019):
        run = RunFolder(tmp_path / "run", config.updated({"budget_usd": budget}))
        with pytest.raises(AutottsError, match=rf"budget_usd: expected at least 0\.0200 USD.* got {budget:g}"):
            loop.explore(run, Tinkerer())
    proposer = Tinkerer()
    proposer.bound = lambda request: Usage(1, 100, 0, 100)
    with pytest.raises(AutottsError, match=r"expected a price for the model 'clay'.*--price INPUT OUTPUT"):
        loop.explore(RunFolder(tmp_path / "run", config), proposer)
    assert not (tmp_path / "run" / "rounds").exists()


@pytest.mark.usefixtures("stand_in")
def test_a_run_in_which_every_proposal_failed_calls_nothing_its_best(stores, seeds_of_search, tmp_path, capsys):
    out = tmp_path / "run"
    options = [*small(stores, seeds_of_search), "--rounds", "1", "--out", str(out)]
    assert main(["--proposer", "exec:false", *options]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "all 3 proposals failed, 3 of them thus: proposer: exec:false: exit code 1" in printed.err
    assert not (out / "best.py").exists()
    assert not (out / "best.json").exists()
    summary = json.loads((out / "summary.json").read_text())
    assert summary["best"] is None
    assert summary["nothing_because"].startswith("all 3 proposals failed")


@pytest.mark.usefixtures("stand_in")
def test_the_ledger_says_what_was_charged_without_a_report(config, tmp_path):
    lost = ProposerError("the reply broke off", Usage(1, 10, 0, 10, 0.02, assumed=1))
    run = RunFolder(tmp_path / "run", config.updated({"rounds": 1, "proposals": 2}))
    loop.explore(run, Scripted(lost, GOOD, usd=0.05))
    lines = [json.loads(line) for line in (run.path / "ledger.jsonl").read_text().splitlines()]
    paid = {line["id"]: line for line in lines if line["event"] == "paid"}
    assert "1 of 1 calls at their bound" in paid["001-01"]["note"]
    assert "note" not in paid["001-02"]
    assert json.loads((run.path / "summary.json").read_text())["usage"]["assumed"] == 1


# -------------------------------------------------------------------- kills


class Killed(BaseException):
    """As far as files go, the process is gone."""


def killing(monkeypatch, after, late):
    """Die at a write: of the files that are replaced, and of the lines that are added to the ledger."""
    left, replace_, sync = [after], os.replace, os.fsync

    def count(real):
        def wrapped(*arguments):
            if left[0] == 0 and not late:
                raise Killed
            done = real(*arguments)
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return done

        return wrapped

    monkeypatch.setattr(os, "replace", count(replace_))
    monkeypatch.setattr(os, "fsync", count(sync))


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(("writes", "late"), [(17, False), (18, True), (31, True)])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(config, tmp_path, writes, late):
    plain = RunFolder(tmp_path / "plain", config)
    loop.explore(plain, Tinkerer())
    proposer, folder, sittings = Tinkerer(), tmp_path / "run", 0
    while True:
        run = RunFolder.open(folder) if (folder / "config.json").exists() else RunFolder(folder, config)
        sittings += 1
        assert sittings < 200
        with pytest.MonkeyPatch.context() as patch:
            killing(patch, writes + sittings % 5, late)
            try:
                loop.explore(run, proposer)
                break
            except Killed:
                continue
    assert sittings > 3
    assert story(folder) == story(plain.path)
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    lost = [line["id"] for line in lines if line["event"] == "lost"]
    paid = [line["id"] for line in lines if line["event"] == "paid"]
    assert len(paid) == len(set(paid)) == 6  # none is paid twice
    asked = [request.workspace.parent for request in proposer.requests]
    assert len(asked) <= 6 + len(lost)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["usd"] == pytest.approx(0.06 + 0.02 * len(lost))


DRIVER = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    import agents.explorer.loop as loop
    from agents.explorer.config import Config
    from agents.explorer.folder import RunFolder
    from tinkerer import StandIn, Tinkerer
    import time

    class Slow(Tinkerer):
        def propose(self, request, progress):
            print("asks", flush=True)
            time.sleep(0.05)
            return super().propose(request, progress)

    loop.Judge = StandIn
    folder = Path({folder!r})
    begun = (folder / "config.json").exists()
    run = RunFolder.open(folder) if begun else RunFolder(folder, Config(**{config!r}))
    print(loop.explore(run, Slow()), flush=True)
"""


def test_kill_9_loses_at_most_the_proposal_in_flight(config, tmp_path):
    folder = tmp_path / "run"
    code = textwrap.dedent(DRIVER).format(tests=str(Path(__file__).parent), folder=str(folder), config=config.as_dict())
    kills = 0
    for asked in (2, 1, 3, 99):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            asked -= line == "asks\n"
            if not asked:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
        process.stdout.close()
        process.wait(60)
    assert kills == 3
    plain = RunFolder(tmp_path / "plain", config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Judge", StandIn)
        loop.explore(plain, Tinkerer())
    assert story(folder) == story(plain.path)
    events = [json.loads(line)["event"] for line in (folder / "ledger.jsonl").read_text().splitlines()]
    assert events.count("paid") == 6
    assert events.count("lost") <= kills


@pytest.mark.usefixtures("stand_in")
def test_two_processes_cannot_work_on_one_run(config, tmp_path):
    run = RunFolder(tmp_path / "run", config)
    release = run.lock()
    try:
        with pytest.raises(AutottsError, match=f"expected no other process on this run, but process {os.getpid()} "):
            loop.explore(RunFolder(tmp_path / "run", config), Tinkerer())
    finally:
        release()
    loop.explore(RunFolder(tmp_path / "run", config.updated({"rounds": 1})), Tinkerer())


@pytest.mark.usefixtures("stand_in")
def test_a_run_does_not_go_on_with_another_store(config, tmp_path, stores):
    run = RunFolder(tmp_path / "run", config.updated({"rounds": 1}))
    loop.explore(run, Tinkerer())
    other = synthesize(8, 16, seed=9, model="a", benchmark="x").save(tmp_path / "a.h5")
    again = RunFolder.open(run.path)
    again.config = again.config.updated({"stores": (str(other), stores[1]), "rounds": 2})
    with pytest.raises(AutottsError, match=r"expected the store that .* was begun with, got another"):
        loop.explore(again, Tinkerer())


# -------------------------------------------------------------------- the command


def small(stores, programs):
    options = ["--stores", *stores, "--programs", *programs]
    for name, value in SMALL.items():
        options += [f"--no-{name}"] if value is False else [f"--{name.replace('_', '-')}", str(value)]
    return options


@pytest.mark.usefixtures("stand_in")
def test_the_command_runs_an_executable_and_goes_on(stores, seeds_of_search, tmp_path, capsys):
    (tmp_path / "given.py").write_text(program(1, 14, 0.93))
    spec = f"exec:cp {tmp_path / 'given.py'} {{output}}"
    out = tmp_path / "run"
    code = main(["--proposer", spec, *small(stores, seeds_of_search), "--rounds", "1", "--out", str(out)])
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    assert f"the best program is {out / 'best.py'}" in printed.out
    assert [record.status for record in records(out).values()][1:] == ["evaluated", "duplicate", "duplicate"]
    assert main(["--resume", str(out), "--rounds", "2"]) == 0
    assert len(records(out)) == 7
    assert main(["--out", str(out), "--resume"]) == 0


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--proposer", "nobody"], "proposer: expected one of"),
        (["--proposer", "openai"], "expected openai:MODEL"),
        (["--option", "x"], "option: expected NAME=VALUE"),
        (["--proposer", "exec:true", "--option", "color=1"], "exec: expected options"),
        (["--proposer", "exec:true", "--stores", "nowhere/none"], "nowhere/none"),
        (["--proposer", "exec:true", "--stores", "synthetic/heldout"], "heldout is held out"),
        (["--proposer", "exec:true", "--programs", "absent.py"], "absent.py: expected a program"),
        (["--proposer", "exec:true", "--prompts", "absent"], "expected a prompt file"),
        (["--proposer", "exec:true", "--rounds", "0"], "rounds, minutes: expected a limit"),
        (["--proposer", "exec:true", "--price", "1"], "price: expected two or three numbers"),
        (["--resume", "absent"], "absent: expected the folder of a run"),
        (["--resume"], "--resume: expected one folder"),
    ],
)
def test_bad_use_is_refused_in_one_line(arguments, words, tmp_path, capsys):
    if "--resume" not in arguments:
        arguments = [*arguments, "--out", str(tmp_path / "run")]
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") == 1


@pytest.mark.usefixtures("stand_in")
def test_what_a_run_was_begun_with_cannot_be_changed(config, tmp_path, capsys):
    run = RunFolder(tmp_path / "run", config.updated({"rounds": 1}))
    loop.explore(run, Tinkerer())
    assert main(["--resume", str(run.path), "--seeds", "5"]) == 2
    assert "got seeds" in capsys.readouterr().err
    assert main(["--out", str(run.path)]) == 2
    assert "expected a new run" in capsys.readouterr().err


def test_options_are_json_or_text():
    assert read_options(["a=1", "b=x=y", "c=[1]", 'd="1"']) == {"a": 1, "b": "x=y", "c": [1], "d": "1"}


def test_an_unknown_option_is_refused_with_those_of_the_class_and_its_bases():
    with pytest.raises(AutottsError, match=r"expected options .*base_url.*timeout.*, got colour"):
        make_proposer("openai:gpt", colour=1)
    with pytest.raises(AutottsError, match=r"got api_key") as caught:
        make_proposer("openai:gpt", api_key="k")
    assert "api_key" not in str(caught.value).partition("got")[0]


@pytest.mark.usefixtures("stand_in")
def test_a_run_of_another_version_is_refused_by_its_file(config, tmp_path):
    run = RunFolder(tmp_path / "run", config.updated({"rounds": 1}))
    loop.explore(run, Tinkerer())
    file = run.path / "rounds" / "001" / "proposal-01" / "outcome.json"
    file.write_text(json.dumps({"id": "001-01", "state": "good"}))
    with pytest.raises(AutottsError, match=r"outcome\.json: expected what this version of agents\.explorer writes"):
        loop.explore(RunFolder.open(run.path), Tinkerer())

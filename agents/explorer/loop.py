"""The loop: history, prompt, proposals, checks, screen, sweep, diagnosis, history.

All proposals of a round are asked for with the history of the rounds before it, so what a run finds does not depend on
how fast its parts are, on how many processes judge, or on where it was killed and continued.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from agents.augment import augmented
from agents.episodes import joined, save_results
from agents.explorer.config import PRICES, PROGRAMS, Config
from agents.explorer.display import Charts, Screen
from agents.explorer.folder import Place, Record, Reply, RunFolder, write, write_json
from agents.explorer.judge import Failure, Judge, Sweep, Terms, fingerprint
from agents.explorer.ledger import Ledger, cost
from agents.explorer.objective import Figures, Loss, Scale, choose_parents, points_of
from agents.explorer.prompts import Prompts
from agents.explorer.proposers.base import (
    BudgetError,
    Parent,
    Proposal,
    Proposer,
    ProposerError,
    Request,
    Usage,
    Verifiable,
)
from agents.splits import hold_out
from autotts_gym.controllers import Controller, make_controller
from autotts_gym.errors import AutottsError, plain
from autotts_gym.evaluation import EvaluationResult, Frontier, evaluate_all
from autotts_gym.evaluation.benchmark import PRESETS
from autotts_gym.evaluation.resampling import require_resamples
from autotts_gym.evaluation.runner import checked_seeds
from autotts_gym.memory import require_memory
from autotts_gym.models.prices import Prices
from autotts_gym.replay import ReplayStore, resolve_stores
from autotts_gym.replay.store import BYTES_PER_BRANCH
from autotts_gym.sandbox.static import outline

_BYTES_PER_ITEM = 1000

MAX_SOURCE = 200_000
"""Characters of the longest program that is looked at."""

HAND_WRITTEN = "hand-written"
"""The model of the programs that a run begins with."""

_REMEDY = ", or give --price INPUT OUTPUT in USD per million tokens (0 0 for a model that costs nothing)"


def _require_memory(config: Config, stores: Sequence[ReplayStore]) -> None:
    """Refuse a run whose numbers do not fit into memory.

    Raises:
        AutottsError: they do not.
    """
    branches = sum(store.num_branches for store in stores)
    questions = (1 + config.variants) * sum(store.num_questions for store in stores)
    require_memory(f"variants: {config.variants} of {branches} branches", config.variants * branches * BYTES_PER_BRANCH)
    checked_seeds(range(config.seeds), questions, config.betas)
    require_resamples(config.resamples, questions)
    for name in ("cost_weights", "proposals", "parents", "finalists", "diagnosis_seeds"):
        count = getattr(config, name)
        require_memory(f"{name}: {count}", count * _BYTES_PER_ITEM)


def terms_of(run: RunFolder, stores: Sequence[ReplayStore]) -> Terms:
    """What all judgements of a run have in common.

    Raises:
        AutottsError: a store is held out, or is given twice.
    """
    config = run.config
    for store in stores:
        if store.benchmark in config.held_out:
            raise AutottsError(
                f"{store.name}: expected a store to search on, but {store.benchmark} is held out (--held-out)"
            )
    names = [store.name for store in stores]
    if len(set(names)) < len(names):
        raise AutottsError(f"stores: expected different stores, got {plain(', '.join(names))}")
    _require_memory(config, stores)
    search, held = hold_out(stores, config.validation, config.split_seed)
    separate = search[0].num_questions < stores[0].num_questions
    search, held = (augmented(part, config.variants, config.split_seed) for part in (search, held))
    return Terms(config, tuple(search), tuple(held) if separate else ())


def explore(run: RunFolder, proposer: Proposer, command: str = "agents.explorer.loop.explore") -> str:
    """Begin a run, or go on with it, until its rounds, its minutes or its budget are spent.

    Args:
        run: its folder; whether there is a run in it already decides between beginning and going on.
        proposer: who writes the programs.
        command: what to note in the folder.

    Returns:
        What ended it: "rounds", "minutes" or "budget".

    Raises:
        AutottsError: something that is asked for is not possible, or another process works on the run.
    """
    config = run.config
    stores = resolve_stores(config.stores or None)
    for store in stores:
        store.require_gold("agents.explorer")
    terms = terms_of(run, stores)
    prices = Prices.load(config.prices or PRICES, config.price, _REMEDY)
    release = run.lock()
    try:
        ledger = Ledger(run.path / "ledger.jsonl", prices, config.budget_usd)
        smallest = Request(prompt="", seed=0, parents=(), population=(), workspace=run.path)
        ledger.require(proposer.bound(smallest), model_of(proposer))
        if isinstance(proposer, Verifiable):
            proposer.verify()
        begun = (run.path / "config.json").exists()
        if begun:
            run.check_stores(stores)
        kept = run.path / "prompts"
        prompts = Prompts(kept if kept.exists() else config.prompts)
        programs = beginnings(config.programs)
        if not begun:
            for name, text in prompts.texts.items():
                write(kept / f"{name}.md", text)
            run.begin(stores)
        run.sit_down(command)
        screen = Screen(config.progress)
        with screen, closing(Judge(terms, config.workers)) as judge:
            return Search(run, proposer, judge, terms, ledger, prompts, programs, screen).go()
    finally:
        release()


def beginnings(paths: Sequence[str]) -> list[Path]:
    """The programs that a run begins with.

    Raises:
        AutottsError: one cannot be read.
    """
    files = [Path(path) for path in paths] or sorted(
        file for file in PROGRAMS.glob("*.py") if not file.name.startswith("_")
    )
    for file in files:
        if not file.is_file():
            raise AutottsError(f"{file}: expected a program to begin with, got no such file")
    return files


def model_of(proposer: Proposer) -> str:
    """The model that a proposer is named for, whose price holds."""
    return proposer.name.partition(":")[2] or proposer.name


def barren(records: Sequence[Record]) -> str:
    """Why nothing came of a run's proposals, in a line; empty where something did: one was at least judged."""
    made = [record for record in records if record.order[0]]
    if not made:
        return "no proposal was made: the time was over before the first one"
    if any(record.status != "failed" for record in made):
        return ""
    reasons = Counter((record.kind, record.message) for record in made)
    (kind, message), count = reasons.most_common(1)[0]
    return f"all {len(made)} proposals failed, {count} of them thus: {kind}: {message}"


class Search:
    """A run at work.

    Args:
        run: its folder.
        proposer: who writes the programs.
        judge: who judges them.
        terms: by which they are judged.
        ledger: of what the proposer is paid.
        prompts: from which its prompts are rendered.
        programs: those to begin with.
        screen: the terminal.
    """

    def __init__(
        self,
        run: RunFolder,
        proposer: Proposer,
        judge: Judge,
        terms: Terms,
        ledger: Ledger,
        prompts: Prompts,
        programs: Sequence[Path],
        screen: Screen,
    ) -> None:
        self.run, self.config = run, run.config
        self.proposer, self.judge, self.terms = proposer, judge, terms
        self.ledger, self.prompts, self.screen = ledger, prompts, screen
        self.programs = programs
        self.model = model_of(proposer)
        self.scale = Scale(terms.objective, self.config.caution, self.config.level, self.config.resamples)
        cmc = [make_controller("cmc", beta=beta) for beta in self.config.sweep]
        self.reference = self._play(cmc, terms.search)
        self.reference_held = self._play(cmc, terms.held) if terms.held else []
        self._records = {record.id: record for record in run.records()}
        self._parents: dict[str, Parent] = {}
        self._began: float | None = None  # when the first step of this sitting began
        self._spent = run.seconds

    def _play(self, controllers: Sequence[Controller], stores: Sequence[ReplayStore]) -> list[EvaluationResult]:
        """What controllers of the package do on the episodes of a sweep."""
        return evaluate_all(controllers, stores, seeds=range(self.config.seeds), rules=self.config.rules)

    @property
    def records(self) -> list[Record]:
        """What became of all proposals so far, in their order."""
        return sorted(self._records.values(), key=lambda record: record.order)

    @property
    def seconds(self) -> float:
        """Seconds of search, over all sittings, each from its first step on: compilation comes before."""
        return self._spent + (0.0 if self._began is None else time.monotonic() - self._began)

    def _start_clock(self) -> None:
        """The first step of a sitting is the first request of a proposal, or else the first verdict."""
        if self._began is None:
            self._began = time.monotonic()

    # ------------------------------------------------------------ rounds

    def go(self) -> str:
        """Play rounds until something ends them; returns what did."""
        self._take_up()
        first = 0
        while self.run.round_file(first).exists():
            first += 1
        charts = Charts(self.run.path, first)
        try:
            if not first:
                charts.controllers(Frontier.families(self._play(PRESETS["paper"].controllers(), self.terms.search)))
            ending, round_ = "", first
            while not ending:
                ending = self._ending(round_) or self.round(round_, charts)
                round_ += 1
        finally:
            charts.close()
            self.run.keep_seconds(self.seconds)
        best = self.best()
        summary = {"ended_by": ending, "usd": self.ledger.usd, "usage": asdict(self.ledger.usage)}
        summary |= {"seconds": round(self.seconds, 3), "proposals": len(self.records), "best": best and best["id"]}
        summary["nothing_because"] = barren(self.records)
        write_json(self.run.path / "summary.json", summary)
        return ending

    def _take_up(self) -> None:
        """Settle the calls of an earlier sitting: those whose reply is safe, and those that were lost."""
        for name in self.ledger.unsettled:
            reply = self.run.place_of(name).reply()
            if reply is None:
                usd = self.ledger.lose(name)
                self.screen.say(f"{name}: the run was ended before its reply came; charged at its bound, {usd:.4f} USD")
            else:
                self.ledger.settle(name, reply.proposal.usage, reply.proposal.model or self.model)

    def _ending(self, round_: int) -> str:
        """What forbids to begin a round; a round is not begun if the time left is shorter than the last one took."""
        if self.config.rounds and round_ > self.config.rounds:
            return "rounds"
        if self.config.minutes and round_ > 0:
            file = self.run.round_file(round_ - 1)
            last = json.loads(file.read_text())["seconds"] if round_ > 1 else 0.0
            if self.seconds + last >= 60 * self.config.minutes:
                return "minutes"
        return ""

    def round(self, round_: int, charts: Charts) -> str:
        """Play a round; returns what ended the run in the middle of it, if something did."""
        began = self.seconds
        count = self.config.proposals if round_ else len(self.programs)
        places = [self.run.place(round_, i + 1) for i in range(count)]
        history = [record for record in self.records if record.order[0] < round_]
        best = self.best()
        self.screen.begin(
            f"round {round_}", len(places), f"best {best['id']}, score {best['all']['score']:.4f}" if best else ""
        )
        screening, ending = self._propose_all(places, history)
        self._judge_all(places, history, screening)
        self._validate()
        chosen = self._pick()
        self.run.keep_seconds(self.seconds)
        if ending:
            return ending
        figures = self._charted(round_, chosen)
        if round_ == 0 or chosen is not None:
            charts.round(round_, figures, self._frontier(chosen["id"], "results") if chosen else None)
        seconds = round(self.seconds - began, 3)
        write_json(
            self.run.round_file(round_),
            {"round": round_, "best": chosen and chosen["id"], "seconds": seconds, **figures},
        )
        return ""

    def _charted(self, round_: int, chosen: dict[str, Any] | None) -> dict[str, float]:
        """The figures of a round that has ended, by the names of their charts."""
        statuses = Counter(record.status for record in self.records if record.order[0] == round_)
        figures: dict[str, float] = {f"search/{status}": statuses[status] for status in STATUSES}
        if chosen is not None:
            figures |= {f"search/{name}": chosen["all"][name] for name in ("score", "estimate", "objective", "gain")}
            shares = self._records[chosen["id"]].diagnosis
            figures |= {f"diagnosis/{name}": share for name, share in shares.items()}
        usage = self.ledger.usage
        tokens = usage.input_tokens + usage.output_tokens
        figures |= {"cost/usd": self.ledger.usd, "cost/tokens": tokens, "cost/minutes": self.seconds / 60}
        return {name: round(float(value), 6) for name, value in figures.items()}

    # ------------------------------------------------------------ proposals

    def _propose_all(
        self, places: Sequence[Place], history: Sequence[Record]
    ) -> tuple[dict[int, tuple[Record, Callable[[], Any]]], str]:
        """Get the proposals of a round, and begin to screen each as it comes.

        Returns:
            By number, what is known of a proposal and what waits for its screen; and what ended the run, if it did.
        """
        digests = {record.digest: record.id for record in reversed(history) if record.digest}
        screening: dict[int, tuple[Record, Callable[[], Any]]] = {}
        for place in places:
            done = place.record()
            if done is not None:
                digests.setdefault(done.digest, done.id)
                continue
            reply = place.reply() or self._propose(place, history)
            if isinstance(reply, str):
                return screening, reply
            place.unfold(reply)
            record = self._look(place, reply, digests)
            if record.status:
                self._keep(place, record)
            else:
                digests[record.digest] = place.id
                screening[place.number] = record, self.judge.begin("screen", place.program)
        return screening, ""

    def _propose(self, place: Place, history: Sequence[Record]) -> Reply | str:
        """Ask for a proposal and keep the reply; or return what ends the run before it."""
        if place.round == 0:
            source = self.programs[place.number - 1].read_text()
            about = {"file": self.programs[place.number - 1].name}
            reply = Reply(Proposal(source, source, model=HAND_WRITTEN, meta=about))
            place.keep_reply(reply)
            return reply
        if self.config.minutes and self.seconds >= 60 * self.config.minutes:
            return "minutes"
        request = self._request(place, history)
        bound = self.proposer.bound(request)
        if bound != Usage():
            try:
                self.ledger.reserve(place.id, bound, self.model)
            except BudgetError as error:
                self.screen.say(str(error))
                return "budget"
        self._start_clock()
        self.screen.doing(f"{place.id}: {self.proposer.name} writes")
        reply = replace(self._ask(request, bound), parents=tuple(parent.id for parent in request.parents))
        place.keep_reply(reply)
        usage = reply.proposal.usage
        if bound != Usage() or usage != Usage():
            usd = self.ledger.settle(place.id, usage, reply.proposal.model or self.model)
            if usage.assumed:
                self.screen.say(
                    f"{place.id}: charged {usd:.4f} USD, {usage.assumed} of {usage.calls} calls at their bound, as "
                    "nothing was reported of their use"
                )
        return reply

    def _ask(self, request: Request, bound: Usage) -> Reply:
        """Make the call; whatever goes wrong with it becomes part of the reply."""
        try:
            proposal = self.proposer.propose(request, self.screen.stream)
            json.dumps(proposal.meta, allow_nan=False)
            return Reply(proposal)
        except ProposerError as error:
            return Reply(Proposal("", "", error.usage, self.model), _line(str(error)))
        except Exception as error:  # a client that breaks; nobody can say what it cost
            lost = replace(bound, usd=cost(self.ledger.prices, bound, self.model), assumed=bound.calls)
            return Reply(Proposal("", "", lost, self.model), _line(f"{type(error).__name__}: {plain(error)}"))

    def _request(self, place: Place, history: Sequence[Record]) -> Request:
        population = [record for record in history if self._eligible(record)]
        chosen = choose_parents(
            [_figures(record).score for record in population],
            [record.returns for record in population],
            self.config.parents,
            np.random.default_rng([self.config.seed, place.round, place.number, 1]),
        )
        parents = [population[i] for i in chosen]
        shown = [
            (record, self._parent(record).source, (self.run.place_of(record.id).path / "trace.txt").read_text())
            for record in parents
        ]
        reference = Frontier.from_results("cmc", self.reference)
        prompt = self.prompts.task(self.config, self.terms.search, reference, shown, history, place.round, place.number)
        write(place.path / "prompt.md", prompt.encode(errors="replace"))
        seed = np.random.SeedSequence([self.config.seed, place.round, place.number]).generate_state(1)
        return Request(
            prompt=prompt,
            seed=int(seed[0]),
            parents=[self._parent(record) for record in parents],
            population=[self._parent(record) for record in population],
            workspace=place.workspace(),
        )

    def _look(self, place: Place, reply: Reply, digests: dict[str, str]) -> Record:
        """What can be said of a reply without running it; without a status if nothing speaks against it."""
        proposal = reply.proposal
        model = proposal.model or self.model
        record = Record(place.id, "", "proposal", model=model, parents=reply.parents, meta=proposal.meta)
        if reply.error:
            return replace(record, status="failed", kind="proposer", message=reply.error)
        if not proposal.source.strip():
            return replace(record, status="failed", kind="empty", message="the reply holds no program")
        if len(proposal.source) > MAX_SOURCE:
            message = f"expected at most {MAX_SOURCE} characters of program, got {len(proposal.source)}"
            return replace(record, status="failed", stage="program", kind="static", message=message)
        digest, about = outline(proposal.source)
        record = replace(record, digest=digest, about=about, stage="program")
        if digest in digests:
            like = digests[digest]
            return replace(record, status="duplicate", like=like, message=f"the same program as {like}")
        return record

    # ------------------------------------------------------------ judgement

    def _judge_all(
        self,
        places: Sequence[Place],
        history: Sequence[Record],
        screening: dict[int, tuple[Record, Callable[[], Any]]],
    ) -> None:
        """Judge the proposals of a round, in their order."""
        seen = {record.fingerprint: record.id for record in reversed(history) if record.fingerprint}
        best = self._frontier(ranked[0].id, "screen") if (ranked := self._ranked(history)) else None
        sweeping: list[tuple[Place, Record, Callable[[], Any]]] = []
        for place in places:
            if place.number not in screening:
                done = place.record()
                if done is not None and done.fingerprint:
                    seen.setdefault(done.fingerprint, done.id)
                continue
            record, wait = screening[place.number]
            self.screen.doing(f"{place.id}: screen")
            answer = wait()
            self._start_clock()
            record = self._screened(place, record, answer, seen, best if place.round else None)
            if record.fingerprint:
                seen.setdefault(record.fingerprint, record.id)
            if record.status:
                self._keep(place, record)
            else:
                sweeping.append((place, record, self.judge.begin("sweep", place.program)))
        for place, record, wait in sweeping:
            self.screen.doing(f"{place.id}: sweep")
            self._keep(place, self._swept(place, record, wait()))

    def _screened(
        self,
        place: Place,
        record: Record,
        answer: list[EvaluationResult] | Failure,
        seen: dict[str, str],
        best: Frontier | None,
    ) -> Record:
        """What a screen says of a proposal; without a status if it is to be swept."""
        if isinstance(answer, Failure):
            return _failed(record, answer)
        save_results(place.path / "screen.npz", answer)
        record = replace(record, stage="screen", fingerprint=fingerprint(answer))
        if record.fingerprint in seen:
            like = seen[record.fingerprint]
            return replace(record, status="duplicate", like=like, message=f"the same episodes as {like}")
        if best is not None:
            family = Frontier.from_results(place.id, answer)
            worse, difference, high = self.scale.clearly_worse(family, best, self.config.screen_level)
            if worse:
                message = f"objective {difference:+.4f}, at most {high:+.4f}, beside the best program's on the screen"
                return replace(record, status="dropped", message=message)
        return record

    def _swept(self, place: Place, record: Record, answer: Sweep | Failure) -> Record:
        if isinstance(answer, Failure):
            return _failed(record, answer)
        save_results(place.path / "results.npz", answer.results)
        write_json(place.path / "diagnosis.json", answer.diagnosis)
        write(place.path / "trace.txt", answer.trace)
        family = Frontier.from_results(place.id, answer.results)
        figures = self.scale.figures(family, Frontier.from_results("cmc", self.reference))
        return replace(
            record,
            status="evaluated",
            stage="done",
            figures=figures,
            frontier=tuple(sorted(points_of(family))),
            returns=tuple(self.scale.objective.best_returns(family)),
            diagnosis=answer.shares,
        )

    def _keep(self, place: Place, record: Record) -> None:
        place.keep_record(record)
        self._records[record.id] = record
        self.run.keep_seconds(self.seconds)
        self.screen.outcome(record)

    # ------------------------------------------------------------ the best

    def _eligible(self, record: Record) -> bool:
        """Whether a program was evaluated, and neither its twin nor the validation questions have refused it since."""
        folder = self.run.place_of(record.id).path
        return record.status == "evaluated" and not any((folder / f"{stage}.json").exists() for stage in FINAL_STAGES)

    def _ranked(self, records: Sequence[Record]) -> list[Record]:
        """The eligible ones, best score first; of equals the earlier one."""
        eligible = [record for record in records if self._eligible(record)]
        return sorted(eligible, key=lambda record: (-_figures(record).score, record.order))

    def _finalists(self) -> list[Record]:
        return self._ranked(self.records)[: self.config.finalists]

    def _validate(self) -> None:
        """Play twin and validation questions with every finalist that has not yet; one that fails makes room."""
        stages = FINAL_STAGES if self.terms.held else FINAL_STAGES[:1]
        while True:
            places = [self.run.place_of(record.id) for record in self._finalists()]
            todo = [
                (place, stage) for place in places for stage in stages if not (place.path / f"{stage}.npz").exists()
            ]
            if not todo:
                return
            refused = set()
            for place, stage, wait in [(*each, self.judge.begin(each[1], each[0].program)) for each in todo]:
                self.screen.doing(f"{place.id}: {stage}")
                answer = wait()
                if place.id in refused:  # a run that was killed in between would not have played it
                    continue
                failure = answer if isinstance(answer, Failure) else None
                if stage == "twin" and failure is None and (loss := self._loss(place.id, answer)).table:
                    lost = f"objective {loss.difference:+.4f} on the twin, at most {loss.high:+.4f}"
                    failure = Failure("twin", "table", f"{lost}: more than a rule loses by chance")
                if failure is not None:  # before the results, after which nobody asks again
                    write_json(place.path / f"{stage}.json", asdict(failure))
                    refused.add(place.id)
                if not isinstance(answer, Failure):
                    save_results(place.path / f"{stage}.npz", answer)

    def _loss(self, name: str, twins: list[EvaluationResult]) -> Loss:
        """What a finalist loses on the twins of the stores that it was searched for on."""
        return self.scale.loss(self._frontier(name, "results"), Frontier.from_results(name, twins))

    def _pick(self) -> dict[str, Any] | None:
        """Choose the best of the finalists by their scores on search and validation questions together."""
        finals = [self._final(record) for record in self._finalists()]
        if not finals:
            return None
        chosen = max(finals, key=lambda final: final["all"]["score"])  # of equals the one that was better on search
        record, place = self._records[chosen["id"]], self.run.place_of(chosen["id"])
        best = {
            **chosen,
            "about": record.about,
            "model": record.model,
            "parents": record.parents,
            "file": record.meta.get("file", ""),
            "run": str(self.run.path),
            "proposer": self.proposer.name,
            "stores": [store.name for store in self.terms.search],
            "search_questions": [store.num_questions for store in self.terms.search],
            "validation_questions": [store.num_questions for store in self.terms.held],
            "seeds": self.config.seeds,
            "accounting": self.config.accounting,
            "cost_weight": self.config.cost_weight,
            "frontier": record.frontier,
            "evaluated": sum(each.status == "evaluated" for each in self.records),
            "proposals": len(self.records),
            "finalists": finals,
        }
        if barren(self.records):  # those that a run begins with are not what it found
            for name in ("best.py", "best.json"):
                (self.run.path / name).unlink(missing_ok=True)
            return best
        header = (
            f"# Program {record.id} of {self.run.path.name}, written by {record.model}, searched for on "
            f"{', '.join(best['stores'])}.\n# best.json beside it says how it was chosen.\n"
        )
        write(self.run.path / "best.py", header.encode(errors="replace") + place.program.read_bytes())
        write_json(self.run.path / "best.json", best)
        return best

    def _final(self, record: Record) -> dict[str, Any]:
        """The figures of a finalist."""
        place = self.run.place_of(record.id)
        final: dict[str, Any] = {
            "id": record.id,
            "search": asdict(_figures(record)),
            "twin": asdict(self._loss(record.id, place.results("twin"))),
        }
        if not self.terms.held:
            return {**final, "validation": None, "all": final["search"]}
        held = place.results("validation")
        cmc = joined(self.reference, self.reference_held)
        for name, results, reference in (
            ("validation", held, self.reference_held),
            ("all", joined(place.results("results"), held), cmc),
        ):
            family = Frontier.from_results(record.id, results)
            final[name] = asdict(self.scale.figures(family, Frontier.from_results("cmc", reference)))
        return final

    def best(self) -> dict[str, Any] | None:
        """The best program so far: its id and figures."""
        file = self.run.path / "best.json"
        return json.loads(file.read_text()) if file.exists() else None

    # ------------------------------------------------------------ programs

    def _parent(self, record: Record) -> Parent:
        if record.id not in self._parents:
            source = self.run.place_of(record.id).program.read_text()
            self._parents[record.id] = record.parent(source)
        return self._parents[record.id]

    def _frontier(self, name: str, stage: str) -> Frontier:
        return Frontier.from_results(name, self.run.place_of(name).results(stage))


FINAL_STAGES = ("twin", "validation")
"""What finalists play; one that fails leaves a ``.json`` of the stage's name, one that does not its results."""

STATUSES = ("evaluated", "dropped", "duplicate", "failed")
"""What can become of a proposal."""


def _figures(record: Record) -> Figures:
    assert record.figures is not None
    return record.figures


def _failed(record: Record, failure: Failure) -> Record:
    return replace(
        record,
        status="failed",
        stage=failure.stage,
        kind=failure.kind,
        message=_line(failure.message),
        line=failure.line,
    )


def _line(text: str) -> str:
    return " ".join(text.split())[:500]

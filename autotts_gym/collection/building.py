"""From a journal to a store, without a model call: the same journal gives the same bytes."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.collection import signals
from autotts_gym.collection.extraction import Extractor, extractor
from autotts_gym.collection.index import Index, Key
from autotts_gym.collection.journal import JournalError, JournalWriter, Record, lock_file, read_journal
from autotts_gym.collection.probing import answer_part, asked_text
from autotts_gym.collection.settings import Settings, difference
from autotts_gym.errors import plain, quote
from autotts_gym.files import replacing
from autotts_gym.replay.equivalence import merger
from autotts_gym.replay.records import Branch, Question, build_store
from autotts_gym.replay.store import ReplayStore, default_token_unit


@dataclass(frozen=True)
class Built:
    """A store, and what was left out of it.

    Attributes:
        store: the store.
        questions: questions of the collection without a branch that is complete.
        branches: branches that lack probes.
        refused: branches that the server refuses, such as those of a question that does not fit its context.
        truncated: branches that ended at the limit of tokens or at that of the context.
        bare: branches without log-probabilities, for which the store has no signals, while others have them.
    """

    store: ReplayStore
    questions: int
    branches: int
    refused: int
    truncated: int
    bare: int


@dataclass
class _Kept:
    """What the store needs of a branch."""

    tokens: int
    final: str | None
    finish: str
    signals: Mapping[str, NDArray[np.float32]]


def build(
    path: Path,
    *,
    extract: str = "boxed",
    equivalence: str = "math",
    probes: int | None = None,
    model: str | None = None,
    benchmark: str | None = None,
    license_name: str = "",
) -> Built:
    """Make the store of a journal.

    A branch is in it if all its probes are there; a branch that was cut off by a limit has no final answer.

    Args:
        path: of the journal.
        extract: the extractor of answers, as ``autotts_gym.collection.extraction.extractor`` takes it.
        equivalence: which answers are one, "exact" or "math".
        probes: a probe at every so many intervals; 0: none; None: as the last run asked for.
        model: name of the model; None: as it was collected.
        benchmark: name of the benchmark; None: as it was collected.
        license_name: of the data, for the store.

    Raises:
        JournalError: the journal is absent or damaged, or no branch in it is complete.
        AutottsError: there is no such extractor, or it fails.
        StoreError: ``equivalence`` is unknown.
    """
    index = Index.read(path)
    header = index.header
    fixed = header["settings"]
    stride = _stride(index) if probes is None else probes
    interval = fixed["interval"] * max(stride, 1)
    function = extractor(extract)
    wanted = {
        key: range(interval, tokens, interval) if stride else range(0) for key, tokens in sorted(index.tokens.items())
    }
    ready = {key for key, positions in wanted.items() if index.ready(key, positions)}
    unit = default_token_unit(np.array([index.tokens[key] for key in ready], np.int64)) if ready else 1
    group = signals.window(unit)
    kept, answers, certain = _read(index, ready, wanted, function, fixed["suffix"], group)
    bare = sum(not each.signals for each in kept.values())
    certainties = certain if header["capabilities"]["logprobs"] else None
    pools: list[tuple[int, list[Branch]]] = []
    for number, keys in groupby((key for key in wanted if key in ready), itemgetter(0)):
        pool = [_branch(kept[key], key, wanted[key], interval, stride, answers, certainties, not bare) for key in keys]
        pools.append((number, pool))
    if not pools:
        raise JournalError(f"{plain(path)}: expected a branch with all its probes, got none of {len(index.tokens)}")
    tasks = index.tasks()
    finishes = Counter(kept[key].finish for key in ready)
    store = build_store(
        (Question(tasks[number].text, tasks[number].answer, pool) for number, pool in pools),
        model=model or header["model"],
        benchmark=benchmark or header["benchmark"],
        interval_tokens=interval,
        equivalence=equivalence,
        attributes=_attributes(index, extract, stride, finishes, unit, license_name, len(ready)),
    )
    return Built(
        store,
        questions=len(tasks) - len(pools),
        branches=len(index.tokens) - len(ready),
        refused=len(index.refused),
        truncated=sum(count for finish, count in finishes.items() if finish != "stop"),
        bare=bare if bare < len(kept) else 0,
    )


def _stride(index: Index) -> int:
    asked = index.asked()
    return int(asked["probes"]) if asked else 1


def _read(
    index: Index, ready: set[Key], wanted: Mapping[Key, range], function: Extractor, suffix: str, group: int
) -> tuple[dict[Key, _Kept], dict[tuple[Key, int], str | None], dict[tuple[Key, int], float]]:
    """What the store needs of each branch and of each probe, in one pass."""
    kept: dict[Key, _Kept] = {}
    answers: dict[tuple[Key, int], str | None] = {}
    certain: dict[tuple[Key, int], float] = {}
    for record, place in read_journal(index.path):
        if record.kind not in ("branch", "probe"):
            continue
        values = record.values
        key = (int(values["question"]), int(values["branch"]))
        counts = index.places.get(key) if record.kind == "branch" else index.probes.get(key, {}).get(int(values["at"]))
        if key not in ready or place != counts:  # what another model wrote does not count
            continue
        if record.kind == "branch":
            known = {name: record.arrays[name] for name in signals.NAMES if name in record.arrays}
            kept[key] = _Kept(
                int(values["tokens"]),
                function(answer_part(str(values["text"]))) if values["finish"] == "stop" else None,
                str(values["finish"]),
                signals.of_intervals(known, wanted[key], group) if len(known) == len(signals.NAMES) else {},
            )
        elif (at := int(values["at"])) in wanted[key]:
            answers[key, at] = function(asked_text(suffix, str(values["text"])))
            certain[key, at] = float(values["certainty"])
    return kept, answers, certain


def _branch(
    kept: _Kept,
    key: Key,
    positions: range,
    interval: int,
    stride: int,
    answers: Mapping[tuple[Key, int], str | None],
    certain: Mapping[tuple[Key, int], float] | None,
    with_signals: bool,
) -> Branch:
    if not stride:
        return Branch([None] * len(range(interval, kept.tokens, interval)), kept.tokens, kept.final)
    shown: dict[str, Sequence[float]] = {}
    if with_signals:
        shown |= {name: values.tolist() for name, values in kept.signals.items()}
    if certain is not None:
        shown["certainty"] = [certain[key, at] for at in positions]
    return Branch([answers[key, at] for at in positions], kept.tokens, kept.final, shown)


def _attributes(
    index: Index, extract: str, stride: int, finishes: Mapping[str, int], unit: int, license_name: str, branches: int
) -> dict[str, Any]:
    """Where the store came from."""
    header = index.header
    capabilities, fixed = header["capabilities"], header["settings"]
    asked = index.asked()
    dates = sorted(str(session["date"]) for session in index.sessions)
    attributes = {
        "source": "autotts collect",
        "server": f"{capabilities['server']} {capabilities['version']}",
        "model_identity": capabilities["identity"],
        "tokens_by": "ids" if capabilities["ids"] else "text",
        "prompts_sha256": _digest(header["prompts"]),
        "questions_sha256": header["questions_sha256"],
        "suffix": fixed["suffix"],
        "suffix_ids_sha256": _digest(header["suffix"]),
        "sampling": fixed["sampling"],
        "max_tokens": fixed["max_tokens"],
        "seed": fixed["seed"],
        "thinking": fixed["prompt"]["thinking"],
        "extractor": extract,
        "accounts": index.accounts.to_dict(),
        "finish": {name: finishes[name] for name in sorted(finishes)},
        "truncated": sum(count for name, count in finishes.items() if name != "stop"),
        "branches_asked": int(asked["branches"]) * len(header["tasks"]) if asked else branches,
        "dates": [dates[0], dates[-1]] if dates else [],
        "versions": index.sessions[-1]["versions"] if index.sessions else {},
        "token_unit": unit,
        "confidence_window": signals.window(unit),
    }
    if not stride:
        attributes["probes"] = "none"
    if license_name:
        attributes["license"] = license_name
    return attributes


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def same_answer(equivalence: str) -> Callable[[str, str], bool]:
    """Whether two answers are one, by an equivalence."""
    merge = merger(equivalence)
    return lambda one, other: one == other or len(set(merge([one, other]))) == 1


def merge_journals(sources: Sequence[Path], output: Path, partial: bool = False) -> Index:
    """Join the journals of the shards of a collection.

    Args:
        sources: the journals.
        output: the journal to write; there must be none.
        partial: whether shards may be missing.

    Raises:
        JournalError: they are of different collections, a shard is missing or there twice, a question is in two, or
            the output is there already.
    """
    if output.exists():
        raise JournalError(f"{plain(output)}: expected no such file yet, but there is one")
    indices = [Index.read(path) for path in sources]
    if len(indices) < 2:
        raise JournalError(f"expected the journals of at least two shards, got {len(indices)}")
    first = indices[0].header
    seen: dict[int, Path] = {}
    names = ("form", "model", "benchmark", "settings", "tasks", "capabilities", "questions_sha256", "suffix")
    total = first["shard"][1]
    for index in indices:
        for name in names:
            if index.header[name] != first[name]:
                told = difference({name: index.header[name]}, {name: first[name]}) or name
                raise JournalError(f"{plain(index.path)}: expected a shard of the same collection: {told}")
        number, of = index.header["shard"]
        if of != total or number in seen:
            raise JournalError(
                f"{plain(index.path)}: expected each of the shards 1/{total} to {total}/{total} once, got {number}/{of}"
                + (f", as {plain(seen[number])} is" if number in seen else "")
            )
        seen[number] = index.path
    asked = [index.asked() for index in indices]
    for index, session in zip(indices, asked, strict=True):
        if (told := _lack(index, session, asked[0])) and not partial:
            raise JournalError(f"{plain(index.path)}: {told}; --partial joins it as it is")
    if len(seen) < total and not partial:
        missing = ", ".join(f"{number}/{total}" for number in range(1, total + 1) if number not in seen)
        raise JournalError(f"expected all {total} shards, got none of {missing}; --partial joins without them")
    header = {**first, "shard": [1, 1]}
    header["prompts"] = dict(
        sorted((item for index in indices for item in index.header["prompts"].items()), key=_number)
    )
    with replacing(output) as temporary:
        with JournalWriter(temporary) as journal:
            journal.add(Record("settings", header))
            for number in sorted(seen):
                for record, _ in read_journal(seen[number]):
                    if record.kind != "settings":
                        journal.add(record)
        lock_file(temporary).unlink(missing_ok=True)
    return Index.read(output)


def _lack(index: Index, asked: Mapping[str, Any] | None, first: Mapping[str, Any] | None) -> str:
    """What a shard lacks of what was asked of it and of the first one, in words; empty: nothing."""
    if asked is None or first is None:
        return "expected a shard that was collected, got one of dry runs only"
    for name in ("branches", "probes"):
        if asked[name] != first[name]:
            return f"{name}: expected {first[name]}, as the first shard has, got {asked[name]}"
    settings = Settings.of(index.header["settings"], int(asked["branches"]), int(asked["probes"]))
    number, of = index.header["shard"]
    keys = [(q, b) for q in range(number - 1, len(index.header["tasks"]), of) for b in range(settings.branches)]
    lacks = sum(
        not (key in index.refused or (key in index.tokens and index.ready(key, settings.positions(index.tokens[key]))))
        for key in keys
    )
    return f"expected {len(keys)} branches with their probes, but {lacks} are not there yet" if lacks else ""


def _number(item: tuple[str, Any]) -> int:
    return int(item[0])


def check_shard(text: str) -> tuple[int, int]:
    """What ``--shard K/N`` says.

    Raises:
        JournalError: it says something else.
    """
    first, slash, last = text.partition("/")
    if slash and first.isascii() and first.isdigit() and last.isascii() and last.isdigit() and len(text) < 15:
        number, total = int(first), int(last)
        if 1 <= number <= total:
            return number, total
    raise JournalError(f"shard: expected K/N with K from 1 to N, such as 2/8, got {quote(text)}")

"""The stores that ship are what the models that ship write: a small part is collected again, by other seeds."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import fisher_exact, ks_2samp

from autotts_gym.cli.main import main
from autotts_gym.replay import ReplayStore, load_store
from autotts_gym.replay.catalog import shipped_folder

QUESTIONS = (1, 6, 13, 20)
"""Of the split ``search``, from easy to hard."""

LEAST = 1e-4
"""p-values below it say that two samples are not of one distribution."""


def collected(model: str, folder: Path) -> ReplayStore:
    """16 branches of four questions, by the settings of the stores that ship, from the real server in this process."""
    pytest.importorskip("xllamacpp", reason="needs xllamacpp, the real llama.cpp server (extra local)")
    rows = (shipped_folder() / "tiny" / "search.jsonl").read_text().splitlines()
    (folder / "some.jsonl").write_text("".join(f"{rows[q]}\n" for q in QUESTIONS))
    command = ["collect", folder / "some.jsonl", "--model", model, "--out", folder, "--branches", 16, "--seed", 1]
    command += ["--interval", 6, "--max-tokens", 540, "--temperature", 1, "--probe-tokens", 4]
    assert main([*map(str, command), "--suffix", "\n**Final Answer** \\boxed{"]) == 0
    return load_store(folder / model / "some.h5")


def branches(store: ReplayStore, question: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The lengths of a question's branches, and whether each is right."""
    pool = slice(*store.branch_offsets[question : question + 2].tolist())
    return store.tokens[pool], store.finals[pool] == store.gold[question]


def p_values(some: ReplayStore, shipped: ReplayStore) -> tuple[float, float]:
    """Of the question that differs most: lengths by Kolmogorov and Smirnov's test, right answers by Fisher's."""
    lengths, right = [], []
    for k, question in enumerate(QUESTIONS):
        (tokens, hits), (all_tokens, all_hits) = branches(some, k), branches(shipped, question)
        lengths.append(ks_2samp(tokens, all_tokens).pvalue)
        right.append(fisher_exact([[each.sum(), (~each).sum()] for each in (hits, all_hits)]).pvalue)
    return min(lengths), min(right)


def test_branches_that_are_collected_again_are_as_those_that_ship(tmp_path: Path) -> None:
    again, shipped = collected("tiny", tmp_path), load_store("tiny/search")
    assert again.num_branches == 16 * len(QUESTIONS)
    for name in ("model_identity", "suffix_ids_sha256", "sampling", "max_tokens", "tokens_by", "extractor"):
        assert again.attributes[name] == shipped.attributes[name], name
    assert min(p_values(again, shipped)) > LEAST
    other = p_values(again, load_store("micro/search"))
    assert min(other) < LEAST  # so few branches tell the two models apart

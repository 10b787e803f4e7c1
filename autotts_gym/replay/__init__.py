"""Collected branches: replay stores, their files, importers, a synthetic generator, and names of stores."""

from autotts_gym.replay.catalog import (
    DEFAULT_STORE,
    StoreLike,
    default_store,
    list_stores,
    load_store,
    resolve_stores,
    search_path,
)
from autotts_gym.replay.importers import import_json, import_tree
from autotts_gym.replay.pools import pool_order
from autotts_gym.replay.records import Branch, Question, build_store
from autotts_gym.replay.store import ReplayStore, StoreSummary, default_token_unit
from autotts_gym.replay.synthetic import Statistics, synthesize

__all__ = [
    "DEFAULT_STORE",
    "Branch",
    "Question",
    "ReplayStore",
    "Statistics",
    "StoreLike",
    "StoreSummary",
    "build_store",
    "default_store",
    "default_token_unit",
    "import_json",
    "import_tree",
    "list_stores",
    "load_store",
    "pool_order",
    "resolve_stores",
    "search_path",
    "synthesize",
]

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.frontier import Frontier
from autotts_gym.evaluation.results import EvaluationResult
from autotts_gym.evaluation.tensorboard import EventLog, run_name, write_frontier, write_frontiers

pytest.importorskip("tensorboard")


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in read(folder).Scalars(tag)]


def result(controller: str, branches: int, right: int, tokens: int) -> EvaluationResult:
    shape = (2, 10)
    return EvaluationResult(
        controller=controller,
        params={"branches": branches},
        store="m/b",
        model="m",
        benchmark="b",
        accounting="exact",
        max_branches=64,
        seeds=(0, 1),
        correct=np.tile(np.arange(10) < right, (2, 1)),
        total_tokens=np.full(shape, tokens),
        sequential_tokens=np.full(shape, tokens // 10),
        branches_opened=np.ones(shape, dtype=int),
        branches_pruned=np.zeros(shape, dtype=int),
    )


FAMILIES = Frontier.families(
    [
        result("sc", 64, 7, 900_000),
        result("sc", 4, 5, 60_000),
        result("cmc", 1, 4, 50_000),
        result("cmc", 2, 6, 50_000),
        result("cmc", 3, 8, 300_000),
    ]
)


def test_a_budget_curve_has_tokens_as_steps_and_a_run_for_every_family(tmp_path: Path) -> None:
    write_frontiers(tmp_path, FAMILIES)
    assert curve(tmp_path / "Self-consistency", "budget/accuracy") == [(60_000, 0.5), (900_000, 0.7)]
    assert curve(tmp_path / "CMC", "budget/accuracy") == [(50_000, 0.6), (300_000, 0.8)]
    assert curve(tmp_path / "CMC", "budget/accuracy by sequential tokens") == [(5_000, 0.6), (30_000, 0.8)]
    assert "custom_scalars__config__" in read(tmp_path).Tags()["tensors"]


@pytest.mark.parametrize(
    ("family", "run"),
    [
        ("short_m", "short-m@k"),
        ("maskable_ppo", "MaskablePPO agent"),
        ("mine", "mine"),
        ("../up", ".._up"),
        ("/etc/x", "_etc_x"),
        ("..", "_.."),
        ("", "_"),
    ],
)
def test_a_run_bears_the_name_of_figures_and_stays_in_its_folder(family: str, run: str, tmp_path: Path) -> None:
    assert run_name(family) == run
    write_frontiers(tmp_path / "log", [Frontier.from_results(family, [result("x", 1, 5, 100)])])
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert [path.name for path in (tmp_path / "log").iterdir() if path.is_dir()] == [run]


def test_a_budget_curve_written_again_replaces_the_one_before(tmp_path: Path) -> None:
    sc, cmc = FAMILIES
    write_frontier(tmp_path / "last", sc)
    write_frontier(tmp_path / "last", cmc)
    assert len(list((tmp_path / "last").iterdir())) == 1
    assert [step for step, _ in curve(tmp_path / "last", "budget/accuracy")] == [50_000, 300_000]


def test_pictures_texts_layouts_and_hyper_parameters_are_read_back(tmp_path: Path) -> None:
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    picture = np.zeros((4, 6, 3), np.uint8)
    with EventLog(tmp_path) as log:
        log.image("episodes/one", picture, 3)
        log.text("about", "**bold**")
        log.layout({"Group": {"chart": ["^a$", "^b$"]}})
        log.hparams({"rate": 0.1, "deep": True, "algo": "ppo", "net": (8, 8)}, {"final/return": "return"})
        log.scalars({"final/return": np.float32(0.5), "count": 2}, 7)
    events = read(tmp_path)
    (image,) = events.Images("episodes/one")
    assert (image.step, image.width, image.height) == (3, 6, 4)
    assert image.encoded_image_string.startswith(b"\x89PNG")
    assert events.Tensors("about")[0].tensor_proto.string_val[0] == b"**bold**"
    layout = Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert layout.category[0].title == "Group"
    assert list(layout.category[0].chart[0].multiline.tag) == ["^a$", "^b$"]
    plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data
    hparams = HParamsPluginData.FromString(plugin.content).session_start_info.hparams
    assert (hparams["rate"].number_value, hparams["deep"].bool_value) == (0.1, True)
    assert (hparams["algo"].string_value, hparams["net"].string_value) == ("ppo", "(8, 8)")
    experiment = HParamsPluginData.FromString(
        events.summary_metadata["_hparams_/experiment"].plugin_data.content
    ).experiment
    assert [metric.name.tag for metric in experiment.metric_infos] == ["final/return"]
    assert events.Scalars("final/return")[0].value == 0.5


def test_a_run_that_goes_on_voids_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        for step in (1, 2, 3, 4):
            log.scalars({"x": step}, step)
    with EventLog(tmp_path, purge_step=3) as log:
        log.scalars({"x": 30}, 3)
    # Files are read in the order of their names, which begin with a time in whole seconds.
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2
    assert curve(tmp_path, "x") == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_it_needs_no_torch_and_imports_nothing_until_it_is_used() -> None:
    program = (
        "import sys; import autotts_gym.evaluation.tensorboard as t; assert 'tensorboard' not in sys.modules;"
        "import tempfile; log = t.EventLog(tempfile.mkdtemp()); log.scalars({'a': 1}, 1); log.close();"
        "assert 'torch' not in sys.modules and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_without_tensorboard_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    with pytest.raises(AutottsError, match="pip install tensorboard"):
        EventLog(tmp_path)

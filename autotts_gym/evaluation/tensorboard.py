"""Budget curves and everything else that TensorBoard shows, as event files; needs TensorBoard, but not torch.

A *budget curve* is a scalar chart whose step is tokens: ``budget/accuracy``. Each family has a folder, hence a run and
a colour, of its own, so that TensorBoard draws them over one another.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.families import readable
from autotts_gym.evaluation.frontier import Frontier
from autotts_gym.files import append

if TYPE_CHECKING:
    from autotts_gym.evaluation.diagnosis import Diagnosis

BUDGET_TAGS = {"total_tokens": "budget/accuracy", "sequential_tokens": "budget/accuracy by sequential tokens"}
"""Tag of a budget curve, by its token axis."""

Layout = Mapping[str, Mapping[str, Sequence[str]]]
"""A dashboard of custom scalars: category, chart, regular expressions of the tags in it."""

Number = bool | int | float | np.generic

_MOST_PENDING = 1 << 20
"""Bytes of events that wait to be written."""


class EventLog:
    """An event file in a folder; also a context manager that writes what is left at its end.

    Events are written by the caller, when asked to: TensorBoard's own writer does so in a thread, which cannot say that
    a disk is full.

    Args:
        folder: the run's folder; made unless it is there.
        purge_step: events of earlier files of the folder from this step on are void: the run continues from there.

    Raises:
        AutottsError: if TensorBoard is not installed.

    Attributes:
        folder: the run's folder.
        file: the event file.
    """

    def __init__(self, folder: str | os.PathLike[str], purge_step: int | None = None) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.summary.writer.event_file_writer import RecordWriter
        except ImportError as error:
            raise AutottsError("tensorboard: expected it installed; try: pip install tensorboard") from error
        self.folder = Path(folder)
        name = f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
        self.file = self.folder / name
        self._event = Event
        self._pending = io.BytesIO()
        self._records = RecordWriter(self._pending)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if purge_step is not None:
            from tensorboard.compat.proto.event_pb2 import SessionLog

            self._add(purge_step, session_log=SessionLog(status=SessionLog.START))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is left."""
        self.flush()

    def flush(self) -> None:
        """Write what is left, whole or not at all.

        Raises:
            AutottsError: the folder cannot be written.
        """
        if pending := self._pending.getvalue():
            append(self.file, pending)
            self._pending.seek(0)
            self._pending.truncate()

    def _add(self, step: int, **content: Any) -> None:
        self._write(self._event(wall_time=time.time(), step=step, **content))

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        if self._pending.tell() > _MOST_PENDING:
            self.flush()

    def _add_values(self, step: int, *values: Any) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add(step, summary=Summary(value=values))

    def scalars(self, values: Mapping[str, Number], step: int) -> None:
        """Add a number to each of several charts."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add_values(step, *(Summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()))

    def image(self, tag: str, picture: NDArray[np.uint8], step: int) -> None:
        """Add a picture, (H, W, 3) uint8."""
        from matplotlib.image import imsave
        from tensorboard.compat.proto.summary_pb2 import Summary

        png = io.BytesIO()
        imsave(png, picture, format="png")
        height, width, channels = picture.shape
        image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png.getvalue())
        self._add_values(step, Summary.Value(tag=tag, image=image))

    def text(self, tag: str, markdown: str, step: int = 0) -> None:
        """Add a text in Markdown."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.text.metadata import create_summary_metadata

        metadata = create_summary_metadata(display_name=tag, description="")
        tensor = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()])
        self._add_values(step, Summary.Value(tag=tag, tensor=tensor, metadata=metadata))

    def layout(self, layout: Layout) -> None:
        """Lay out the Custom Scalars page."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.custom_scalar import layout_pb2, metadata

        categories = [
            layout_pb2.Category(
                title=category,
                chart=[
                    layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=list(tags)))
                    for title, tags in charts.items()
                ],
            )
            for category, charts in layout.items()
        ]
        content = layout_pb2.Layout(category=categories).SerializeToString()
        tensor = TensorProto(dtype=DT_STRING, string_val=[content])
        self._add_values(
            0,
            Summary.Value(tag=metadata.CONFIG_SUMMARY_TAG, tensor=tensor, metadata=metadata.create_summary_metadata()),
        )

    def hparams(self, values: Mapping[str, object], metrics: Mapping[str, str]) -> None:
        """Say which hyper-parameters the run has, and which of its charts show how good it is.

        Args:
            values: bools, numbers and texts; anything else is shown as text.
            metrics: names on the HParams page by the tags of the charts.
        """
        from tensorboard.plugins.hparams import summary_v2 as hparams

        plain = {name: value if isinstance(value, bool | int | float) else str(value) for name, value in values.items()}
        config = hparams.hparams_config_pb(
            [hparams.HParam(name) for name in plain],
            [hparams.Metric(tag, display_name=name) for tag, name in metrics.items()],
        )
        session = hparams.hparams_pb(plain, trial_id=self.folder.name)
        self._add(0, summary=config)
        self._add(0, summary=session)


def write_frontier(log_dir: str | os.PathLike[str], frontier: Frontier) -> None:
    """Write a family's budget curves as a run of their own; earlier files of the folder are removed.

    Args:
        log_dir: the run's folder, such as ``runs/controllers/CMC``.
        frontier: the family; its points become those of ``budget/accuracy``, whose step is total tokens, and of
            ``budget/accuracy by sequential tokens``.
    """
    shutil.rmtree(log_dir, ignore_errors=True)
    with EventLog(log_dir) as log:
        for axis, tag in BUDGET_TAGS.items():
            # TensorBoard takes a step that does not grow for a restart, and forgets what was there.
            best: dict[int, float] = {}
            for point in frontier.along(axis).points:  # type: ignore[arg-type]
                step = round(point.tokens)
                best[step] = max(point.accuracy, best.get(step, 0.0))
            for step in sorted(best):
                log.scalars({tag: best[step]}, step)


def write_frontiers(log_dir: str | os.PathLike[str], families: Iterable[Frontier]) -> None:
    """Write several families' budget curves below a folder, each as a run of the name that people call it."""
    folder = Path(log_dir)
    for frontier in families:
        write_frontier(folder / run_name(frontier.name), frontier)
    with EventLog(folder) as log:
        log.layout({"Budget curves": BUDGET_CHARTS})


def run_name(family: str) -> str:
    """Return what TensorBoard calls a family: what figures and tables call it, as one folder that has no parent."""
    name = "".join("_" if letter in "/\\\0" else letter for letter in readable(family))
    return name if name.strip(". ") else f"_{name}"


BUDGET_CHARTS = {
    "accuracy against total tokens": ("^budget/accuracy$",),
    "accuracy against sequential tokens": ("^budget/accuracy by sequential tokens$",),
}
"""The charts of budget curves, for a layout."""


def write_diagnosis(log: EventLog, diagnosis: Diagnosis, step: int) -> None:
    """Add what went wrong to charts, one number each.

    They are ``diagnosis/`` and a cause or sign (share of episodes) or kind of waste (share of tokens), ``diagnosis by
    tokens/`` and a cause (share of tokens), and ``hindsight/`` with what could have been made of the same episodes.

    Args:
        log: where to.
        diagnosis: of one setting.
        step: such as the round of a search.
    """
    overall = diagnosis.overall
    bounds = {name: value for name, value in vars(overall.bounds).items() if value is not None}
    log.scalars(
        {
            **{f"diagnosis/{name}": share for name, share in diagnosis.shares.items()},
            **{f"diagnosis by tokens/{name}": share for name, share in overall.cause_tokens.items()},
            **{f"hindsight/{name}": value for name, value in {"accuracy": overall.accuracy, **bounds}.items()},
        },
        step,
    )


DIAGNOSIS_CHARTS = {
    "why episodes are wrong": ("^diagnosis/(lost_tie|overruled|stopped_early|pruned_right|outvoted|never_opened)$",),
    "what else they show": ("^diagnosis/(pruned_knew|more_width|passed_by|lucky)$",),
    "tokens wasted": ("^diagnosis/wasted_(right|wrong)$",),
    "accuracy in hindsight": ("^hindsight/(accuracy|deeper|unpruned|wider|best_stop|opened|slots|pool)$",),
}
"""The charts of diagnoses, for a layout."""

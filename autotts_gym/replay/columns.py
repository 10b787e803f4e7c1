"""The flat arrays of a store, and the rules that they keep."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from autotts_gym.errors import StoreError, quote

Offsets = NDArray[np.int64]
Ids = NDArray[np.int32]
Signal = NDArray[np.float32]
Array = TypeVar("Array", bound=NDArray[Any])

DTYPES: Mapping[str, np.dtype[Any]] = {
    "branch_offsets": np.dtype(np.int64),
    "probe_offsets": np.dtype(np.int64),
    "answer_offsets": np.dtype(np.int64),
    "probes": np.dtype(np.int32),
    "tokens": np.dtype(np.int32),
    "finals": np.dtype(np.int32),
    "gold": np.dtype(np.int32),
}
"""Name and dtype of every numeric column."""


def frozen(array: Array) -> Array:
    """Return a read-only view of ``array``."""
    view = array.view()
    view.flags.writeable = False
    return view


def check_offsets(where: str, offsets: Offsets, end: int, *, least: int = 0) -> None:
    """Check that ``offsets`` cuts ``end`` items into runs of at least ``least`` items each.

    Args:
        where: file and field, for the error.
        offsets: (N + 1,) int64.
        end: number of items that the runs cover.
        least: the smallest length a run may have.

    Raises:
        StoreError: if they do not.
    """
    if not offsets.size:
        raise StoreError(f"{where}: expected at least one offset, got none")
    if offsets[0] != 0:
        raise StoreError(f"{where}: expected the first offset to be 0, got {offsets[0]}")
    # They are compared and not subtracted: a difference of corrupted offsets may overflow.
    lengths_ok = (offsets[1:] >= offsets[:-1]) & (offsets[1:] <= end)
    if not lengths_ok.all():
        at = int(np.argmin(lengths_ok))
        raise StoreError(f"{where}[{at + 1}]: expected between {offsets[at]} and {end}, got {offsets[at + 1]}")
    if offsets[-1] != end:
        raise StoreError(f"{where}: expected the last offset to be {end}, got {offsets[-1]}")
    short = np.flatnonzero(np.diff(offsets) < least)
    if short.size:
        at = int(short[0])
        raise StoreError(f"{where}[{at}]: expected at least {least} item, got {offsets[at + 1] - offsets[at]}")


def _check_range(where: str, values: Ids, low: int, high: Ids | Offsets) -> None:
    """Check low <= values < high, element by element."""
    wrong = np.flatnonzero((values < low) | (values >= high))
    if wrong.size:
        at = int(wrong[0])
        raise StoreError(
            f"{where}[{at}]: expected an answer id from {low} to {np.broadcast_to(high, values.shape)[at] - 1}, "
            f"got {values[at]}"
        )


@dataclass(frozen=True, eq=False)
class Columns:
    """The numeric columns of a store of Q questions, NB branches and NP probes; all read-only.

    Attributes:
        branch_offsets: (Q + 1,) int64; question q owns branches [branch_offsets[q], branch_offsets[q + 1]).
        probe_offsets: (NB + 1,) int64; branch b owns probes [probe_offsets[b], probe_offsets[b + 1]); none if it ended
            before the first one.
        answer_offsets: (Q + 1,) int64; question q owns that run of the answer table.
        probes: (NP,) int32; answer id at each depth, -1 where there is no answer yet.
        tokens: (NB,) int32; total tokens of the branch, at least 1.
        finals: (NB,) int32; id of the final answer, -1 where there is none.
        gold: (Q,) int32; id of the gold answer, -1 where the question is unlabelled.

    Raises:
        StoreError: if an array has another dtype or is not flat; ``check`` looks at the rest.
    """

    branch_offsets: Offsets
    probe_offsets: Offsets
    answer_offsets: Offsets
    probes: Ids
    tokens: Ids
    finals: Ids
    gold: Ids

    def __post_init__(self) -> None:
        for name, dtype in DTYPES.items():
            array = np.ascontiguousarray(getattr(self, name))
            if array.dtype != dtype or array.ndim != 1:
                raise StoreError(f"{name}: expected a flat array of {dtype}, got {array.ndim}-d {array.dtype}")
            object.__setattr__(self, name, frozen(array))

    def check(self, source: str, *, unlabelled: bool = True, unprobed: bool = True) -> None:
        """Check every rule above.

        Args:
            source: the file or store that the error shall name.
            unlabelled: whether questions may have no gold answer.
            unprobed: whether branches may have no probe.

        Raises:
            StoreError: naming the column and the element that breaks a rule.
        """
        questions, branches = self.gold.size, self.tokens.size
        if questions == 0:
            raise StoreError(f"{source}: gold: expected at least one question, got none")
        for name, expected in (
            ("branch_offsets", questions + 1),
            ("answer_offsets", questions + 1),
            ("probe_offsets", branches + 1),
            ("finals", branches),
        ):
            if (got := getattr(self, name).size) != expected:
                raise StoreError(f"{source}: {name}: expected length {expected}, got {got}")
        check_offsets(f"{source}: branch_offsets", self.branch_offsets, branches, least=1)
        check_offsets(f"{source}: probe_offsets", self.probe_offsets, self.probes.size, least=0 if unprobed else 1)
        # An unlabelled question that no branch answered has an empty table.
        check_offsets(
            f"{source}: answer_offsets",
            self.answer_offsets,
            int(self.answer_offsets[-1]),
            least=0 if unlabelled else 1,
        )
        if (short := np.flatnonzero(self.tokens < 1)).size:
            raise StoreError(f"{source}: tokens[{short[0]}]: expected at least 1, got {self.tokens[short[0]]}")
        table = np.diff(self.answer_offsets)
        of_branch = np.repeat(table, np.diff(self.branch_offsets))
        _check_range(f"{source}: gold", self.gold, -1 if unlabelled else 0, table)
        _check_range(f"{source}: finals", self.finals, -1, of_branch)
        self._check_probes(source, table)

    def _check_probes(self, source: str, table: Offsets) -> None:
        """Check the probes by the extremes of each question, without an array as long as they are."""
        bounds = self.probe_offsets[self.branch_offsets]
        probed = np.flatnonzero(np.diff(bounds))
        if not probed.size:
            return
        lowest = np.minimum.reduceat(self.probes, bounds[probed])
        highest = np.maximum.reduceat(self.probes, bounds[probed])
        for q in probed[(lowest < -1) | (highest >= table[probed])]:
            low, high = bounds[q], bounds[q + 1]
            values = self.probes[low:high]
            at = int(np.flatnonzero((values < -1) | (values >= table[q]))[0])
            raise StoreError(
                f"{source}: probes[{low + at}]: expected an answer id from -1 to {table[q] - 1}, got {values[at]}"
            )


class StringTable(Sequence[str]):
    """Strings as one run of UTF-8 bytes, read when first needed.

    Args:
        where: file and field, for errors.
        offsets: (N + 1,) int64 byte offsets, already checked against the length of the bytes.
        read: returns the bytes; called once, on first use.
    """

    def __init__(self, where: str, offsets: Offsets, read: Callable[[], bytes]):
        self._where = where
        self.offsets = frozen(offsets)
        self._read = read
        self._bytes: bytes | None = None

    @classmethod
    def of(cls, where: str, strings: Iterable[str]) -> "StringTable":
        """Packs ``strings``.

        Raises:
            StoreError: if one of them has no UTF-8 form (a lone surrogate).
        """
        try:
            encoded = [string.encode() for string in strings]
        except UnicodeEncodeError as error:
            raise StoreError(f"{where}: expected text that has a UTF-8 form, got {quote(error.object)}") from error
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(item) for item in encoded], out=offsets[1:])
        return cls.packed(where, offsets, b"".join(encoded))

    @classmethod
    def packed(cls, where: str, offsets: Offsets, data: bytes) -> "StringTable":
        """Make a table from the offsets and bytes of another."""
        return cls(where, offsets, lambda: data)

    @property
    def data(self) -> bytes:
        """All the bytes.

        Raises:
            StoreError: if they cannot be read or an entry is not UTF-8.
        """
        if self._bytes is None:
            data = self._read()
            self._check(data)
            self._bytes = data
        return self._bytes

    def _check(self, data: bytes) -> None:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            at = int(np.searchsorted(self.offsets, error.start, side="right")) - 1
            raise StoreError(f"{self._where}[{at}]: expected UTF-8, got {error.reason}") from error
        # All bytes together are UTF-8; each entry is too, unless an offset points into a character (bytes 10xxxxxx).
        inside = self.offsets[self.offsets < len(data)]
        split = np.flatnonzero(np.frombuffer(data, np.uint8)[inside] & 0xC0 == 0x80)
        if split.size:
            raise StoreError(f"{self._where}[{split[0]}]: expected to start at a character, got the middle of one")

    def __len__(self) -> int:
        return self.offsets.size - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {index}")
        index %= len(self)
        return self.data[self.offsets[index] : self.offsets[index + 1]].decode()


class Signals(Mapping[str, Signal]):
    """Per-probe signals by name, each read when first used.

    Args:
        readers: for each name, what returns its (NP,) float32 array, already checked.
    """

    def __init__(self, readers: Mapping[str, Callable[[], Signal]]):
        self._readers = dict(readers)
        self._arrays: dict[str, Signal] = {}

    def __getitem__(self, name: str) -> Signal:
        if name not in self._arrays:
            self._arrays[name] = frozen(self._readers[name]())
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def checked_signal(where: str, values: Any, probes: int) -> Signal:
    """Return ``values`` as (NP,) float32.

    Raises:
        StoreError: if the length is not ``probes`` or a value is not finite.
    """
    array = np.ascontiguousarray(values, dtype=np.float32)
    if array.shape != (probes,):
        raise StoreError(f"{where}: expected shape ({probes},), got {array.shape}")
    if (wrong := np.flatnonzero(~np.isfinite(array))).size:
        raise StoreError(f"{where}[{wrong[0]}]: expected a finite number, got {array[wrong[0]]}")
    return array

"""The columns of a batch's frames that moments are found in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from georgia.monitor.result import FrameStatus

if TYPE_CHECKING:
    from georgia.monitor.batch_frames import BatchFrames

Floats = npt.NDArray[np.float64]
# What is in front of the probe is known of frames with these; of the others nothing is.
USABLE = (FrameStatus.ANALYSED, FrameStatus.NO_CRYSTALS, FrameStatus.CLEAR)


@dataclass(frozen=True, eq=False)
class MomentFrames:
    """The frames of a batch in the order of their times; each column has one entry a frame (N,).

    ``hits`` are the windows that show crystals, ``trials`` all of them. ``cover`` is the fraction of the
    field that crystals cover, that of the windows where an earlier version did not keep it. ``fraction`` is
    the impurity's, NaN without one, of ``n_effective`` independent windows.
    """

    ids: npt.NDArray[np.int64]
    times_s: Floats
    status: tuple[str, ...]
    hits: Floats
    trials: Floats
    cover: Floats
    fraction: Floats
    n_effective: Floats

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.ids)

    @classmethod
    def of(cls, frames: BatchFrames) -> MomentFrames:
        """Return the frames of a batch by time."""
        order = np.argsort(frames.times_s, kind="stable")
        numbers = {name: column[order] for name, column in frames.numbers.items()}
        trials = np.nan_to_num(numbers["n_judged"] + numbers["n_unknown"] + numbers["n_empty"])
        hits = np.nan_to_num(numbers["n_judged"])
        windows = hits / np.maximum(trials, 1)
        return cls(
            frames.ids[order],
            numbers["frame_time_s"],
            tuple(frames.texts["status"][at] for at in order),
            hits,
            trials,
            np.where(np.isfinite(numbers["cover"]), numbers["cover"], windows),
            numbers["fraction"],
            np.nan_to_num(numbers["n_effective"]),
        )

    @property
    def is_usable(self) -> npt.NDArray[np.bool_]:
        """Return of which frames it is known what is in front of the probe."""
        is_usable: npt.NDArray[np.bool_] = np.isin(self.status, [str(each) for each in USABLE]) & (
            self.trials > 0
        )
        return is_usable

    def take(self, chosen: npt.NDArray[np.intp]) -> MomentFrames:
        """Return the frames at some positions."""
        arrays = (self.hits, self.trials, self.cover, self.fraction, self.n_effective)
        status = tuple(self.status[at] for at in chosen)
        return MomentFrames(
            self.ids[chosen], self.times_s[chosen], status, *(each[chosen] for each in arrays)
        )

    def count_unusable(self, low_s: float, high_s: float) -> dict[str, int]:
        """Return how many frames of a time tell nothing, by their status."""
        first, end = np.searchsorted(self.times_s, [low_s, high_s])
        names = [self.status[at] for at in range(int(first), int(end)) if self.status[at] not in USABLE]
        return {name: names.count(name) for name in sorted(set(names))}

"""Checks of single images: files that cannot be read, that show nothing, or that differ from all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from georgia.audit.check import AuditData, Check, Column, Finding, list_names, shorten
from georgia.catalog.read import relative_name
from georgia.errors import UnreadableImageError
from georgia.images.decode import find_used_bits
from georgia.images.depth import DEPTH_VARIABLE, MOST_BITS_UNUSUAL, USUAL_BITS, find_stated_bits

Flags = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]
_MEASURED_ON = "3,600 synthetic crops"


class Unreadable(Check):
    """A file cannot be read as an image."""

    name = "unreadable"
    severity = "warning"
    rule = "files that cannot be read, from"
    threshold = 1
    source = "a model cannot learn from a file that cannot be read"
    remedy = "Save the files again, or remove them. No metric includes them."

    def find(self, data: AuditData) -> list[Finding]:
        """Return one finding with all such files and their reasons."""
        failures = data.catalog.failures
        if not failures:
            return []
        reasons = {relative_name(failure.path, data.catalog.root): failure.error for failure in failures}
        first, reason = next(iter(reasons.items()))
        n = len(failures)
        message = f"{shorten(first)}: {shorten(reason, 300)}"
        if n > 1:
            message = f"{n:,} files cannot be read, such as {message}"
        return [self.found(message, {"reasons": reasons}, reasons)]


class _ImageCheck(Check):
    """A check of each image by itself; ``text`` follows the number of images in the message."""

    text: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    severity = "warning"

    def flag(self, columns: Mapping[str, Column]) -> Flags:
        """Return which images (N,) are at fault."""
        raise NotImplementedError

    def find(self, data: AuditData) -> list[Finding]:
        """Return one finding with all images at fault and their values."""
        if not data.catalog.records:
            return []
        flagged = np.flatnonzero(self.flag(data.columns))
        return [self.found_in(data, flagged)] if len(flagged) else []

    def found_in(self, data: AuditData, flagged: Positions, cause: str = "") -> Finding:
        """Return a finding of the images at these positions."""
        names = data.names(flagged)
        n = "1 image is" if len(flagged) == 1 else f"{len(flagged):,} images are"
        message = f"{n} {self.text}{cause}: {list_names(names)}"
        values = {
            name: [round(float(value), 4) for value in data.columns[name][flagged]] for name in self.columns
        }
        return self.found(message, values, names)


class _LightCheck(_ImageCheck):
    """A check of images that hold hardly any light, or seem so because their 16 bits are not all in use."""

    def find(self, data: AuditData) -> list[Finding]:
        """Return what is at fault; 16-bit files stand apart where the whole set uses fewer bits."""
        flagged = np.flatnonzero(self.flag(data.columns)) if data.catalog.records else np.array([], np.int64)
        if not len(flagged):
            return []
        is_deep = data.columns["bit_depth"] == 16
        is_asked = is_deep[flagged].any() and not find_stated_bits()
        bits = _find_used_bits(data, is_deep) if is_asked else 16
        if bits > MOST_BITS_UNUSUAL:
            return [self.found_in(data, flagged)]
        camera_bits = next(usual for usual in USUAL_BITS if usual >= bits)
        cause = (
            f" as read, because the 16-bit files of this set use {bits} bits or fewer "
            f"({DEPTH_VARIABLE}={camera_bits} reads them as {camera_bits} bits)"
        )
        found = replace(
            self.found_in(data, flagged[is_deep[flagged]], cause),
            remedy=f"Keep them: set {DEPTH_VARIABLE}={camera_bits} if that is your camera's depth, wherever "
            "images are read (training, prediction, monitor).",
        )
        found = replace(found, evidence={**found.evidence, "used_bits": bits})
        others = flagged[~is_deep[flagged]]
        return [found, self.found_in(data, others)] if len(others) else [found]


def _find_used_bits(data: AuditData, is_deep: Flags) -> int:
    """Return how many bits the largest sample of all 16-bit files of a set needs; 16 if that is not known."""
    # Images that reach half of the brightness use 15 bits or more; no file need be read again.
    if (data.columns["brightest"][is_deep] >= 128).any():
        return 16
    largest = 0
    for position in np.flatnonzero(is_deep):
        try:
            bits = find_used_bits(data.catalog.records[position].path)
        except UnreadableImageError:
            continue
        largest = max(largest, bits)
        if largest > MOST_BITS_UNUSUAL:
            break
    return largest or 16


class Blank(_LightCheck):
    """An image has a single grey level."""

    name = "blank"
    text = "blank"
    columns = ("contrast",)
    rule = "standard deviation of the grey levels, below"
    threshold = 1.0
    source = f"{_MEASURED_ON}: the flattest has 3.2"
    remedy = "Remove them: they show nothing."

    def flag(self, columns: Mapping[str, Column]) -> Flags:
        """Return which images have no contrast."""
        return np.asarray(columns["contrast"] < self.threshold)


class Dark(_LightCheck):
    """An image is too dark to show a crystal."""

    name = "too-dark"
    text = "too dark"
    columns = ("brightest",)
    rule = "99th percentile of the grey levels, below"
    threshold = 40
    source = f"{_MEASURED_ON}: the darkest has 68"
    remedy = "Check lamp and exposure; remove what shows nothing."

    def flag(self, columns: Mapping[str, Column]) -> Flags:
        """Return which images hold hardly any light."""
        return np.asarray((columns["brightest"] < self.threshold) & (columns["contrast"] >= Blank.threshold))


class Overexposed(_ImageCheck):
    """Most of an image is at the top of its range."""

    name = "overexposed"
    text = "overexposed"
    columns = ("white_share",)
    rule = "fraction of the pixels at grey level 254 or 255, from"
    threshold = 0.5
    source = f"{_MEASURED_ON}: the whitest has 0.33"
    remedy = "Shorten the exposure; saturated pixels show no crystal."

    def flag(self, columns: Mapping[str, Column]) -> Flags:
        """Return which images are mostly white."""
        return np.asarray(
            (columns["white_share"] >= self.threshold) & (columns["contrast"] >= Blank.threshold)
        )


class Blurred(_ImageCheck):
    """An image has no detail at all."""

    name = "blurred"
    text = "blurred beyond use"
    columns = ("detail",)
    rule = "variance of the Laplacian per variance of the grey levels, at 224 px or less, below"
    threshold = 0.002
    source = f"{_MEASURED_ON}: the softest has 0.0042 (crystals out of focus belong to the data)"
    remedy = "Check the focus; remove images that a person could not label either."

    def flag(self, columns: Mapping[str, Column]) -> Flags:
        """Return which images are without detail."""
        return np.asarray((columns["detail"] < self.threshold) & (columns["contrast"] >= Blank.threshold))


class Tiny(_ImageCheck):
    """An image has too few pixels for a crystal."""

    name = "tiny"
    text = "tiny"
    columns = ("width_px", "height_px")
    rule = "shorter side in pixels, below"
    threshold = 32
    source = "the smallest crop in which synthetic crystals can be recognised (georgia.synthetic)"
    remedy = "Remove them, or cut larger crops."

    def flag(self, columns: Mapping[str, Column]) -> Flags:
        """Return which images have a side that is too short."""
        return np.asarray(np.minimum(columns["width_px"], columns["height_px"]) < self.threshold)


class OddSize(_ImageCheck):
    """An image is far larger, smaller or longer than the others."""

    name = "odd-size"
    text = "of another size or shape than the rest"
    columns = ("width_px", "height_px")
    rule = "factor between a side, or the aspect, and the set's median, from"
    threshold = 3.0
    source = f"{_MEASURED_ON}: sides within 1.6 times the median, aspects within 1.3"
    remedy = "Check whether a whole frame, a scale bar or a strip is among the crops."

    def flag(self, columns: Mapping[str, Column]) -> Flags:
        """Return which images are at least three times off."""
        width, height = columns["width_px"], columns["height_px"]
        side, aspect = np.log(np.sqrt(width * height)), np.log(width / height)
        off = np.maximum(np.abs(side - np.median(side)), np.abs(aspect - np.median(aspect)))
        return np.asarray(off >= np.log(self.threshold))


class Colored(_ImageCheck):
    """An image is coloured where nearly all others are grey."""

    name = "color-among-grey"
    text = "coloured among grey ones"
    columns = ("color",)
    rule = "mean difference of a pixel's channels in grey levels, where 90 % of the set stays below, from"
    threshold = 3.0
    source = (
        "150 synthetic crops saved as colour JPEG of quality 30: all 0; a sensor's colour noise is about 1"
    )
    remedy = "Check whether another camera took it, or whether it is no image of the probe at all."

    def flag(self, columns: Mapping[str, Column]) -> Flags:
        """Return which images are coloured, if few are."""
        colored = np.asarray(columns["color"] >= self.threshold)
        return colored if colored.mean() <= 0.1 else np.zeros(len(colored), np.bool_)

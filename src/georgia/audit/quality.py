"""Images that show nothing, or that stand out from the others."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from georgia.audit.check import Check, Finding, Observed
from georgia.audit.examples import Example, ExampleImage, Image, add, change, draw_texture, draw_textures

_Flags = npt.NDArray[np.bool_]
_DRAWN = "3,600 drawn crops"


class Unreadable(Check):
    """A file cannot be read as an image."""

    name = "unreadable"
    severity = "warning"
    rule = "files that cannot be read, from"
    threshold = 1
    source = "what cannot be read cannot be learned from"
    todo = "Save the files anew, or take them away. They are in no figure."

    def find(self, seen: Observed) -> list[Finding]:
        """Return one finding with all such files and their reasons."""
        failures = seen.catalog.failures
        if not failures:
            return []
        from georgia.catalog.read import relative_name

        reasons = {relative_name(one.path, seen.catalog.root): one.error for one in failures}
        first, reason = next(iter(reasons.items()))
        n = len(failures)
        words = f"{first}: {reason}" if n == 1 else f"{n:,} files cannot be read, such as {first}: {reason}"
        return [self.found(words, {"reasons": reasons}, reasons)]

    def bad_example(self) -> Example:
        """Return a set with one broken file."""
        return change(draw_textures(4), "CEX/0.png", None)

    def good_example(self) -> Example:
        """Return a set of whole files."""
        return draw_textures(4)


class _ImageCheck(Check):
    """One question to every image by itself; ``words`` follow the number of files."""

    words: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    severity = "warning"

    def flag(self, columns: Any) -> _Flags:
        """Return which images (N,) are at fault."""
        raise NotImplementedError

    def find(self, seen: Observed) -> list[Finding]:
        """Return one finding with all images at fault and their values."""
        if not seen.catalog.records:
            return []
        at = np.flatnonzero(self.flag(seen.columns))
        if not len(at):
            return []
        names = seen.names(at)
        n = "1 image is" if len(at) == 1 else f"{len(at):,} images are"
        more = f" and {len(at) - 3:,} more" if len(at) > 3 else ""
        message = f"{n} {self.words}: {', '.join(names[:3])}{more}"
        values = {name: [round(float(seen.columns[name][p]), 4) for p in at] for name in self.columns}
        return [self.found(message, values, names)]

    def faulty_image(self) -> Image:
        """Return one image at fault, (H, W, 3) uint8."""
        raise NotImplementedError

    def bad_example(self) -> Example:
        """Return a set with one such image."""
        return change(draw_textures(12), "CEX/3.png", self.faulty_image())

    def good_example(self) -> Example:
        """Return a set without one."""
        return draw_textures(12)


class Blank(_ImageCheck):
    """An image holds nothing but one grey."""

    name = "blank"
    words = "blank"
    columns = ("contrast",)
    rule = "standard deviation of the grey levels, below"
    threshold = 1.0
    source = f"{_DRAWN}: the flattest has 3.2"
    todo = "Take them away: nothing is to be seen in them."

    def flag(self, columns: Any) -> _Flags:
        """Return which images have no contrast."""
        return np.asarray(columns["contrast"] < self.threshold)

    def faulty_image(self) -> Image:
        """Return plain grey."""
        return np.full((46, 47, 3), 128, np.uint8)


class Dark(_ImageCheck):
    """An image is too dark to show a crystal."""

    name = "too-dark"
    words = "too dark"
    columns = ("brightest",)
    rule = "grey level that 99 % of the pixels stay under, below"
    threshold = 40
    source = f"{_DRAWN}: the darkest has 68"
    todo = (
        "Check lamp and exposure, and whether 12-bit data was saved as 16-bit; take away what shows nothing."
    )

    def flag(self, columns: Any) -> _Flags:
        """Return which images hold hardly any light."""
        return np.asarray((columns["brightest"] < self.threshold) & (columns["contrast"] >= Blank.threshold))

    def faulty_image(self) -> Image:
        """Return a texture at a tenth of its light."""
        return (draw_texture(3, 46, 47) // 8).astype(np.uint8)


class Overexposed(_ImageCheck):
    """Most of an image is at the top of its range."""

    name = "overexposed"
    words = "overexposed"
    columns = ("white_share",)
    rule = "share of the pixels at grey level 254 or 255, from"
    threshold = 0.5
    source = f"{_DRAWN}: the whitest has 0.33"
    todo = "Shorten the exposure; what is white holds no crystal any more."

    def flag(self, columns: Any) -> _Flags:
        """Return which images are mostly white."""
        return np.asarray(
            (columns["white_share"] >= self.threshold) & (columns["contrast"] >= Blank.threshold)
        )

    def faulty_image(self) -> Image:
        """Return a texture with most of it burnt out."""
        return np.clip(draw_texture(3, 46, 47).astype(np.int64) + 150, 0, 255).astype(np.uint8)


class Blurred(_ImageCheck):
    """An image has no detail at all."""

    name = "blurred"
    words = "blurred beyond use"
    columns = ("detail",)
    rule = "variance of the Laplacian per variance of the grey levels, at 224 px or less, below"
    threshold = 0.002
    source = f"{_DRAWN}: the softest has 0.0042 (crystals out of focus belong to the data)"
    todo = "Check the focus; take away what a person could not name either."

    def flag(self, columns: Any) -> _Flags:
        """Return which images are without detail."""
        return np.asarray((columns["detail"] < self.threshold) & (columns["contrast"] >= Blank.threshold))

    def faulty_image(self) -> Image:
        """Return a texture of one broad blotch."""
        return draw_texture(3, 120, 120, grain=16)


class Tiny(_ImageCheck):
    """An image has too few pixels for a crystal."""

    name = "tiny"
    words = "tiny"
    columns = ("width_px", "height_px")
    rule = "shorter side in pixels, below"
    threshold = 32
    source = "the smallest crop in which drawn crystals can be told (georgia.synthetic)"
    todo = "Take them away, or cut larger crops."

    def flag(self, columns: Any) -> _Flags:
        """Return which images have a side that is too short."""
        return np.asarray(np.minimum(columns["width_px"], columns["height_px"]) < self.threshold)

    def faulty_image(self) -> Image:
        """Return a texture of 20×20."""
        return draw_texture(3, 20, 20)


class OddSize(_ImageCheck):
    """An image is far larger, smaller or longer than the others."""

    name = "odd-size"
    words = "of another size or shape than the rest"
    columns = ("width_px", "height_px")
    rule = "factor between a side, or the aspect, and the set's median, from"
    threshold = 3.0
    source = f"{_DRAWN}: sides within 1.6 times the median, aspects within 1.3"
    todo = "Check whether a whole frame, a scale bar or a strip has got among the crops."

    def flag(self, columns: Any) -> _Flags:
        """Return which images are at least three times off."""
        width, height = columns["width_px"], columns["height_px"]
        side, aspect = np.log(np.sqrt(width * height)), np.log(width / height)
        off = np.maximum(np.abs(side - np.median(side)), np.abs(aspect - np.median(aspect)))
        return np.asarray(off >= np.log(self.threshold))

    def faulty_image(self) -> Image:
        """Return a strip."""
        return draw_texture(3, 40, 160)


class Colored(_ImageCheck):
    """An image is coloured where nearly all others are grey."""

    name = "color-among-grey"
    words = "coloured among grey ones"
    columns = ("color",)
    rule = "mean difference of a pixel's channels in grey levels, where 90 % of the set stays below, from"
    threshold = 3.0
    source = "150 drawn crops saved as colour JPEG of quality 30: all 0; a sensor's colour noise is about 1"
    todo = "Check whether it was taken by another camera or is no image of the probe at all."

    def flag(self, columns: Any) -> _Flags:
        """Return which images are coloured, if few are."""
        colored = np.asarray(columns["color"] >= self.threshold)
        return colored if colored.mean() <= 0.1 else np.zeros(len(colored), np.bool_)

    def faulty_image(self) -> Image:
        """Return a texture in orange."""
        tinted = draw_texture(3, 46, 47) * np.array([1.0, 0.7, 0.3])
        return np.asarray(tinted, np.uint8)


class Imbalance(Check):
    """One class has far fewer crystals than another."""

    name = "imbalance"
    severity = "warning"
    rule = "groups of the largest class per groups of the smallest, from"
    threshold = 10.0
    source = "Buda et al. 2018, doi 10.1016/j.neunet.2018.07.011: harm is clear from a ratio of 10 on"
    todo = "Bring more crystals of the small class. Read its own recall and interval, not the accuracy."

    def find(self, seen: Observed) -> list[Finding]:
        """Return one finding if classes are out of balance."""
        held = count_groups(seen)
        present = {name: n for name, n in held.items() if n}
        if len(present) < 2 or max(present.values()) < self.threshold * min(present.values()):
            return []
        few, many = min(present, key=present.__getitem__), max(present, key=present.__getitem__)
        message = f"{few} has {held[few]:,} groups and {many} has {held[many]:,}"
        return [self.found(message, {"groups": held, "pictures": seen.catalog.count_by_class()})]

    def bad_example(self) -> Example:
        """Return 30 images of one class and 3 of another."""
        few = tuple(one for one in draw_textures(3).images if one.class_name == "PG")
        return add(Example(tuple(one for one in draw_textures(30).images if one.class_name == "CEX")), *few)

    def good_example(self) -> Example:
        """Return as many of each."""
        return draw_textures(6)


class TooFewGroups(Check):
    """A class has too few crystals to be in train, validation and test."""

    name = "too-few-groups"
    severity = "error"
    rule = "groups of a class, below"
    threshold = 3
    source = "one for each of train, validation and test"
    todo = "Bring images of more crystals of that class; copies and frames of one scene do not count."

    def find(self, seen: Observed) -> list[Finding]:
        """Return one finding with the classes that are too poor."""
        held, files = count_groups(seen), seen.catalog.count_by_class()
        poor = [name for name, n in held.items() if n < self.threshold]
        if not poor:
            return []
        parts = [f"{name} has {held[name]} (in {files[name]:,} files)" for name in poor]
        message = f"groups of a class must be 3 or more for train, validation and test: {', '.join(parts)}"
        return [self.found(message, {"groups": held, "pictures": files})]

    def bad_example(self) -> Example:
        """Return four files of one crystal and many of another class."""
        good = draw_textures(6)
        return Example(
            tuple(
                ExampleImage(one.name, one.image, group="only" if one.class_name == "PG" else "")
                for one in good.images
            )
        )

    def good_example(self) -> Example:
        """Return six crystals of each class."""
        return draw_textures(6)


def count_groups(seen: Observed) -> dict[str, int]:
    """Return the number of groups in which each class stands, in label order."""
    labels, groups = seen.labels, seen.groups
    return {
        name: len(np.unique(groups[labels == index])) for index, name in enumerate(seen.catalog.labels.names)
    }

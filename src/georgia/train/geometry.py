"""How images fill the net's square: stretched, whole with padding, or at one scale.

At one scale where a file's size gives the class away; whole where the files are cut tightly around their
particles, because there the file's shape is the particle's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from georgia.audit import Audit
from georgia.images.decode import iter_images
from georgia.images.depth import DEPTH_VARIABLE, find_stated_bits
from georgia.images.preprocess import border_level
from georgia.progress import Progress
from georgia.records import Failure
from georgia.train.network import Network
from georgia.train.recipes import TrainConfig

# Properties of a file that a stretch to the square turns into scale and shape.
_SIZES = ("width_px", "height_px", "aspect")
# So many of each class's images may be smaller than the window and are continued by their mirror image.
_SMALLER_FRACTION = 0.05
# Tight crops: sides of one class vary by more than this part of their mean, as those of windows of a fixed or
# nearly fixed size do not (15 % on synthetic crops of 130–240 px) …
_VARIED_SIDES = 0.2
# … and in most images of every class, one thing reaches over nearly all of both sides.
_REACH, _MOST, _N_MEASURED = 0.9, 0.7, 40
# Grey levels between a thing and its background below which there is none.
_LEAST_LEVELS = 20.0


def tells_by_size(audit: Audit | None) -> bool:
    """Whether the audit found, as an error, that a file's size gives the class away."""
    findings = audit.findings if audit else ()
    return any(
        finding.check == "file-shortcut"
        and finding.severity == "error"
        and finding.evidence.get("property") in _SIZES
        for finding in findings
    )


def choose_window(audit: Audit) -> float:
    """Return the side in pixels of the largest square that 95 % of every class's images hold.

    One window for all classes, by the class with the smallest images, so no edge tells the class.
    """
    side = np.minimum(audit.columns["width_px"], audit.columns["height_px"])
    names = np.array([record.class_name for record in audit.catalog.records])
    return float(
        np.floor(min(np.quantile(side[names == name], _SMALLER_FRACTION) for name in np.unique(names)))
    )


def find_reach(image: npt.NDArray[np.uint8]) -> float:
    """Return how far the largest thing in an image (H, W, 3), uint8, reaches: part of the shorter reach, 0–1.

    What differs from the mean of the outermost pixels by more than Otsu's threshold is a thing.
    Source: Otsu 1979, doi 10.1109/TSMC.1979.4310076.
    """
    import cv2

    grey = cv2.GaussianBlur(np.asarray(image.mean(axis=2, dtype=np.float32)), (0, 0), 1.0)
    background = float(border_level(np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8))[0])
    distance = np.clip(np.abs(grey - background), 0, 255).astype(np.uint8)
    level, mask = cv2.threshold(distance, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    if level < _LEAST_LEVELS / 2:
        return 0.0
    _, _, things, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if len(things) < 2:
        return 0.0
    largest = things[1 + int(np.argmax(things[1:, cv2.CC_STAT_AREA]))]
    width, height = largest[cv2.CC_STAT_WIDTH], largest[cv2.CC_STAT_HEIGHT]
    return float(min(width / grey.shape[1], height / grey.shape[0]))


def _measure_reach(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    return np.array(find_reach(image))


def are_tight_crops(audit: Audit | None) -> bool:
    """Whether every class's images vary in size and are filled by one thing each: cut around a particle."""
    if audit is None:
        return False
    side = np.maximum(audit.columns["width_px"], audit.columns["height_px"]).astype(np.float64)
    names = np.array([record.class_name for record in audit.catalog.records])
    for name in np.unique(names):
        own = np.flatnonzero(names == name)
        if side[own].std() <= _VARIED_SIDES * side[own].mean():
            return False
    for name in np.unique(names):
        own = np.flatnonzero(names == name)
        chosen = own[:: max(1, len(own) // _N_MEASURED)].tolist()
        paths = [audit.catalog.records[at].path for at in chosen]
        found = [reach for _, reach in iter_images(paths, transform=_measure_reach)]
        reaches = [float(reach) for reach in found if not isinstance(reach, Failure)]
        if not reaches or np.mean(np.array(reaches) >= _REACH) < _MOST:
            return False
    return True


def apply_geometry(
    network: Network, config: TrainConfig, audit: Audit | None, progress: Progress
) -> tuple[Network, TrainConfig]:
    """Return the net with the input that the settings and the audit ask for, and settings that say so.

    The returned ``geometry`` is never "auto"; at one scale the scale is jittered more. A depth that is stated
    for 16-bit files is noted in the input.
    """
    bits = find_stated_bits()
    if bits:
        progress.say(f"depth: {DEPTH_VARIABLE}={bits}; 16-bit files that declare no depth are read with it")
        network = replace(network, preprocess=replace(network.preprocess, sample_bits=bits))
    is_tight = config.geometry == "auto" and are_tight_crops(audit)
    if config.geometry == "fit" or is_tight:
        reason = ", as the images are cut tightly around their particles" if is_tight else ""
        progress.say(f"geometry: images keep their aspect, with padding{reason}")
        fitted = replace(network, preprocess=replace(network.preprocess, keeps_aspect=True))
        return fitted, replace(config, geometry="fit")
    is_needed = config.geometry == "auto" and tells_by_size(audit)
    if config.geometry == "stretch" or (config.geometry == "auto" and not is_needed):
        return network, replace(config, geometry="stretch")
    window_px = config.window_px or (choose_window(audit) if audit else 0.0)
    augmentation = "crystal-jitter" if config.augmentation == "crystal" else config.augmentation
    reason = ", as the file's size gives the class away" if is_needed else ""
    progress.say(
        f"geometry: the middle {window_px:g} px of all images at one scale, with more jitter of it{reason}"
    )
    chosen = replace(config, geometry="scale", window_px=window_px, augmentation=augmentation)
    return replace(network, preprocess=replace(network.preprocess, window_px=window_px)), chosen

"""How images fill the net's square: stretched, or at one scale where their size tells the class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from georgia.audit import Audit
from georgia.images.depth import DEPTH_VARIABLE, find_stated_bits
from georgia.progress import Progress
from georgia.train.network import Network
from georgia.train.recipes import TrainConfig

# Properties of a file that a stretch to the square turns into scale and shape.
_SIZES = ("width_px", "height_px", "aspect")
# So many of each class's images may be smaller than the window and are continued by their mirror image.
_SMALLER_FRACTION = 0.05


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

"""Synthetic crystals with known truth, frames, data sets; empty fields and foreign material."""

from georgia._moved import find_renamed
from georgia.synthetic.crops import Crop, render_crop
from georgia.synthetic.dataset import CropPlan, PlannedCrop, PlantedDefects, render_dataset
from georgia.synthetic.fields import FIELD_KINDS, Field, render_empty
from georgia.synthetic.foreign import (
    CRYSTAL_KINDS,
    FITTED_KINDS,
    TESTED_KINDS,
    Foreign,
    ForeignKind,
    Lighting,
    render_foreign,
)
from georgia.synthetic.frames import Box, Frame, render_frame

__all__ = [
    "CRYSTAL_KINDS",
    "FIELD_KINDS",
    "FITTED_KINDS",
    "TESTED_KINDS",
    "Box",
    "Crop",
    "CropPlan",
    "Field",
    "Foreign",
    "ForeignKind",
    "Frame",
    "Lighting",
    "PlannedCrop",
    "PlantedDefects",
    "render_crop",
    "render_dataset",
    "render_empty",
    "render_foreign",
    "render_frame",
]


def __getattr__(name: str) -> object:
    return find_renamed(__name__, name)

"""Synthetic crystals with known truth: crops of CEX and PG, whole frames, empty fields, data sets."""

from georgia.synthetic.crops import Crop, render_crop
from georgia.synthetic.dataset import CropPlan, PlannedCrop, PlantedDefects, render_dataset
from georgia.synthetic.fields import FIELD_KINDS, Field, render_empty
from georgia.synthetic.frames import Box, Frame, render_frame

__all__ = [
    "FIELD_KINDS",
    "Box",
    "Crop",
    "CropPlan",
    "Field",
    "Frame",
    "PlannedCrop",
    "PlantedDefects",
    "render_crop",
    "render_dataset",
    "render_empty",
    "render_frame",
]

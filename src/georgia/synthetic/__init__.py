"""Drawn crystals with known truth: crops of CEX and PG, whole frames, empty fields, data sets."""

from georgia.synthetic.crops import Crop, draw_crop
from georgia.synthetic.dataset import TRANSFORMS, CropPlan, PlannedCrop, Traps, draw_dataset, turn
from georgia.synthetic.fields import FIELD_KINDS, Field, draw_empty
from georgia.synthetic.frames import Box, Frame, draw_frame

__all__ = [
    "FIELD_KINDS",
    "TRANSFORMS",
    "Box",
    "Crop",
    "CropPlan",
    "Field",
    "Frame",
    "PlannedCrop",
    "Traps",
    "draw_crop",
    "draw_dataset",
    "draw_empty",
    "draw_frame",
    "turn",
]

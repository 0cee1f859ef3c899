"""Write a trained net as a Keras HDF5 file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from georgia.files import atomic_path


def save_hdf5(model: Any, target: Path) -> None:
    """Write the whole net as HDF5 that plain ``keras.models.load_model`` opens."""
    with atomic_path(target) as temporary, warnings.catch_warnings():
        # Keras recommends its own .keras format; this file is HDF5 on purpose.
        warnings.simplefilter("ignore")
        model.save(temporary, include_optimizer=False)

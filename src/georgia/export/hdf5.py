"""Write a trained net as a Keras HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from georgia.files import atomic_path


def save_hdf5(model: Any, target: Path) -> None:
    """Write the whole net as HDF5 that plain ``keras.models.load_model`` opens."""
    import warnings

    with atomic_path(target) as temporary, warnings.catch_warnings():
        # Keras advises its own .keras format; HDF5 is what this deliverable is for.
        warnings.simplefilter("ignore")
        model.save(temporary, include_optimizer=False)

"""What all tests share: real pictures where they are at hand, drawn ones, and the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "agg")
# Engines are compared to the fifth decimal, which bfloat16 does not have.
os.environ.setdefault("GEORGIA_PRECISION", "float32")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real pictures beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real pictures in ../shared/data, which are not part of the project")
    return folder


@pytest.fixture(scope="session")
def drawn_crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder per class with 40 drawn crops each; read only."""
    from georgia.synthetic import draw_dataset

    folder = tmp_path_factory.mktemp("drawn") / "crops"
    draw_dataset(folder, n_per_class=40, seed=7)
    return folder

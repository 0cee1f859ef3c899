"""How much a correlation of two images is worth: neighbouring pixels do not vary freely.

Two smooth images with a handful of soft blobs reach a high correlation by chance, once one may be moved
and stretched; two images full of fine structure do not. So a correlation is weighed by the number of
independent samples in it, and counts for nothing where all structure stands in one spot.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# Tiles each way, and tiles of the 64 that must hold structure. Source: drawn crops of seed 1: their copies
# have 21 or more; one compressed spot on a blank field has 1.
_N_TILES = 8
_MIN_FILLED = 6.0
_NEVER = 0.0


def measure_significance(correlation: float, one: Floats, other: Floats, overlap: float) -> float:
    """Return how many standard deviations a correlation lies above chance, 0 for too little structure.

    ``one`` and ``other`` (S, S) are the images, ``overlap`` the share of their area that was compared.
    Source: Fisher 1915, doi 10.2307/2331838 (the transform, whose deviation is 1/√(n − 3)).
    """
    if min(count_filled(one), count_filled(other)) < _MIN_FILLED:
        return _NEVER
    n_samples = overlap * count_independent(one, other)
    return float(np.arctanh(np.clip(correlation, -1.0, 0.9999)) * np.sqrt(max(n_samples - 3.0, 0.0)))


def count_independent(one: Floats, other: Floats) -> float:
    """Return the number of independent samples that two images (S, S) are compared on.

    It is n / Σ ρ₁ρ₂ over all lags of their autocorrelations, here by way of the spectra.
    Source: Clifford, Richardson and Hémon 1989, doi 10.2307/2532039.

    >>> noise = np.random.default_rng(0).standard_normal((2, 64, 64)).astype(np.float32)
    >>> round(count_independent(*noise), -3)
    4000.0
    """
    first, second = (np.abs(np.fft.rfft2(image - image.mean())) ** 2 for image in (one, other))
    # A real image's spectrum is symmetric: all but the first and last column stand for two.
    weight = np.full(first.shape[1], 2.0)
    weight[[0, -1]] = 1.0
    shared = float((first * second * weight).sum())
    total = float((first * weight).sum()) * float((second * weight).sum())
    return total / shared if shared > 0 else 0.0


def count_filled(image: Floats) -> float:
    """Return how many of an image's 64 tiles its structure fills: 1 for one spot, 64 for an even texture.

    Source: the participation ratio (Σ e)² / Σ e², Bell and Dean 1970, doi 10.1039/DF9705000055.
    """
    side = len(image) // _N_TILES
    tiles = (image * image).reshape(_N_TILES, side, _N_TILES, side).sum(axis=(1, 3)).astype(np.float64)
    square = float((tiles * tiles).sum())
    return float(tiles.sum()) ** 2 / square if square > 0 else 0.0

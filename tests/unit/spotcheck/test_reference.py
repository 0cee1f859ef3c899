"""The estimate agrees with the reference implementation of prediction-powered inference."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.spotcheck.test_interval import make_batch

from georgia.spotcheck.interval import Name, estimate_fraction
from georgia.spotcheck.plan import Population, SpotcheckConfig, draw_windows

# What ppi_py.ppi_mean_pointestimate(truth[named], probabilities[named], probabilities[rest]) of ppi-python
# 0.2.3 returns for the windows sampled below, one value a seed. It is no requirement: 275 MB with its own.
REFERENCE = {
    "good": (0.29314, 0.28782, 0.31777, 0.32182),
    "biased": (0.29504, 0.29620, 0.31516, 0.31708),
    "useless": (0.27500, 0.27141, 0.32000, 0.30000),
}


@pytest.mark.slow
@pytest.mark.parametrize("net", REFERENCE)
def test_estimate_is_that_of_ppi_python(net: str) -> None:
    differences = []
    for seed, theirs in enumerate(REFERENCE[net]):
        truth, probabilities = make_batch(2000, 0.3, net, np.random.default_rng(seed))
        population = Population.from_probabilities(probabilities)
        # That one knows even sampling alone.
        draws = list(draw_windows(population, SpotcheckConfig(n=200, even=1.0, seed=seed)))
        names = [Name.TARGET if truth[draw.window] else Name.OTHER for draw in draws]
        found = estimate_fraction(population, draws, names)
        differences.append(found.fraction - theirs)
        assert found.low <= theirs <= found.high
    assert np.abs(differences).mean() < 0.03

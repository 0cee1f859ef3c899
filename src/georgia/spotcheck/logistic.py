"""What a net's probability is worth on this batch: a logistic curve over its logit, fitted to names.

Offset and slope have a normal prior about 0 and 1, so that without names it is the net's own probability.

Source: Platt 1999, probabilistic outputs for support vector machines (a logistic curve over a score); the
prior keeps a few names from running away with it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
# Ends of a probability; the longest step of the fit, in logits; steps after each name.
_ENDS, _LONGEST, _N_STEPS = (0.005, 0.995), 2.0, 2


def find_logits(probabilities: FloatArray) -> FloatArray:
    """Return the logits of probabilities, those near 0 and 1 as if they were 0.005 and 0.995."""
    kept = np.clip(probabilities, *_ENDS)
    return np.asarray(np.log(kept / (1 - kept)))


class LogisticFit:
    """The curve, fitted again after each name; ``spreads`` are the prior's standard deviations."""

    def __init__(self, spreads: tuple[float, float]) -> None:
        self._spreads = spreads
        self._offset, self._slope = 0.0, 1.0
        # For each logit: how many names there are, and how many of them are the target.
        self._logits, self._counts = np.zeros(0), np.zeros((2, 0))

    def copy(self) -> LogisticFit:
        """Return one that knows the same names, and goes on by itself."""
        made = LogisticFit(self._spreads)
        made._offset, made._slope = self._offset, self._slope
        made._logits, made._counts = self._logits.copy(), self._counts.copy()
        return made

    def add(self, logit: float, is_target: float, n_steps: int = _N_STEPS) -> None:
        """Take one more name: the window's logit, and 1 if it is the target, 0 if of another class."""
        at = np.flatnonzero(self._logits == logit)
        if not len(at):
            at = np.array([len(self._logits)])
            self._logits = np.append(self._logits, logit)
            self._counts = np.hstack([self._counts, np.zeros((2, 1))])
        self._counts[:, at[0]] += (1.0, is_target)
        self.refine(n_steps)

    def refine(self, n_steps: int) -> None:
        """Go on fitting to the names that are known, by so many of Newton's steps."""
        x, (n, n_target) = self._logits, self._counts
        keep, keep_slope = (1.0 / spread**2 for spread in self._spreads)
        for _ in range(n_steps):
            chance = _squash(self._offset + self._slope * x)
            miss, weight = n_target - n * chance, n * chance * (1 - chance)
            up = float(miss.sum()) - keep * self._offset
            up_slope = float(miss @ x) - keep_slope * (self._slope - 1.0)
            weighted = weight * x
            a, b, c = float(weight.sum()) + keep, float(weighted.sum()), float(weighted @ x) + keep_slope
            size = a * c - b * b
            step, step_slope = (c * up - b * up_slope) / size, (a * up_slope - b * up) / size
            damping = min(1.0, _LONGEST / max(1e-12, abs(step), abs(step_slope)))
            self._offset += damping * step
            self._slope += damping * step_slope

    def predict(self, logits: FloatArray) -> FloatArray:
        """Return the chance of the target at each logit; a net that says the opposite says nothing here."""
        return _squash(self._offset + max(0.0, self._slope) * logits)


def _squash(values: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -40.0, 40.0))))

"""Spot check: a batch's fraction from a few windows that a person names, whatever the net does."""

from georgia.spotcheck.check import SpotcheckResult, plan_size, run_spotcheck
from georgia.spotcheck.curve import Span, cut_spans, estimate_curve
from georgia.spotcheck.details import Details, Request
from georgia.spotcheck.forecast import count_names
from georgia.spotcheck.interval import Interval, Name, estimate_fraction
from georgia.spotcheck.plan import Draw, Population, SpotcheckConfig, draw_windows
from georgia.spotcheck.second import Slips, allow_slips, choose_second, estimate_slips
from georgia.spotcheck.sources import Source, read_batch, read_predictions

__all__ = [
    "Details",
    "Draw",
    "Interval",
    "Name",
    "Population",
    "Request",
    "Slips",
    "Source",
    "Span",
    "SpotcheckConfig",
    "SpotcheckResult",
    "allow_slips",
    "choose_second",
    "count_names",
    "cut_spans",
    "draw_windows",
    "estimate_curve",
    "estimate_fraction",
    "estimate_slips",
    "plan_size",
    "read_batch",
    "read_predictions",
    "run_spotcheck",
]

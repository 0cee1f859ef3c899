"""Divide labelled images into train, validation and test without leaks."""

from georgia.split.make import (
    MANIFEST_CSV,
    MANIFEST_JSON,
    Split,
    SplitConfig,
    group_of,
    kfold_split,
    make_split,
)

__all__ = ["MANIFEST_CSV", "MANIFEST_JSON", "Split", "SplitConfig", "group_of", "kfold_split", "make_split"]

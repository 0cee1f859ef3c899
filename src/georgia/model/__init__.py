"""A model on disk, and the engines that run it."""

from georgia.model.bundle import Bundle, save_bundle
from georgia.model.load import is_model, load_bundle, load_bundled_model

__all__ = ["Bundle", "is_model", "load_bundle", "load_bundled_model", "save_bundle"]

"""Watch a live probe: frames in, fraction of each class with its interval out, alarms, a record."""

from georgia.monitor.open import open_store

__all__ = ["open_store"]

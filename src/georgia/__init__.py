"""Georgia: crystal-image classifiers that can be trusted."""

__version__ = "0.1.0"

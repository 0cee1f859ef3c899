"""Georgia: crystal-image classifiers that can be trusted."""

import sys as _sys

from georgia._moved import MovedModules as _MovedModules

__version__ = "0.1.0"

_sys.meta_path.append(_MovedModules())

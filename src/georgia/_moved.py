"""Import paths of version 0.1 that moved into packages: still found, with one line of notice, until 0.3."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED: dict[str, tuple[str, ...]] = {
    "assurance": ("uncertainty.decision",),
    "atomic": ("files",),
    "augment": ("images.augment",),
    "bundle": ("model.bundle", "model.load"),
    "calibrate": ("uncertainty.calibration",),
    "catalog_csv": ("catalog.csv_file",),
    "catalog_folders": ("catalog.folders",),
    "compare": ("evaluate.compare",),
    "conformal": ("uncertainty.conformal",),
    "containers": ("images.containers",),
    "engines": ("model.engines",),
    "export_int8": ("export.int8",),
    "frames": ("monitor.frames",),
    "graph": ("export.graph",),
    "grouping": ("split.assign",),
    "intervals": ("metrics.intervals",),
    "listing": ("images.listing",),
    "placement": ("split.materialize",),
    "predict_resume": ("predict.resume",),
    "predict_tables": ("predict.tables",),
    "preprocess": ("images.preprocess",),
    "robustness": ("evaluate.robustness",),
    "robustness_changes": ("evaluate.perturbations",),
    "scale": ("distributed",),
    "seen": ("evaluate.overlap",),
    "serve": ("web.config", "web.serve"),
    "simulate": ("synthetic.simulate",),
    "strangers": ("evaluate.ood",),
    "tiff": ("images.tiff",),
    "unknown": ("uncertainty.ood", "uncertainty.fit_ood"),
    "verify": ("monitor.verify",),
    "words": ("text",),
}


class MovedModules(MetaPathFinder, Loader):
    """Finds a module under its old name and fills it from where its contents are now."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for a module of ``MOVED``, None for any other."""
        is_ours = fullname.startswith("georgia.") and fullname.removeprefix("georgia.") in MOVED
        return ModuleSpec(fullname, self) if is_ours else None

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module with the names of its successors."""
        places = [f"georgia.{place}" for place in MOVED[module.__name__.removeprefix("georgia.")]]
        notice = f"{module.__name__} has moved to {' and '.join(places)}; the old path goes with version 0.3."
        warnings.warn(notice, FutureWarning, stacklevel=2)
        for place in places:
            names = vars(importlib.import_module(place)).items()
            vars(module).update({name: value for name, value in names if not name.startswith("__")})


# Functions and classes of version 0.1 by package, each with its present name there.
RENAMED: dict[str, dict[str, str]] = {
    "georgia.synthetic": {
        "Traps": "PlantedDefects",
        "draw_crop": "render_crop",
        "draw_dataset": "render_dataset",
        "draw_empty": "render_empty",
        "draw_frame": "render_frame",
    },
}


def find_renamed(package: str, name: str) -> object:
    """Return what a package held under a name of version 0.1, with one line of notice.

    Raises:
        AttributeError: it never held that name.
    """
    present = RENAMED[package].get(name)
    if present is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    warnings.warn(
        f"{package}.{name} is called {present}; the old name goes with version 0.3.",
        FutureWarning,
        stacklevel=3,
    )
    found: object = getattr(importlib.import_module(package), present)
    return found

"""The steps for notebooks and scripts: load, audit, train, evaluate; each returns the step's result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from georgia.config import build_config
from georgia.errors import InputError
from georgia.model import Bundle, load_bundle, load_bundled_model
from georgia.progress import QUIET, Progress

if TYPE_CHECKING:
    from georgia.audit import Audit
    from georgia.evaluate import Evaluation
    from georgia.predict import Predictions
    from georgia.train import TrainingRun

Pixels = npt.NDArray[Any]
Source = str | Path | Pixels


def load(
    source: str | Path | None = None,
    classes: Sequence[str] | None = None,
    preprocess: str | None = None,
    **settings: Any,
) -> Model:
    """Open a model: a run folder, a bundle, an ``.onnx``, a Keras ``.h5``; None is the bundled model.

    Args:
        source: where the model is.
        classes: class names in output order, for a Keras file of others.
        preprocess: what such a file was trained on: caffe, tf, torch, unit or raw; None assumes it from the
            layers, and ``model.bundle.note`` says what was assumed.
        settings: those of ``[predict]``, such as ``engine`` or ``precision``.

    Raises:
        InputError: there is no such model, it is damaged, or a setting is wrong.
    """
    from georgia.predict import PredictConfig

    names = None if classes is None else tuple(classes)
    if source is None and (names is not None or preprocess is not None):
        raise InputError(
            "Cannot load the bundled model",
            needs="classes and preprocess are for a Keras file from elsewhere",
            got="no source",
        )
    bundle = load_bundled_model() if source is None else load_bundle(source, names, preprocess)
    return Model(bundle, build_config(PredictConfig, settings))


class Model:
    """An opened model that predicts files and arrays.

    >>> model = load()
    >>> image = np.full((60, 80), 90, np.uint8)
    >>> model.predict(image).items[0].label
    'unknown'
    """

    def __init__(self, bundle: Bundle, config: Any) -> None:
        from georgia.predict import Predictor

        self.bundle = bundle
        self._predictor = Predictor(bundle, config)

    @property
    def name(self) -> str:
        """What to call the model."""
        return self.bundle.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the net's outputs."""
        return self.bundle.labels.names

    def predict(self, images: Source | Sequence[Source], progress: bool = True) -> Predictions:
        """Return predictions for files, folders and globs, for arrays, or for a list of either.

        Args:
            images: an array is one image: (H, W), (H, W, 3) or (H, W, 4), of uint8, of uint16 with its
                whole range, or of floats from 0 to 1. A prediction of an array names it by its
                position, such as ``array 0``.
            progress: show a progress bar on stderr.

        Raises:
            InputError: nothing is found under a name, or an array is no image.
        """
        from georgia.catalog.sources import find_sources
        from georgia.images import image_from_array

        sources = [images] if isinstance(images, (str, Path, np.ndarray)) else list(images)
        arrays = [source for source in sources if isinstance(source, np.ndarray)]
        files = [source for source in sources if not isinstance(source, np.ndarray)]
        if arrays and files:
            raise InputError(
                "Cannot predict",
                needs="either files or arrays are needed",
                got=f"{len(files)} files and {len(arrays)} arrays",
                hint="Call predict once for each.",
            )
        with _progress(progress) as shown:
            if arrays:
                return self._predictor.predict_arrays([image_from_array(array) for array in arrays], shown)
            found = find_sources(files)
            result = self._predictor.predict(list(iter(found)), shown)
            if found.others:
                shown.say(f"note: {found.others.tell()}")
            return result

    def evaluate(self, data: str | Path, progress: bool = True) -> Evaluation:
        """Return metrics on labelled images, as ``georgia.evaluate`` does."""
        return evaluate(self, data, progress=progress)

    def __repr__(self) -> str:
        engine = self._predictor.engine
        return f"<Model {self.name!r}: {', '.join(self.classes)}; {engine.name}, {engine.precision}>"


def audit(data: str | Path, out: str | Path | None = None, progress: bool = True, **settings: Any) -> Audit:
    """Return what is wrong with labelled images, as ``georgia audit`` finds it; ``out`` gets the pages.

    Raises:
        InputError: the data or a setting (those of ``[audit]``) cannot be used.
    """
    from georgia.audit import AuditConfig, run_audit
    from georgia.catalog import read_catalog
    from georgia.report.audit_page import AUDIT_PAGE, save_audit_page

    config = build_config(AuditConfig, settings)
    with _progress(progress) as shown:
        result = run_audit(read_catalog(data, verify=False, progress=shown), config, shown)
    if out is not None:
        result.save(Path(out))
        save_audit_page(result, Path(out) / AUDIT_PAGE)
    return result


def train(
    data: str | Path,
    out: str | Path,
    recipe: str = "fast",
    resume: bool = False,
    progress: bool = True,
    **settings: Any,
) -> TrainingRun:
    """Train, export, evaluate the exported file and report, as ``georgia train`` does.

    Raises:
        InputError: the data, a setting (those of ``[train]``) or the folder cannot be used.
        GateError: the audit found errors; or the exported model cannot be used, as it rejects every image,
            say: ``error.result`` is the run then, with all its metrics and files.
        MissingDependencyError: the training packages are not installed.
    """
    from georgia.train import recipe_config, train_model

    with _progress(progress) as shown:
        return train_model(Path(data), Path(out), recipe_config(recipe, settings), resume, progress=shown)


def evaluate(
    model: Model | str | Path, data: str | Path, progress: bool = True, **settings: Any
) -> Evaluation:
    """Return metrics of a model on labelled images: the test split where the data has one, else all.

    Raises:
        InputError: the model, the data or a setting (those of ``[evaluate]``) cannot be used.
    """
    from georgia.catalog import read_catalog
    from georgia.evaluate import EvaluateConfig, evaluate_records

    bundle = model.bundle if isinstance(model, Model) else load_bundle(model)
    config = build_config(EvaluateConfig, settings)
    with _progress(progress) as shown:
        catalog = read_catalog(data, verify=False, is_for_training=False, progress=shown)
        records = catalog.subset("test") or catalog.records
        return evaluate_records(bundle, records, catalog.labels, shown, config.predict)


@contextmanager
def _progress(shown: bool) -> Iterator[Progress]:
    if not shown:
        yield QUIET
        return
    from georgia.cli.console import ConsoleProgress

    with ConsoleProgress() as progress:
        yield progress

"""What a backbone is: its card, known before anything heavy is loaded, and the built net."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from georgia.errors import MissingDependencyError
from georgia.images.preprocess import PreprocessSpec

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class BuildRequest:
    """What to build: start weights, side in pixels, seed, and whether to include the ImageNet top.

    ``weights`` is ``"imagenet"``, ``"none"`` or a path. ``seed`` matters for ``"none"`` only.
    ``include_top`` adds global pooling and the 1000 ImageNet classes (logits), to verify weights.
    """

    weights: str
    size_px: int
    seed: int
    include_top: bool


@dataclass(frozen=True)
class Backbone:
    """A built net and the preprocessing of its input.

    ``model`` is a functional Keras model from images (N, size, size, 3), float32, normalised by
    ``preprocess``, to its last feature map (N, h, w, features), float32. ``source`` describes
    where its weights come from; ``sha256`` is that of the weight file, if there was one.
    """

    model: keras.Model
    preprocess: PreprocessSpec
    source: str
    sha256: str | None


@dataclass(frozen=True)
class BackboneInfo:
    """A backbone's card: one entry of ``BACKBONES``.

    ``preprocess`` is that of its ImageNet weights, at their side in pixels; ``n_parameters``
    counts the net without its top; ``imagenet`` names the source of ``weights="imagenet"`` and
    ``is_offline`` whether that needs no connection. ``levels`` names the layers that end its middle
    and last stages, from fine to coarse: the fine ones respond to texture.
    """

    name: str
    preprocess: PreprocessSpec
    n_features: int
    n_parameters: int
    imagenet: str
    is_offline: bool
    license: str
    build: Callable[[BackboneInfo, BuildRequest], Backbone]
    levels: tuple[str, ...]

    @property
    def size_px(self) -> int:
        """Side of the input in pixels that the ImageNet weights were trained at."""
        return self.preprocess.size_px


def require_keras() -> None:
    """Check that Keras and its backend are installed, and have it take images as (N, H, W, 3).

    Raises:
        MissingDependencyError: they are not; the message names the command that installs them.
    """
    try:
        import keras
    except ImportError as error:
        raise MissingDependencyError(
            "Cannot build a net",
            needs="Keras with TensorFlow is needed",
            got=error,
            hint="Run pip install 'georgia[train]'.",
        ) from error
    # A user's ~/.keras/keras.json may set another order, in which files would be misread.
    keras.config.set_image_data_format("channels_last")

"""What a backbone is: its card, known before anything heavy is loaded, and the built net."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from georgia.errors import MissingDependencyError, format_message
from georgia.images.preprocess import PreprocessSpec

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class BuildRequest:
    """What is wanted of a backbone: start weights, side in pixels, seed, and the ImageNet top.

    ``weights`` is ``"imagenet"``, ``"none"`` or a path. ``seed`` matters for ``"none"`` only.
    ``include_top`` adds global pooling and the 1000 ImageNet classes (logits), to prove weights.
    """

    weights: str
    size_px: int
    seed: int
    include_top: bool


@dataclass(frozen=True)
class Backbone:
    """A built net and how to feed it.

    ``model`` is a functional Keras model (N, size, size, 3) float32, already normalised by
    ``preprocess``, to its last feature map (N, h, w, features), float32. ``source`` says in words
    where the numbers in it come from; ``sha256`` is that of the weight file, if there was one.
    """

    model: keras.Model
    preprocess: PreprocessSpec
    source: str
    sha256: str | None


@dataclass(frozen=True)
class BackboneInfo:
    """A backbone's card: one entry of ``BACKBONES``.

    ``preprocess`` is that of its ImageNet weights, at their side in pixels; ``n_parameters``
    counts the net without its top; ``imagenet`` says where ``weights="imagenet"`` comes from and
    ``is_offline`` whether that needs no connection. ``levels``
    names the layers that end its middle and last stages, from fine to coarse: texture is told by
    the fine ones.
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
        MissingDependencyError: they are not; the message says how to install them.
    """
    try:
        import keras
    except ImportError as error:
        line = format_message(
            "Cannot build a net",
            "Keras with TensorFlow is needed",
            error,
            "Run pip install 'georgia[train]'.",
        )
        raise MissingDependencyError(line) from error
    # A user's ~/.keras/keras.json may say otherwise, and files would be read in another order.
    keras.config.set_image_data_format("channels_last")

"""Which arithmetic a run uses, and the learning part in mixed precision for as long as it learns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from georgia.model.engines import check_precision_name, choose_precision


def choose_train_precision(asked: str, on_gpu: bool) -> str:
    """Return "float32" or "bfloat16"; "auto" is float32. A GPU has bfloat16, a processor may.

    Raises:
        InputError: bfloat16 is asked for by name on a processor without it, or no such precision.
    """
    check_precision_name(asked)
    return choose_precision(asked, ("BF16",)) if on_gpu else choose_precision(asked)


@contextmanager
def use_precision(model: Any, precision: str) -> Iterator[None]:
    """Compute a net's layers in ``precision`` inside the block; weights stay float32.

    The last layer, which answers, always computes in float32. Afterwards every layer is as before,
    so that what is exported and saved is a float32 net.
    """
    import keras

    if precision == "float32":
        yield
        return
    inner = [layer for layer in model.layers if layer is not model.layers[-1]]
    before = [layer.dtype_policy for layer in inner]
    mixed = keras.dtype_policies.get("mixed_bfloat16")
    try:
        for layer in inner:
            layer.dtype_policy = mixed
        yield
    finally:
        for layer, policy in zip(inner, before, strict=True):
            layer.dtype_policy = policy

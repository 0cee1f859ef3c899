"""Is this installation what was shipped: versions, hashes of files, fonts."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import georgia
from georgia.service.qualify.records import Finding, NotRunError

# Without one of these no monitor runs.
_EXTRAS = ("web",)
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?\s*([^;]*?)\s*(?:;(.*))?$")
_MOST_NAMED = 8
# Letters of pages and figures: Latin, Greek, signs of units, dashes.
_LETTERS = "Größe ÅŒøñ µ °C ² ³ ± ≤ ≥ – — … × −"


def check_program() -> Finding:
    """Find the version of the program and of what its packaging says."""
    try:
        packaged = importlib.metadata.version("georgia")
    except importlib.metadata.PackageNotFoundError:
        return Finding(False, f"Georgia {georgia.__version__}, not installed as a package")
    found = f"Georgia {georgia.__version__} in {Path(georgia.__file__).parent}"
    is_same = packaged == georgia.__version__
    return Finding(is_same, found if is_same else f"{found}; its packaging says {packaged}")


def check_python() -> Finding:
    """Find the interpreter's version, of 64 bits."""
    found = f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    is_known = (3, 11) <= sys.version_info[:2] <= (3, 13) and sys.maxsize > 2**32
    return Finding(is_known, f"{found}, {sys.executable}")


def check_floors() -> Finding:
    """Find packages that a monitor and its page need and that are missing, or older than allowed."""
    needed = dict(_list_requirements())
    if not needed:
        raise NotRunError("Georgia is not installed as a package, so that nothing names what it needs.")
    faults, found = [], []
    for name, floor in sorted(needed.items()):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            faults.append(f"{name} is missing (≥ {floor or 'any'})")
            continue
        found.append(f"{name} {version}")
        if floor and _release(version) < _release(floor):
            faults.append(f"{name} {version} is older than {floor}")
    said = "; ".join(faults) if faults else ", ".join(found)
    return Finding(not faults, said, "pip install 'georgia[web]'." if faults else "")


def _list_requirements() -> Iterator[tuple[str, str]]:
    """Yield name and lowest version of each package that Georgia and its extras of a service name."""
    try:
        lines = importlib.metadata.requires("georgia") or []
    except importlib.metadata.PackageNotFoundError:
        return
    wanted, done = ["", *_EXTRAS], set[str]()
    while wanted:
        extra = wanted.pop()
        done.add(extra)
        for line in lines:
            match = _REQUIREMENT.fullmatch(line)
            if match is None or not _holds(match[4] or "", extra):
                continue
            if match[1] == "georgia":
                wanted += [name for name in re.split(r"[,\s]+", match[2] or "") if name not in done]
                continue
            floor = re.search(r">=\s*([0-9][^,\s)]*)", match[3] or "")
            yield match[1], floor[1] if floor else ""


def _holds(marker: str, extra: str) -> bool:
    """Tell whether a requirement's marker is that of an extra ("": of none), on this system."""
    named = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
    system = re.search(r"sys_platform\s*==\s*['\"]([^'\"]+)['\"]", marker)
    return (named[1] if named else "") == extra and (system is None or system[1] == sys.platform)


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version.

    >>> _release("4.10.0.84"), _release("2.20.0rc1")
    ((4, 10, 0, 84), (2, 20, 0))
    """
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def check_lock(lock: Path | None) -> Finding:
    """Find packages of other versions than those that the tests ran on."""
    file = lock or _find_lock()
    if file is None:
        raise NotRunError("No lock is at hand: name requirements.lock by --set lock=FILE.")
    pinned = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", file.read_text(encoding="utf-8"), re.M))
    if not pinned:
        raise NotRunError(f"{str(file)!r} pins no version by name==version.")
    others, n_same = [], 0
    for name in sorted({name for name, _ in _list_requirements()}):
        key = re.sub(r"[-_.]+", "-", name).lower()
        wanted = {re.sub(r"[-_.]+", "-", each).lower(): version for each, version in pinned.items()}.get(key)
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if wanted == version:
            n_same += 1
        elif wanted is not None:
            others.append(f"{name} {version} (tested: {wanted})")
    said = f"{n_same} packages are those of {file.name}"
    hint = f'pip install -c "{file}" "georgia[web]" brings those that were tested.'
    return Finding(not others, "; ".join(others) if others else said, hint if others else "")


def _find_lock() -> Path | None:
    """Return the lock that came with the package, or that of the checkout it runs from."""
    package = Path(georgia.__file__).parent
    places = (package / "requirements.lock", package.parents[1] / "requirements.lock")
    return next((place for place in places if place.is_file()), None)


def check_files() -> Finding:
    """Find files of the package that are other than those of its wheel, missing, or none of it."""
    try:
        distribution = importlib.metadata.distribution("georgia")
    except importlib.metadata.PackageNotFoundError:
        raise NotRunError("Georgia is not installed as a package, so that no RECORD is there.") from None
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        raise NotRunError(
            "Georgia runs from a checkout (an editable installation): its RECORD names no file of it."
        )
    listed = [file for file in distribution.files or () if file.parts[0] == "georgia"]
    if not listed:
        raise NotRunError("The RECORD of this installation lists no file of the package.")
    faults = [f"{file}: {fault}" for file in listed if (fault := _find_fault(file))]
    root = Path(str(distribution.locate_file("georgia")))
    known = {PurePosixPath(file) for file in listed}
    strange = [
        name
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
        for name in [PurePosixPath("georgia") / PurePosixPath(path.relative_to(root).as_posix())]
        if name not in known
    ]
    faults += [f"{name}: not of the wheel" for name in strange]
    record = distribution.read_text("RECORD") or ""
    lines = sorted(line for line in record.splitlines() if line.startswith("georgia/") and ".pyc" not in line)
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    if not faults:
        return Finding(True, f"{len(listed)} files as in RECORD; sha256 of its sorted lines {digest}")
    more = f"; and {len(faults) - _MOST_NAMED} more" if len(faults) > _MOST_NAMED else ""
    return Finding(False, "; ".join(faults[:_MOST_NAMED]) + more, "Install the wheel again.")


def _find_fault(file: importlib.metadata.PackagePath) -> str:
    """Return what is wrong with a file that RECORD lists; "" if nothing is."""
    if file.hash is None:
        return "" if file.suffix == ".pyc" else "no hash in RECORD"
    try:
        content = Path(str(file.locate())).read_bytes()
    except OSError:
        return "missing"
    digest = base64.urlsafe_b64encode(hashlib.new(file.hash.mode, content).digest()).rstrip(b"=").decode()
    return "" if digest == file.hash.value else "altered"


def check_fonts() -> Finding:
    """Find letters of pages and figures that no installed font has."""
    from georgia.report.fonts import find_fonts, plain_file

    file = plain_file()
    if not file.is_file():
        return Finding(False, f"no {str(file)!r}", "Install matplotlib again.")
    missing = find_fonts(_LETTERS).missing
    return Finding(not missing, f"no font has {missing}" if missing else f"{file.name} has all of them")

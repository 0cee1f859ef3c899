"""The study's images from Kaggle, their counts checked; or from an archive that was downloaded by hand.

All files are collected in a hidden folder inside the destination and renamed into place at the end: a
stopped download resumes, and a half-unpacked set is never taken for a whole one.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from georgia.config import Config, above
from georgia.errors import InputError, MissingDependencyError
from georgia.files import DAMAGE
from georgia.images.containers import SUFFIXES
from georgia.images.listing import walk_files
from georgia.progress import QUIET, Progress

HANDLE = "opencrystaldata/cephalexin-reactive-crystallization"
PAGE = f"https://www.kaggle.com/datasets/{HANDLE}"
# Source: the Georgia Project's own count of the data set; "pg" and "cex" are its folders.
COUNTS = {"cex": 6860, "pg": 6804}
WORK_FOLDER = ".fetch"
# Source: 13,664 crops of 11 kB on average (11 real ones) are 150 MB; the archive and its frames stand
# beside the unpacked files for a while, and the page says over 1 GB.
NEEDED_BYTES = 3_000_000_000
# Most that an archive may unpack to: ten times what the set needs.
MAX_UNPACKED_BYTES = 10 * NEEDED_BYTES
_FAULTS_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
_HOST = ("api.kaggle.com", 443)
_BY_HAND = f"Or download the zip at {PAGE} and give it with --source FILE.zip."
_AGAIN = "Run the same command again to resume"
_TOKEN = (
    "Make a token at https://www.kaggle.com/settings and set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and "
    "KAGGLE_KEY, or put kaggle.json into the folder .kaggle of your home."
)
# Names of exceptions, so that kagglehub and requests need not be imported for them.
_NO_CREDENTIALS = {"UnauthenticatedError", "CredentialError"}
_NO_CONNECTION = {
    "ConnectionError", "Timeout", "ConnectTimeout", "ReadTimeout", "gaierror", "ChunkedEncodingError",
}  # fmt: skip


@dataclass(frozen=True)
class FetchConfig(Config):
    """Where the images come from.

    ``source`` is a local archive or folder, for machines without a connection; ``timeout_s`` is how long
    Kaggle may take to respond at first.
    """

    source: Path | None = None
    timeout_s: Annotated[float, above(0)] = 10.0


@dataclass(frozen=True)
class Fetched:
    """Folder of the images, and the number of images of each class."""

    path: Path
    classes: dict[str, int]

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form."""
        return {"path": str(self.path), "classes": self.classes}


def fetch_dataset(dest: str | Path, config: FetchConfig | None = None, progress: Progress = QUIET) -> Fetched:
    """Bring the data set to ``dest`` and check its counts; a whole set that is there already is kept.

    Raises:
        MissingDependencyError: kagglehub is not installed.
        InputError: no connection, no credentials, no space, a broken archive, or counts that differ; one
            line that says what to do.
    """
    config = config or FetchConfig()
    folder = Path(dest)
    if config.source is not None and config.source.is_dir():
        return _check_counts(config.source)
    if folder.is_dir() and any(child.name != WORK_FOLDER for child in folder.iterdir()):
        fetched = _check_counts(folder)
        progress.say(f"All images are in {folder} already.")
        return fetched
    work = folder / WORK_FOLDER
    try:
        work.mkdir(parents=True, exist_ok=True)
        if config.source is not None:
            found = _unpack(config.source, work / "unpacked", progress)
        else:
            _check_space(work)
            found = _download(work, config.timeout_s, progress)
        _check_counts(found)
        for child in sorted(found.iterdir()):
            child.rename(folder / child.name)
        shutil.rmtree(work)
    except OSError as error:
        raise InputError(
            f"Cannot fetch to '{folder}'",
            needs="it must be writable",
            got="the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error),
            hint="Make space or name another folder, then run the same command again.",
        ) from error
    return _check_counts(folder)


def _check_counts(folder: Path) -> Fetched:
    """Find the folder that holds ``cex`` and ``pg`` with the study's counts, wherever below it is."""
    counts = {place: _count_images(place) for place in _find_class_folders(folder)}
    for place, classes in counts.items():
        if classes == COUNTS:
            return Fetched(place, classes)
    raise InputError(
        f"The set in '{folder}' is not the study's",
        needs=" and ".join(f"{n} {name} images" for name, n in COUNTS.items()) + " are expected",
        got="; ".join(", ".join(f"{n} {name}" for name, n in own.items()) for own in counts.values())
        or "none",
        hint=f"Empty it or name another folder and fetch again; {PAGE} says whether the set has changed.",
    )


def _find_class_folders(folder: Path) -> list[Path]:
    found = []
    for root, folders, _ in os.walk(folder):
        if set(COUNTS) <= {name.lower() for name in folders}:
            found.append(Path(root))
    return sorted(found)


def _count_images(folder: Path) -> dict[str, int]:
    children = {child.name.lower(): child for child in folder.iterdir()}
    return {
        name: sum(1 for path in walk_files(children[name]) if path.suffix.lower() in SUFFIXES)
        for name in COUNTS
    }


def _check_space(work: Path) -> None:
    free = shutil.disk_usage(work).free
    if free < NEEDED_BYTES:
        raise InputError(
            f"Cannot fetch to '{work.parent}'",
            needs=f"{NEEDED_BYTES / 1e9:.0f} GB must be free",
            got=f"{free / 1e9:.1f} GB",
            hint="Make space or name a folder on another disk.",
        )


def _unpack(archive: Path, target: Path, progress: Progress) -> Path:
    """Unpack a zip into a fresh folder; members that point outside of it are kept inside by zipfile."""
    what = f"Cannot unpack '{archive}'"
    shutil.rmtree(target, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as source:
            members = source.infolist()
            n_bytes = sum(member.file_size for member in members)
            if n_bytes > MAX_UNPACKED_BYTES:
                raise zipfile.BadZipFile(f"one that would unpack to {n_bytes / 1e9:,.0f} GB")
            progress.start("Unpacking", len(members))
            for member in members:
                source.extract(member, target)
                progress.advance()
    except FileNotFoundError as error:
        raise InputError(what, needs="it must exist", got="no such file", hint=_BY_HAND) from error
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno in _FAULTS_OF_THE_DISK:
            raise
        raise InputError(
            what, needs="a whole zip file is needed", got=error, hint="Download it again."
        ) from error
    return target


def _download(work: Path, timeout_s: float, progress: Progress) -> Path:
    """Download by kagglehub into a cache inside ``work``: its cache resumes, its output_dir does not."""
    kagglehub = _import_kagglehub()
    _check_connection(timeout_s)
    progress.say(f"Downloading {HANDLE} from Kaggle; a stopped download resumes at the next call.")
    try:
        with _kagglehub_in(work):
            return Path(kagglehub.dataset_download(HANDLE))
    except Exception as error:
        raise _explain(error) from error


def _import_kagglehub() -> Any:
    try:
        with redirect_stdout(None):
            import kagglehub
    except ImportError as error:
        raise MissingDependencyError(
            "Cannot fetch",
            needs="the package kagglehub is needed",
            got="none",
            hint=f"Install it: pip install 'georgia[fetch]'. {_BY_HAND}",
        ) from error
    return kagglehub


def _check_connection(timeout_s: float) -> None:
    """Fail within seconds where a firewall swallows packets: kagglehub would wait for minutes."""
    if urllib.request.getproxies() or os.environ.get("KAGGLE_API_ENDPOINT"):
        return
    try:
        socket.create_connection(_HOST, timeout=timeout_s).close()
    except OSError as error:
        raise _offline(str(error)) from error


def _offline(reason: str) -> InputError:
    return InputError(
        "Cannot fetch", needs=f"a connection to {_HOST[0]} is needed", got=reason, hint=_BY_HAND
    )


@contextmanager
def _kagglehub_in(work: Path) -> Iterator[None]:
    """Give kagglehub our folder as its cache, and keep its lines off stdout, while it works."""
    logger = logging.getLogger("kagglehub")
    level, before = logger.level, os.environ.get("KAGGLEHUB_CACHE")
    logger.setLevel(logging.ERROR)
    os.environ["KAGGLEHUB_CACHE"] = str(work / "kagglehub")
    try:
        yield
    finally:
        logger.setLevel(level)
        if before is None:
            del os.environ["KAGGLEHUB_CACHE"]
        else:
            os.environ["KAGGLEHUB_CACHE"] = before


def _explain(error: Exception) -> InputError:
    """Return one line for whatever kagglehub, requests or the system raised."""
    names = {cls.__name__ for cls in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None) or 0
    first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    needs, got, hint = "kagglehub must bring the set", first, _BY_HAND
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        needs, got, hint = "space on the disk is needed", "a full disk", "Make space."
    elif status in (401, 403) or names & _NO_CREDENTIALS or "credentials" in first.lower():
        needs, got, hint = "Kaggle wants to know who you are", str(status or first), f"{_TOKEN} {_BY_HAND}"
    elif status == 404:
        needs, got = f"Kaggle must hold {HANDLE}", "404, not found"
    elif status == 429 or status >= 500:
        needs, got, hint = "Kaggle must respond", f"status {status}", f"Try again later. {_BY_HAND}"
    elif names & _NO_CONNECTION:
        return _offline(f"{first}. {_AGAIN}")
    elif names & {"DataCorruptionError", "BadZipFile", "error"}:
        needs, hint = "a whole archive is needed", f"{_AGAIN}. {_BY_HAND}"
    return InputError("Cannot fetch", needs=needs, got=got, hint=hint)

"""Fetching: whole or not at all, counted, and one line for whatever goes wrong."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
import types
import zipfile
from pathlib import Path

import pytest

from georgia import fetch
from georgia.errors import InputError, MissingDependencyError
from georgia.fetch import PAGE, FetchConfig, Fetched, fetch_dataset

SMALL = {"cex": 5, "pg": 4}


@pytest.fixture(autouse=True)
def small_set(monkeypatch):
    """Expect nine images, and a connection that is not tried."""
    monkeypatch.setattr(fetch, "COUNTS", SMALL)
    monkeypatch.setattr(fetch, "_check_connection", lambda timeout_s: None)
    monkeypatch.setattr(fetch, "NEEDED_BYTES", 0)


def make_set(folder: Path, counts: dict[str, int] | None = None) -> Path:
    for name, n in (counts or SMALL).items():
        place = folder / "cropped" / "cropped" / name
        place.mkdir(parents=True)
        for index in range(n):
            (place / f"{name.upper()} ({index + 1}).png").write_bytes(b"x")
    return folder


def make_zip(file: Path, counts: dict[str, int] | None = None) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, n in (counts or SMALL).items():
            for index in range(n):
                archive.writestr(f"cropped/cropped/{name}/{name} ({index}).png", bytes(500))
    return file


def inject(monkeypatch, download) -> list[str]:
    """Put a kagglehub in place whose download is ours; return the handles asked for."""
    asked: list[str] = []

    def dataset_download(handle):
        asked.append(handle)
        cache = Path(os.environ["KAGGLEHUB_CACHE"])
        cache.mkdir(parents=True, exist_ok=True)
        return str(download(cache))

    module = types.ModuleType("kagglehub")
    module.dataset_download = dataset_download
    monkeypatch.setitem(sys.modules, "kagglehub", module)
    return asked


def test_fetch_places_whole_set(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLEHUB_CACHE", "mine")
    asked = inject(monkeypatch, lambda cache: make_set(cache / "versions" / "1"))
    result = fetch_dataset(tmp_path / "set")
    assert result == Fetched(tmp_path / "set" / "cropped" / "cropped", SMALL)
    assert asked == ["opencrystaldata/cephalexin-reactive-crystallization"]
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["cropped"]
    assert os.environ["KAGGLEHUB_CACHE"] == "mine"
    assert set(result.to_json_dict()) == {"path", "classes"}


def test_fetch_keeps_whole_set_offline(tmp_path, monkeypatch):
    make_set(tmp_path / "set")
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    assert fetch_dataset(tmp_path / "set").classes == SMALL


def test_fetch_resumes_stopped_download(tmp_path, monkeypatch):
    def stop(cache):
        (cache / "archive.split").write_bytes(b"half")
        raise KeyboardInterrupt

    inject(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt):
        fetch_dataset(tmp_path / "set")
    assert "KAGGLEHUB_CACHE" not in os.environ

    def go_on(cache):
        assert (cache / "archive.split").read_bytes() == b"half"
        return make_set(cache / "1")

    inject(monkeypatch, go_on)
    assert fetch_dataset(tmp_path / "set").classes == SMALL
    assert not (tmp_path / "set" / ".fetch").exists()


def test_fetch_rejects_other_counts(tmp_path, monkeypatch):
    inject(monkeypatch, lambda cache: make_set(cache / "1", {"cex": 5, "pg": 3}))
    with pytest.raises(InputError, match=r"5 cex images and 4 pg images are expected; got 5 cex, 3 pg\."):
        fetch_dataset(tmp_path / "set")
    assert not (tmp_path / "set" / "cropped").exists()


def test_fetch_rejects_other_content(tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(
        InputError, match=r"is not the study's: .*; got none\. Empty it or name another folder"
    ):
        fetch_dataset(tmp_path)


# --- archives brought by hand --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_source_file_needs_no_kagglehub(tmp_path, monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    source = make_zip(tmp_path / "archive.zip") if kind == "zip" else make_set(tmp_path / "mine")
    result = fetch_dataset(tmp_path / "set", FetchConfig(source=source))
    assert result.classes == SMALL
    assert result.path == (tmp_path / ("set" if kind == "zip" else "mine")) / "cropped" / "cropped"
    assert source.exists()


def test_stopped_unpacking_starts_afresh(tmp_path):
    leftover = tmp_path / "set" / ".fetch" / "unpacked" / "cropped" / "cropped" / "cex"
    leftover.mkdir(parents=True)
    (leftover / "half.png").write_bytes(b"x")
    result = fetch_dataset(tmp_path / "set", FetchConfig(source=make_zip(tmp_path / "a.zip")))
    assert result.classes == SMALL


@pytest.mark.parametrize("damage", ["text", "cut", "flip", "none"])
def test_broken_archive_is_named(tmp_path, damage):
    file = tmp_path / "a.zip"
    if damage == "text":
        file.write_text("no zip")
    elif damage != "none":
        data = bytearray(make_zip(file).read_bytes())
        if damage == "flip":
            data[60] ^= 255
        file.write_bytes(bytes(data[: len(data) // 2] if damage == "cut" else data))
    reason = "it must exist; got no such file" if damage == "none" else "a whole zip file is needed"
    with pytest.raises(InputError, match=reason):
        fetch_dataset(tmp_path / "set", FetchConfig(source=file))
    assert not (tmp_path / "set" / "cropped").exists()


def test_archive_members_stay_inside(tmp_path):
    file = make_zip(tmp_path / "a.zip")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("../../../evil.txt", "x")
    fetch_dataset(tmp_path / "deep" / "set", FetchConfig(source=file))
    assert not list(tmp_path.glob("evil.txt"))
    assert not list((tmp_path / "deep").glob("evil.txt"))


# --- what goes wrong -----------------------------------------------------------------------------


class _Response:
    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


def make_error(name: str, message: str, status: int | None = None) -> Exception:
    error = type(name, (Exception,), {})(message)
    if status:
        error.response = _Response(status)
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            make_error("KaggleApiHTTPError", "403 Client Error.\n\nYou don't", 403),
            "KAGGLE_API_TOKEN.*kaggle.json",
        ),
        (make_error("UnauthenticatedError", "User is not authenticated"), "Kaggle wants to know who you are"),
        (ValueError("Invalid Kaggle credentials file at x"), "Kaggle wants to know who you are"),
        (make_error("KaggleApiHTTPError", "404 Client Error.", 404), "got 404, not found"),
        (make_error("KaggleApiHTTPError", "503", 503), "Try again later"),
        (make_error("KaggleApiHTTPError", "429", 429), "Try again later"),
        (make_error("ConnectionError", "no route"), "a connection to api.kaggle.com is needed; got no route"),
        (make_error("ReadTimeout", "slow"), "a connection to api.kaggle.com is needed"),
        (make_error("DataCorruptionError", "md5 differs"), "a whole archive is needed; got md5 differs"),
        (zipfile.BadZipFile("Bad magic"), "a whole archive is needed"),
        (OSError(errno.ENOSPC, "No space left"), "space on the disk is needed"),
        (RuntimeError(""), "kagglehub must bring the set; got RuntimeError"),
    ],
)
def test_kagglehub_failure_is_one_line(tmp_path, monkeypatch, error, reason):
    def fail(cache):
        raise error

    inject(monkeypatch, fail)
    with pytest.raises(InputError, match=reason) as caught:
        fetch_dataset(tmp_path / "set")
    assert "\n" not in str(caught.value)


def test_missing_kagglehub_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(
        MissingDependencyError, match=r"pip install 'georgia\[fetch\]'.*kaggle\.com/datasets/.*--source"
    ):
        fetch_dataset(tmp_path / "set")


def test_small_disk_is_named(tmp_path, monkeypatch):
    inject(monkeypatch, make_set)
    monkeypatch.setattr(fetch, "NEEDED_BYTES", 10**18)
    with pytest.raises(InputError, match="GB must be free; got "):
        fetch_dataset(tmp_path / "set")


def test_unwritable_destination_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"Cannot fetch to .* it must be writable"):
        fetch_dataset(tmp_path / "file" / "set")


def test_connection_is_checked_first(monkeypatch):
    monkeypatch.undo()
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    waits = []

    def reject(address, timeout):
        waits.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", reject)
    with pytest.raises(
        InputError, match=rf"got timed out\. Or download the zip at {PAGE} and give it with --source"
    ):
        fetch._check_connection(3.0)
    assert waits == [3.0]
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    fetch._check_connection(3.0)
    assert waits == [3.0]


@pytest.mark.slow
def test_real_kagglehub_offline_is_one_line(tmp_path, monkeypatch, capfd):
    kagglehub = pytest.importorskip("kagglehub", reason="kagglehub is not installed")

    def reject(*arguments, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", reject)
    level = logging.getLogger(kagglehub.__name__).level
    with pytest.raises(
        InputError, match=r"a connection to api\.kaggle\.com is needed; got .*--source FILE\.zip"
    ) as caught:
        fetch_dataset(tmp_path / "set")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""
    assert logging.getLogger(kagglehub.__name__).level == level

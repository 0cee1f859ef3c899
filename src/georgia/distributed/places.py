"""Files on this machine or behind a URL (s3://, gs://, memory:// …)."""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from georgia.errors import InputError, MissingDependencyError
from georgia.files import write_bytes
from georgia.images.containers import is_image_name
from georgia.images.listing import is_system_name, natural_key

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")


def is_url(text: str) -> bool:
    """Tell whether a text is a URL.

    >>> is_url("s3://bucket/a.png"), is_url("C:/a.png"), is_url("a.png")
    (True, False, False)
    """
    return bool(_SCHEME.match(text))


def join_place(where: str, name: str) -> str:
    """Return a name below a folder, here or behind a URL, whose options stay at its end.

    >>> join_place("s3://bucket/a/?region=eu", "b"), join_place("a", "b")
    ('s3://bucket/a/b?region=eu', 'a/b')
    """
    path, mark, options = where.partition("?") if is_url(where) else (where, "", "")
    return f"{path.rstrip('/')}/{name}{mark}{options}"


class UrlPath(type(Path())):  # type: ignore[misc]
    """A URL where a path is expected: its text keeps both slashes, host and options; it is no local file."""

    url = ""

    def __str__(self) -> str:
        return self.url

    @classmethod
    def of(cls, url: str) -> UrlPath:
        """Return the path of a URL."""
        path = cls(url)
        path.url = url
        return path


def name_path(name: str) -> Path:
    """Return a name as a path whose text is that name.

    >>> str(name_path("s3://bucket/a.png")), str(name_path("a.png"))
    ('s3://bucket/a.png', 'a.png')
    """
    return UrlPath.of(name) if is_url(name) else Path(name)


@dataclass(frozen=True)
class Place:
    """A file or folder behind a URL: a file system of pyarrow, and the path in it."""

    url: str
    filesystem: Any
    path: str

    def url_of(self, path: str) -> str:
        """Return the URL of a path in the same file system."""
        scheme = _SCHEME.match(self.url)
        query = self.url.partition("?")[2]
        return f"{scheme[0] if scheme else ''}{path}" + (f"?{query}" if query else "")

    def walk(self) -> Iterator[str]:
        """Yield the paths of the image files at or below it, folder by folder, in natural order.

        Raises:
            InputError: there is nothing, or it cannot be listed.
        """
        from pyarrow import fs

        kind = self._ask(lambda: self.filesystem.get_file_info(self.path).type)
        if kind == fs.FileType.NotFound:
            raise InputError(f"Found no images at {self.url!r}", needs="it must exist", got="nothing")
        yield from [self.path] if kind == fs.FileType.File else self._walk(self.path)

    def _walk(self, folder: str) -> Iterator[str]:
        from pyarrow import fs

        names = {}
        for info in self._ask(lambda: self.filesystem.get_file_info(fs.FileSelector(folder))):
            is_folder = info.type == fs.FileType.Directory
            if not is_system_name(info.base_name) and (is_folder or is_image_name(info.base_name)):
                names[info.base_name + ("/" if is_folder else "")] = info.path
        for name in sorted(names, key=natural_key):
            if name.endswith("/"):
                yield from self._walk(names[name])
            else:
                yield names[name]

    def list_names(self) -> list[str]:
        """Return the names in a folder, sorted; none if it does not exist."""
        from pyarrow import fs

        selector = fs.FileSelector(self.path, allow_not_found=True)
        return sorted(info.base_name for info in self._ask(lambda: self.filesystem.get_file_info(selector)))

    def holds(self, other: Place, path: str) -> bool:
        """Tell whether walking this place yields a path of the other's file system."""
        if self.filesystem != other.filesystem:
            return False
        folder = self.path.rstrip("/") + "/"
        below = path.removeprefix(folder).split("/")
        is_below = path.startswith(folder) and is_image_name(path) and not any(map(is_system_name, below))
        return path == self.path or is_below

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except OSError as error:
            raise InputError(
                f"Cannot list {self.url!r}", needs="its store must respond", got=str(error).split("\n")[0]
            ) from error


def open_place(url: str) -> Place:
    """Open a URL with a file system of pyarrow, or with fsspec for all other schemes.

    Raises:
        MissingDependencyError: pyarrow, or the package for this scheme, is not installed.
        InputError: the URL cannot be used, or holds a key.
    """
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise InputError(
            f"Cannot open {url.partition('@')[2]!r}",
            needs="a URL without a key is needed, as it would stand in every row",
            got="one with a key",
            hint="Put it into the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        )
    try:
        import pyarrow
        from pyarrow import fs
    except ImportError as error:
        raise MissingDependencyError(
            f"Cannot open {url!r}", needs="pyarrow is needed", got=error, hint="pip install 'georgia[ray]'."
        ) from error
    try:
        filesystem, path = fs.FileSystem.from_uri(_encode(url))
        return Place(url, filesystem, path)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        if "nrecognized" not in str(error) and "not compiled" not in str(error):
            raise InputError(f"Cannot open {url!r}", needs="a URL of files is needed", got=error) from error
    except OSError as error:
        raise InputError(f"Cannot open {url!r}", needs="its store must respond", got=error) from error
    return _open_by_fsspec(url)


def _encode(url: str) -> str:
    """Return a URL percent-encoded; names of files may hold anything but ``?``.

    >>> _encode("s3://bucket/PG (1) 50%.png?region=eu")
    's3://bucket/PG%20%281%29%2050%25.png?region=eu'
    """
    scheme, _, rest = url.partition("://")
    path, mark, options = rest.partition("?")
    return f"{scheme}://{quote(path)}{mark}{options}"


def _open_by_fsspec(url: str) -> Place:
    from pyarrow import fs

    try:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise MissingDependencyError(
            f"Cannot open {url!r}",
            needs="a file system for its scheme is needed",
            got=error,
            hint="Install the fsspec package for it, or give s3://, gs:// or a path.",
        ) from error
    return Place(url, fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path)


def walk_images(url: str) -> Iterator[str]:
    """Yield the URLs of the image files at or below a URL, folder by folder, in natural order.

    Raises:
        InputError: there is nothing, or it cannot be listed.
    """
    place = open_place(url)
    # The URL of a file stays as it was written.
    yield from (url if path == place.path else place.url_of(path) for path in place.walk())


def read_bytes(url: str) -> bytes:
    """Return a file's content.

    Raises:
        OSError: it cannot be read.
    """
    place = open_place(url)
    with place.filesystem.open_input_stream(place.path) as stream:
        return bytes(stream.read())


class Folder:
    """A folder of small files that are written whole or not at all, here or behind a URL."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._place = open_place(where) if is_url(where) else None

    def list_names(self) -> list[str]:
        """Return the names of the files in it, sorted; none if it does not exist."""
        if self._place is None:
            folder = Path(self.where)
            return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        return self._place.list_names()

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            OSError: there is no such file.
        """
        if self._place is None:
            return (Path(self.where) / name).read_bytes()
        with self._place.filesystem.open_input_stream(f"{self._place.path}/{name}") as stream:
            return bytes(stream.read())

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole; one of that name is replaced."""
        if self._place is None:
            write_bytes(Path(self.where) / name, data)
            return
        path = f"{self._place.path}/{name}"
        # Object stores show a file once it is closed, and need no folders.
        self._place.filesystem.create_dir(posixpath.dirname(path), recursive=True)
        with self._place.filesystem.open_output_stream(path) as stream:
            stream.write(data)

    def remove(self) -> None:
        """Delete the folder with its content, if there is one."""
        if self._place is None:
            shutil.rmtree(self.where, ignore_errors=True)
        elif self.list_names():
            self._place.filesystem.delete_dir(self._place.path)

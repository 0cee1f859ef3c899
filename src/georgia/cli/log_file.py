"""``--log-file``: what a service prints, with times, in a file that is rolled, where there is no journal."""

from __future__ import annotations

import logging
import logging.handlers
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer

from georgia.config import Config, Rule, above, build_config
from georgia.errors import GeorgiaError, InputError, UnwritableFileError, mask_credentials
from georgia.files import check_apart, check_target, tell_reason

LogOption = Annotated[
    Path | None,
    typer.Option("--log-file", help="Also write what is printed here; rolled by size: section [log]."),
]
_LOGGER = "georgia.printed"
_TOKEN = re.compile(r"(#token=|Bearer )[^\s\"']+")
# Escape sequences of a terminal: bars and colours.
_TERMINAL = re.compile(r"\x1b|\r(?!\n)")
# How each line of a log begins, and so each of its files, and its length in bytes.
_TIME, _N_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "), 25


@dataclass(frozen=True)
class LogConfig(Config):
    """The section ``[log]``: the ``file``, "" for none, which is rolled at ``max_mb``; ``files`` are kept.

    Source of the defaults: those of the wrapper on Windows and of ``examples/service/logrotate``.
    """

    file: str = ""
    max_mb: Annotated[float, above(0)] = 10.0
    files: Annotated[int, Rule("from 2 to 1000", lambda n: 2 <= n <= 1000)] = 8


def make_log_config(document: Mapping[str, Any], typed: Path | None) -> LogConfig:
    """Return the settings of the log, by a whole settings file and the option.

    Raises:
        InputError: they cannot be used.
    """
    given, section = {"file": str(typed)} if typed is not None else {}, document.get("log", {})
    if not isinstance(section, Mapping):
        raise InputError(
            "Cannot use the settings of 'log'",
            needs="a table is needed",
            got=repr(section),
            hint='Write it as [log], with file = "NAME.log" below.',
        )
    return build_config(LogConfig, section, given, where="the settings of 'log'")


def check_log_apart(config: LogConfig, document: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    """Reject a log that is a store or an anchor too, before it is opened; it would be written into that.

    ``document`` is a whole settings file, and ``typed`` what was given besides.

    Raises:
        InputError: they are one file.
    """
    from georgia.monitor.connect import find_file
    from georgia.monitor.settings import MonitorConfig

    probes = document.get("probes", {})
    sections = [document.get(name, {}) for name in ("monitor", "serve")]
    sections += [typed, *(probes.values() if isinstance(probes, Mapping) else [])]
    if not any(isinstance(section, Mapping) and section.get("db") for section in sections):
        sections.append({"db": MonitorConfig().db})
    for section in sections:
        for name in ("db", "anchor"):
            value = section.get(name) if isinstance(section, Mapping) else None
            if not isinstance(value, str | Path) or not str(value):
                continue
            file = Path(value) if name == "anchor" else find_file(str(value))
            if file is None:
                continue
            # Several probes without stores of their own have plant-NAME.db.
            own = [file.with_name(f"{file.stem}-{probe}{file.suffix}") for probe in probes]
            beside = [Path(f"{file}{end}") for end in ("-wal", "-shm", ".head")] if name == "db" else []
            for each in (file, *beside, *own):
                check_apart({"--log-file": config.file, name: each})


@contextmanager
def logging_to(config: LogConfig, has_stdout: bool = True) -> Iterator[None]:
    """Write what is printed and logged meanwhile into the file as well, and what ends it badly.

    ``has_stdout``: False where stdout holds JSON for a program. A log that cannot be written later on is no
    reason to stop: that is said once on stderr. Tokens and passwords of addresses are masked.

    Raises:
        UnwritableFileError: it cannot be written.
    """
    if not config.file:
        yield
        return
    handler = _open(config)
    root, printed = logging.getLogger(), logging.getLogger(_LOGGER)
    kept = sys.stdout, sys.stderr
    # Python itself prints warnings only as long as nobody else takes them.
    to_stderr = logging.StreamHandler(kept[1])
    to_stderr.setFormatter(logging.Formatter("%(message)s"))
    printed.propagate = False
    printed.setLevel(logging.INFO)
    printed.addHandler(handler)
    for each in (handler, to_stderr):
        root.addHandler(each)
    sys.stderr = cast("TextIO", _Copied(kept[1], printed))
    if has_stdout:
        sys.stdout = cast("TextIO", _Copied(kept[0], printed))
    try:
        yield
    except Exception as error:
        printed.error(str(error) if isinstance(error, GeorgiaError) else traceback.format_exc().rstrip())
        raise
    finally:
        sys.stdout, sys.stderr = kept
        for each in (handler, to_stderr):
            root.removeHandler(each)
        printed.removeHandler(handler)
        with suppress(OSError):  # a full disk, when the last line is flushed
            handler.close()


def _open(config: LogConfig) -> logging.Handler:
    path = Path(config.file).expanduser().absolute()
    check_target(path)
    # RotatingFileHandler takes 0 bytes for a file that is never rolled.
    n_bytes, n_older = max(1, int(config.max_mb * 1e6)), config.files - 1
    try:
        _check_is_log(path)
        handler = _Handler(path, "a", n_bytes, n_older, "utf-8", errors="backslashreplace")
    except OSError as error:
        raise UnwritableFileError(
            f"Cannot write the log {str(path)!r}",
            needs="its folder must take files",
            got=tell_reason(error, path),
            hint="Name another with --log-file.",
        ) from error
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler


def _check_is_log(path: Path) -> None:
    """Reject a file that holds something else, such as a store or an image: lines would damage it."""
    if not path.is_file():  # /dev/full is none, and takes lines
        return
    with path.open("rb") as file:
        begin = file.read(_N_TIME)
    if begin and not _TIME.fullmatch(begin):
        raise InputError(
            f"Cannot write the log {str(path)!r}",
            needs="a new file, or an earlier log of --log-file, is needed",
            got="a file that holds something else",
            hint="Name another with --log-file.",
        )


class _Handler(logging.handlers.RotatingFileHandler):
    """A log that a full disk or another program's hold on it makes poorer and never ends."""

    _is_told = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self._is_told and sys.__stderr__ is not None:
            self._is_told = True
            reason = sys.exc_info()[1]
            text = f"georgia: the log {self.baseFilename!r} cannot be written: {reason}. Nothing else stops."
            print(text, file=sys.__stderr__)


class _Formatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        at = time.gmtime(record.created)
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', at)}.{int(record.msecs):03d}Z"

    def format(self, record: logging.LogRecord) -> str:
        return _TOKEN.sub(r"\1…", mask_credentials(super().format(record)))


class _Copied:
    """A stream whose whole lines are logged as well."""

    def __init__(self, stream: TextIO, logger: logging.Logger) -> None:
        self._stream, self._logger = stream, logger
        self._rest, self._lock = "", threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip() and not _TERMINAL.search(line):
                self._logger.info("%s", line.rstrip("\r"))
        return self._stream.write(text)

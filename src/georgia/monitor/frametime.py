"""When a frame was taken: from its name, from Exif, or from the file's time of change."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from georgia.errors import InputError


class TimeFrom(StrEnum):
    """Where a frame's time comes from."""

    FILE = "file"
    NAME = "name"
    EXIF = "exif"


# What each directive of a pattern matches; the names are those of strptime.
_DIRECTIVES = {
    "Y": r"(?P<Y>\d{4})",
    "y": r"(?P<y>\d{2})",
    "m": r"(?P<m>\d{1,2})",
    "d": r"(?P<d>\d{1,2})",
    "j": r"(?P<j>\d{1,3})",
    "b": r"(?P<b>[A-Za-z]{3})",
    "H": r"(?P<H>\d{1,2})",
    "I": r"(?P<I>\d{1,2})",
    "p": r"(?P<p>[AaPp][Mm])",
    "M": r"(?P<M>\d{1,2})",
    "S": r"(?P<S>\d{1,2})",
    "f": r"(?P<f>\d{1,6})",
    "s": r"(?P<s>\d{9,11}(?:\.\d+)?)",
    "z": r"(?P<z>Z|[+-]\d{2}:?\d{2})",
    "%": "%",
}
# Directives that need two digits where the next one follows at once, as in %Y%m%d.
_TIGHT = {"m", "d", "H", "I", "M", "S"}
# Half of the hour that clocks show twice.
_NEAR_S = 1800.0
# Source: Exif 2.32: DateTimeOriginal, its fraction of a second, its offset; DateTime of TIFF.
_EXIF_IFD, _ORIGINAL, _SUBSECOND, _OFFSET, _DATETIME = 0x8769, 36867, 37521, 36881, 306


@dataclass(frozen=True)
class FrameClock:
    """Where frame times come from.

    ``pattern`` is strptime's (``%Y%m%d_%H%M%S``; ``%f`` fractions of a second, ``%s`` seconds since 1970), or
    a regular expression whose groups have the directives' letters as names: ``(?P<Y>20..)…``. It may match
    anywhere in the file's name with its folders. ``zone`` is "local", "UTC" or one such as
    Europe/Berlin.
    """

    time_from: TimeFrom = TimeFrom.FILE
    pattern: str = ""
    zone: str = "local"

    def read(
        self, file: str, mtime_ns: int, data: bytes = b"", before_s: float | None = None
    ) -> tuple[float, TimeFrom]:
        """Return seconds since 1970 (UTC), and where they come from.

        A frame without a time in its name or Exif has that of its file. In the hour that a zone's clocks show
        twice, when summer ends, the file's time tells which of the two it is, if it lies near to one of them;
        or else the time of the frame before, ``before_s``.
        """
        moment, file_s = self._find(file, data), mtime_ns / 1e9
        if moment is None:
            return file_s, TimeFrom.FILE
        again = moment if self.zone == "UTC" else self._find(file, data, fold=1)
        if again is not None and again > moment and _is_second(moment, again, file_s, before_s):
            moment = again
        return moment, self.time_from

    def _find(self, file: str, data: bytes, fold: int = 0) -> float | None:
        if self.time_from == TimeFrom.NAME:
            return time_in_name(file, self.pattern, self.zone, fold)
        return time_in_exif(data, self.zone, fold) if self.time_from == TimeFrom.EXIF else None


def _is_second(first: float, second: float, file_s: float, before_s: float | None) -> bool:
    is_near = [abs(file_s - at) < _NEAR_S for at in (first, second)]
    if is_near[0] != is_near[1] or before_s is None:
        return is_near[1] and not is_near[0]
    return before_s - first > _NEAR_S >= before_s - second


def time_in_name(file: str, pattern: str, zone: str = "UTC", fold: int = 0) -> float | None:
    """Return the time in a file's name, seconds since 1970; None where there is none.

    ``fold`` 1 takes the second of the two hours that clocks show alike when summer ends.

    >>> time_in_name("run3/probe_20260131_120000_250.png", "%Y%m%d_%H%M%S_%f")
    1769860800.25
    """
    for match in reversed(list(compile_pattern(pattern).finditer(file))):
        try:
            return _to_seconds({key: value for key, value in match.groupdict().items() if value}, zone, fold)
        except ValueError:
            continue
    return None


@lru_cache(maxsize=8)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return a pattern of names as a regular expression.

    Raises:
        InputError: a directive is unknown or occurs twice, or the expression is invalid.
    """
    text = pattern if "(?P<" in pattern else _translate(pattern)
    try:
        expression = re.compile(text)
    except re.error as error:
        raise InputError(
            f"Cannot use time_pattern {pattern!r}",
            needs="strptime's directives or a regular expression is needed, each part of the time once",
            got=error,
        ) from error
    groups = set(expression.groupindex)
    if "s" not in groups and not (groups & {"Y", "y"} and groups & {"m", "b", "j"}):
        raise InputError(
            f"Cannot use time_pattern {pattern!r}",
            needs="it must give year, month and day, or seconds since 1970 (%s)",
            got=", ".join(sorted(groups)) or "no part of a time",
        )
    return expression


def _translate(pattern: str) -> str:
    parts = re.findall(r"%.|[^%]+", pattern)
    text = ""
    for position, part in enumerate(parts):
        if not part.startswith("%"):
            text += re.escape(part)
            continue
        letter = part[1:]
        if letter not in _DIRECTIVES:
            known = " ".join(f"%{name}" for name in _DIRECTIVES)
            raise InputError(
                f"Cannot use time_pattern {pattern!r}", needs=f"its directives are {known}", got=part
            )
        beside = [*parts[max(0, position - 1) : position], *parts[position + 1 : position + 2]]
        is_tight = letter in _TIGHT and any(other.startswith("%") for other in beside)
        text += _DIRECTIVES[letter].replace(r"\d{1,2}", r"\d{2}") if is_tight else _DIRECTIVES[letter]
    return text


def _to_seconds(parts: dict[str, str], zone: str, fold: int) -> float:
    if "s" in parts:
        return float(parts["s"])
    parts = {key: value.ljust(6, "0") if key == "f" else value for key, value in parts.items()}
    offset = parts.pop("z", "")
    keys = sorted(parts)
    moment = datetime.strptime(" ".join(parts[key] for key in keys), " ".join(f"%{key}" for key in keys))
    moment = moment.replace(fold=fold)
    return attach_zone(moment, _read_offset(offset) if offset else find_zone(zone)).timestamp()


def _read_offset(text: str) -> tzinfo:
    if text == "Z":
        return UTC
    sign = -1 if text[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[-2:])))


def attach_zone(moment: datetime, zone: tzinfo | None) -> datetime:
    """Return a moment that knows its zone; None is this computer's own."""
    return moment.astimezone() if zone is None else moment.replace(tzinfo=zone)


@lru_cache(maxsize=8)
def find_zone(name: str) -> tzinfo | None:
    """Return a zone by its name; None for "local".

    Raises:
        InputError: there is no such zone.
    """
    if name in ("local", "UTC"):
        return UTC if name == "UTC" else None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            "Cannot use time_zone",
            needs="local, UTC or a name such as Europe/Berlin is needed",
            got=repr(name),
        ) from error


def time_in_exif(data: bytes, zone: str = "UTC", fold: int = 0) -> float | None:
    """Return when an image was taken by its Exif or TIFF tags, seconds since 1970, or None."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                tags = image.getexif()
                inner = tags.get_ifd(_EXIF_IFD)
        text = str(inner.get(_ORIGINAL) or tags.get(_DATETIME) or "").strip("\0 ")
        moment = datetime.strptime(text, "%Y:%m:%d %H:%M:%S")
        part = re.sub(r"\D", "", str(inner.get(_SUBSECOND) or ""))[:6].ljust(6, "0")
        offset = str(inner.get(_OFFSET) or "").strip("\0 ")
        has_offset = re.fullmatch(r"[+-]\d{2}:\d{2}", offset)
        moment = moment.replace(microsecond=int(part), fold=fold)
        return attach_zone(moment, _read_offset(offset) if has_offset else find_zone(zone)).timestamp()
    except Exception:  # a damaged tag must not cost the frame: its file has a time too
        return None

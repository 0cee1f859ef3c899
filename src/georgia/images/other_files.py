"""Files beside images that are read as none: what is said of them, so that few images do not pass for all.

Sidecars, which hold no image (tables, texts, annotations, checksums), are passed over without a word. Of
others, such as films, archives and documents, one line says how many there are of which suffix.
"""

from __future__ import annotations

import os
import re
from collections import Counter

from georgia.images.containers import SUFFIXES, is_image_name
from georgia.text import count_noun

_SIDECAR_NAMES = (
    "txt text md rst log csv tsv json jsonl ndjson geojson xml yaml yml toml ini cfg conf names data"
    " xls xlsx ods doc docx odt rtf xmp pp3 aux wld tfw pgw jgw md5 sha1 sha256 sfv lock part cache journal"
    " db sqlite py ipynb m r sh bat url lnk html htm css js"
)
_SIDECARS = frozenset(f".{name}" for name in _SIDECAR_NAMES.split())
_TEXTS = frozenset(("readme", "license", "licence", "copying", "authors", "changelog", "notice", "makefile"))
# Others are dates and remarks behind a full stop.
_SUFFIX = re.compile(r"\.[0-9A-Za-z_+-]{1,8}")
_N_SUFFIXES_SHOWN = 6
_WITHOUT, _ODD = "without suffix", "of other names"


def is_sidecar_name(name: str) -> bool:
    """Tell whether a file stands beside images and is none by its name: a table, a text, annotations.

    >>> is_sidecar_name("a.JSON"), is_sidecar_name("README"), is_sidecar_name("IM0001")
    (True, True, False)
    """
    stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122 - no object a file
    return suffix in _SIDECARS or (not suffix and stem in _TEXTS)


class OtherFiles:
    """Counts files that are neither images by their names nor sidecars, by suffix.

    >>> others = OtherFiles()
    >>> [others.is_image(name) for name in ("a.png", "a.json", "a.mp4", "b.mp4", "c.zip")]
    [True, False, False, False, False]
    >>> others.describe()
    '3 files of other kinds (.mp4 2, .zip 1)'
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many there are."""
        return self._counts.total()

    def is_image(self, name: str) -> bool:
        """Tell whether a file is an image by its name, of a format that is read or not; count it if not."""
        if is_image_name(name):
            return True
        self.add(name)
        return False

    def is_read(self, name: str) -> bool:
        """Tell whether a file is an image of a format that is read, by its suffix; count it if not."""
        if os.path.splitext(name)[1].lower() in SUFFIXES:  # noqa: PTH122
            return True
        self.add(name)
        return False

    def add(self, name: str) -> None:
        """Count a file that is not read, unless it is a sidecar."""
        if is_sidecar_name(name):
            return
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
        known = suffix if _SUFFIX.fullmatch(suffix) else _ODD
        self._counts[known if suffix else _WITHOUT] += 1

    def join(self, other: OtherFiles) -> None:
        """Take the counts of another in."""
        self._counts.update(other._counts)

    def describe(self) -> str:
        """Return their number, and that of each suffix, most first."""
        ranked = sorted(self._counts.items(), key=lambda entry: (-entry[1], entry[0]))
        shown = [f"{suffix} {count:,}" for suffix, count in ranked[:_N_SUFFIXES_SHOWN]]
        n_more = sum(count for _, count in ranked[_N_SUFFIXES_SHOWN:])
        more = [f"{n_more:,} more"] if n_more else []
        return f"{count_noun(len(self), 'file')} of other kinds ({', '.join([*shown, *more])})"

    def tell(self) -> str:
        """Return what to say of them in one line; empty where there are none."""
        if not self._counts:
            return ""
        return (
            f"not read: {self.describe()}; images are PNG, JPEG, TIFF, BMP and WebP. "
            "Convert or unpack those that hold images."
        )

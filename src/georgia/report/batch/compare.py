"""Does a page that was filed say what its store holds? The page is made anew as of then, and compared."""

from __future__ import annotations

import difflib
import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import georgia
from georgia.config import flatten_config
from georgia.errors import InputError
from georgia.files import DAMAGE, check_fields
from georgia.monitor.verify import Fault, Verification, verify_store
from georgia.process.moments.settings import MomentsConfig, make_moments_settings
from georgia.report.batch.facts import BatchFacts

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader

# The form of what a page holds of itself.
_FORM = 1
_META = re.compile(r'<meta name="georgia-report" content="([^"]*)">')
_IMAGE = re.compile(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+")
_TAG = re.compile(r"<[^>]*>")
# Lines that differ and are named one by one; more are counted.
MOST_DIFFERENCES = 50
_LONGEST_PAGE_BYTES = 50 * 2**20


@dataclass(frozen=True)
class PageOrigin:
    """What a page says of its making: batch, time, zone, paper, where the record ended then.

    ``moments`` is how its moments were found; a page of an earlier version says nothing of it.
    """

    georgia: str
    store: str
    batch_id: int
    frame_id: int
    seq: int
    read_at_s: float
    zone: str
    paper: str
    verification: Verification
    moments: MomentsConfig = field(default_factory=MomentsConfig)


@dataclass(frozen=True)
class Difference:
    """A line that the page has and the store does not give, or the other way round; "" is no line."""

    page: str
    store: str


@dataclass(frozen=True)
class Comparison:
    """What comparing a page with its store found.

    ``holds_head``: the record still holds the head that the page names. ``differences`` are at most fifty of
    ``n_differences``.
    """

    origin: PageOrigin
    holds_head: bool
    verification: Verification
    n_differences: int
    differences: tuple[Difference, ...]

    @property
    def is_same(self) -> bool:
        """Tell whether the record is whole, holds the head, and gives the same page."""
        return self.verification.is_whole and self.holds_head and not self.n_differences


def describe_origin(facts: BatchFacts, paper: str) -> str:
    """Return what a page holds of its making, as one line of JSON."""
    found = facts.verification
    body = {
        "form": _FORM,
        "georgia": georgia.__version__,
        "store": facts.store,
        "batch_id": facts.batch.id,
        "frame_id": int(facts.frames.ids[-1]) if len(facts.frames) else 0,
        "seq": facts.events[-1].seq if facts.events else 0,
        "read_at_s": facts.read_at_s,
        "zone": facts.times.setting,
        "paper": paper,
        "moments": flatten_config(facts.moments_config),
        "verification": {**asdict(found), "faults": [asdict(fault) for fault in found.faults[:50]]},
    }
    return json.dumps(body, sort_keys=True)


def read_page(path: Path) -> tuple[str, PageOrigin]:
    """Return a page's text, and what it says of its making.

    Raises:
        InputError: it cannot be read, or it is no report of a batch.
    """
    try:
        if path.stat().st_size > _LONGEST_PAGE_BYTES:
            raise ValueError("a file that is too large")
        text = path.read_text(encoding="utf-8")
        found = _META.search(text)
        if found is None:
            raise ValueError("another file")
        values: Mapping[str, Any] = json.loads(html.unescape(found[1]))
        if values["form"] != _FORM:
            raise ValueError(f"one of form {values['form']!r}")
        return text, _read_origin(values)
    except DAMAGE as error:
        raise InputError(
            f"Cannot check {str(path)!r}",
            needs="a page that 'georgia report' wrote is needed",
            got=getattr(error, "strerror", None) or " ".join(str(error).split())[:200],
        ) from error


def _read_origin(values: Mapping[str, Any]) -> PageOrigin:
    said = dict(values["verification"])
    faults = tuple(check_fields(Fault(**fault)) for fault in said.pop("faults"))
    not_covered = tuple(map(str, said.pop("not_covered")))
    verification = check_fields(Verification(**said, faults=faults, not_covered=not_covered))
    made = ("verification", "moments")
    own = {name: values[name] for name in PageOrigin.__dataclass_fields__ if name not in made}
    moments = make_moments_settings(values.get("moments", {}))
    return check_fields(PageOrigin(**own, verification=verification, moments=moments))


def compare_page(
    text: str, origin: PageOrigin, facts: BatchFacts, reader: StoreReader, made_anew: str
) -> Comparison:
    """Return in which lines a page differs from the one that the store gives now.

    ``made_anew`` is rendered from ``as_of(facts, origin)``.

    Raises:
        InputError: the head that the page names is no head.
        StoreAwayError: the store cannot be reached.
    """
    verification = facts.verification
    holds_head = True
    if origin.verification.head.strip(":0"):
        expected = verify_store(reader, origin.verification.head)
        holds_head = expected.n_faults <= verification.n_faults
    found = list(_find_differences(text, made_anew))
    return Comparison(origin, holds_head, verification, len(found), tuple(found[:MOST_DIFFERENCES]))


def as_of(facts: BatchFacts, origin: PageOrigin) -> BatchFacts:
    """Return facts with what a page says of the moment of its making, so that only their content differs.

    Entries of the audit log that came later are left out; ``facts`` are read up to the page's last frame.
    """
    events = tuple(event for event in facts.events if event.seq <= origin.seq)
    return replace(
        facts,
        store=origin.store,
        read_at_s=origin.read_at_s,
        events=events,
        verification=origin.verification,
    )


def _find_differences(page: str, anew: str) -> Iterator[Difference]:
    ours, theirs = (list(map(_normalise, text.splitlines())) for text in (page, anew))
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    for tag, from_, to, start, end in matcher.get_opcodes():
        if tag == "equal":
            continue
        for at in range(max(to - from_, end - start)):
            one = ours[from_ + at] if from_ + at < to else ""
            other = theirs[start + at] if start + at < end else ""
            shown = Difference(_show(one), _show(other))
            if shown.page or shown.store:
                yield shown


def _normalise(line: str) -> str:
    """Return a line whose images are replaced by their sha256."""
    return _IMAGE.sub(lambda found: f"image {hashlib.sha256(found[0].encode()).hexdigest()[:12]}", line)


def _show(line: str) -> str:
    """Return the text of a line of HTML; the line itself where it has none."""
    if line.startswith('<meta name="georgia-report"'):
        return html.unescape(line)[:400]
    text = " ".join(html.unescape(_TAG.sub(" ", line)).split())
    return (text or line.strip())[:400]

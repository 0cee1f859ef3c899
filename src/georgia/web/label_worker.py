"""A process of its own that trains, and tests a model for promotion, while the page goes on labelling.

Its last event (see ``georgia.label.job_process``) is ``done`` or ``failed``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.config import build_config
from georgia.errors import GateError, GeorgiaError
from georgia.label.job_process import Events, open_job
from georgia.label.records import ChoiceReason, Item, Label, Pool, PoolKind
from georgia.text import count_noun

if TYPE_CHECKING:
    from georgia.label.session import LabelSession
    from georgia.records import Record


def describe_labels(session: LabelSession) -> dict[str, Any]:
    """Return what a job says of a session: labels, their items, and the even sample among them."""
    items = [item for item, _ in session.list_named()]
    known = {item.path for item in items}
    return {
        "root": str(session.pool.root),
        "kind": str(session.pool.kind),
        "classes": list(session.classes),
        "items": [
            [item.path, str(item.file), item.box and list(item.box), item.group, item.time_s]
            for item in items
        ],
        "labels": [asdict(label) for label in session.list_labels() if label.path in known],
        "even": session.list_even(),
        "n_even_missing": session.count_even_missing(),
    }


def read_items(job: Mapping[str, Any]) -> tuple[Pool, list[Label]]:
    """Return pool and labels of a job."""
    items = tuple(
        Item(path, Path(file), None if box is None else tuple(box), group, time_s=time_s)
        for path, file, box, group, time_s in job["items"]
    )
    labels = [
        Label(
            **{
                **row,
                "reason": ChoiceReason(row["reason"]),
                "duplicates": tuple(row["duplicates"]),
            }
        )
        for row in job["labels"]
    ]
    return Pool(Path(job["root"]), items, PoolKind(job["kind"])), labels


def train(job: Mapping[str, Any], events: Events, stop: threading.Event) -> dict[str, Any]:
    """Learn a model from the labels; return its figures and what it says of every item of the pool.

    Raises:
        GeorgiaError: see ``georgia.label.learn.learn``.
    """
    from georgia.label.learn import learn
    from georgia.label.settings import LearnConfig

    pool, labels = read_items(job)
    config = build_config(LearnConfig, job["settings"])
    out, even, n_missing = Path(job["out"]), job["even"], job.get("n_even_missing", 0)
    result = learn(pool, labels, job["classes"], out, config, even, events, stop.is_set, n_missing)
    return result.to_json_dict()


def promote_model(job: Mapping[str, Any], events: Events, _: threading.Event) -> dict[str, Any]:
    """Test a model against the one in use, and put it there where the gate is open or a person overrides it.

    Raises:
        GeorgiaError: a model cannot be used, or the folder cannot be written to.
    """
    from georgia.evaluate.promote import assess_promotion, open_both, promote

    new, current = Path(job["new"]), Path(job["current"])
    after, before = open_both(new, current)
    records, doubted = _make_records(job)
    test = assess_promotion(after, before, records, None, events, job["out"], doubted)
    is_overridden = bool(job["override"]) and not test.is_open
    found = {"test": test.to_json_dict(), "summary": test.summary(), "is_promoted": False}
    if not test.is_open and not is_overridden:
        return found
    promote(new, current, test, job["who"], job["reason"], is_overridden)
    return {**found, "is_promoted": True, "is_overridden": is_overridden}


def _make_records(job: Mapping[str, Any]) -> tuple[list[Record], set[Path]]:
    """Return the labelled images of a job, and those of them that were chosen by a model's doubt."""
    from georgia.evaluate.out_of_fold import CHOSEN_BLINDLY
    from georgia.label.cross_validation import find_reasons
    from georgia.records import Record

    pool, labels = read_items(job)
    items = {item.path: item for item in pool.items}
    own = [label for label in labels if label.name in job["classes"]]
    names = {items[label.path].image_path: label.path for label in own}
    reasons = find_reasons(names, labels, job["even"])
    records = [
        Record(items[label.path].image_path, label.name, items[label.path].group or label.path)
        for label in own
    ]
    return records, {path for path, reason in reasons.items() if reason not in CHOSEN_BLINDLY}


TASKS = {"train": train, "promote": promote_model}


def main() -> int:
    """Do the job of this process; return an exit code."""
    stop = threading.Event()
    job, events = open_job(stop.set)
    try:
        events.send("done", result=TASKS[job["task"]](job, events, stop))
    except GateError as error:
        events.send("done", result={**_show_gate(error), "gate": str(error)})
    except ModuleNotFoundError as error:
        message = f"Cannot train: the extra 'train' is needed; got {error}. pip install 'georgia[train]'."
        events.send("failed", is_stopped=False, message=message)
        return 2
    except GeorgiaError as error:
        events.send("failed", is_stopped=stop.is_set(), message=str(error))
        return error.exit_code
    return 0


def _show_gate(error: GateError) -> dict[str, Any]:
    result = error.result
    show = getattr(result, "to_json_dict", None)
    return dict(show()) if show is not None else {"summary": count_noun(0, "model")}


if __name__ == "__main__":
    sys.exit(main())

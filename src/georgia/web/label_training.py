"""Training from the labelling page: one process at a time, its models, and the one in use."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.errors import InputError
from georgia.files import read_json, write_json
from georgia.label.job_process import JobProcess
from georgia.label.journal import tell_time
from georgia.label.session import LabelSession
from georgia.model.bundle import BUNDLE_FILE, PROMOTION
from georgia.web.label_paths import clean
from georgia.web.label_worker import describe_labels

if TYPE_CHECKING:
    from georgia.label.settings import LearnConfig

_MODEL = re.compile(r"model-(\d{3,})")
IN_USE = "in-use"
LEARNED_FILE, REPORT_FILE = "learned.json", "report.html"
# A process that was asked to stop and has not ended by then is killed.
PATIENCE_S = 20.0


def has_report(folder: Path) -> bool:
    """Tell whether the folder of a model holds its report page."""
    return (folder / REPORT_FILE).is_file()


class JobState(StrEnum):
    """What the process does, or how the last one ended."""

    IDLE = "idle"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class Trainer:
    """Trains models from the labels of a session, each in a folder of its own; safe for many threads.

    ``current`` is the folder of the model in use: the one that the labelling began with, or ``in-use``
    beside the trained ones, which lie in ``<labels>-models``. ``on_trained`` is called with the folder of
    each new model, in a thread of its own; ``learn`` says how models are learned. ``on_promoted`` is called
    with the folder of each model that took another one's place.
    """

    def __init__(
        self,
        session: LabelSession,
        current: Path | None = None,
        on_trained: Callable[[Path], None] = lambda _: None,
        learn: LearnConfig | None = None,
        on_promoted: Callable[[Path], None] = lambda _: None,
    ) -> None:
        self._session, self._on_trained, self._on_promoted = session, on_trained, on_promoted
        self._settings = asdict(learn) if learn is not None else {}
        self.folder = session.out.with_name(f"{session.out.stem}-models")
        self.current = current if current is not None and current.is_dir() else self.folder / IN_USE
        self._lock = threading.Lock()
        self._process: JobProcess | None = None
        self._state, self._task, self._version = JobState.IDLE, "", 0
        self._stage, self._count, self._total = "", 0, 0
        self._message = ""
        self._result: dict[str, Any] = {}
        self._started_s = self._ended_s = 0.0

    def describe(self) -> dict[str, Any]:
        """Return state and progress; ``version`` changes whenever the state or a model does."""
        with self._lock:
            ended_s = time.monotonic() if self._is_busy else self._ended_s
            return {
                "state": str(self._state),
                "task": self._task,
                "version": self._version,
                "stage": self._stage,
                "n_done": self._count,
                "n_total": self._total,
                "seconds": round(max(0.0, ended_s - self._started_s), 1),
                "message": self._message,
                "result": self._result,
            }

    @property
    def _is_busy(self) -> bool:
        return self._state in (JobState.RUNNING, JobState.STOPPING)

    def list_models(self) -> list[dict[str, Any]]:
        """Return the models that were trained, newest first, with their figures."""
        in_use = self._find_in_use()
        found = []
        for folder in sorted(self.folder.glob("model-*"), reverse=True) if self.folder.is_dir() else ():
            with suppress(OSError, ValueError, InputError, KeyError):
                learned = read_json(folder / LEARNED_FILE)
                bundle = read_json(folder / BUNDLE_FILE)
                is_in_use = bundle["model_sha256"] == in_use
                told = {"name": folder.name, "is_in_use": is_in_use, "has_report": has_report(folder)}
                found.append({**clean(learned), **told})
        return found

    def find_report(self, model: str) -> Path | None:
        """Return the report page of a model that was trained here; None for none."""
        folder = self.folder / model
        return folder / REPORT_FILE if _MODEL.fullmatch(model) and has_report(folder) else None

    def describe_in_use(self) -> dict[str, Any] | None:
        """Return which model is in use, and by whose decision; None for none."""
        with suppress(OSError, ValueError, InputError, KeyError):
            bundle = read_json(self.current / BUNDLE_FILE)
            promotion = bundle.get(PROMOTION) or {}
            return {
                "folder": clean(str(self.current)),
                "decision": str(promotion.get("decision", "")),
                "who": str(promotion.get("who", "")),
                "at": str(promotion.get("at", "")),
                "reason": str(promotion.get("reason", "")),
                "can_go_back": bool(promotion.get("before")),
            }
        return None

    def _find_in_use(self) -> str:
        with suppress(OSError, ValueError, InputError, KeyError):
            return str(read_json(self.current / BUNDLE_FILE)["model_sha256"])
        return ""

    def train(self) -> None:
        """Begin to learn from the labels that there are now.

        Raises:
            InputError: a process is at work, or a class has too few labels.
        """
        wanted = {name: n for name, n in self._session.progress().n_wanted.items() if n}
        if wanted:
            raise InputError(
                "Cannot train yet",
                needs=", ".join(f"{n} more of {name}" for name, n in wanted.items()),
                got="fewer labels",
                hint="Label more.",
            )
        self._begin({"task": "train", "out": str(self._next_folder()), "settings": self._settings})

    def use(self, model: str, who: str, reason: str = "", is_overridden: bool = False) -> None:
        """Begin to put a model in use: through the promotion gate, or at once where none is in use.

        Raises:
            InputError: there is no such model, a process is at work, or an override has no reason.
        """
        new = self._find_model(model)
        if is_overridden and not reason.strip():
            raise InputError("Cannot override the gate", needs="a reason is needed", got="none")
        if not (self.current / BUNDLE_FILE).exists():
            self._use_first(new, who, reason)
            return
        job = {"new": str(new), "current": str(self.current), "override": is_overridden}
        self._begin({"task": "promote", "who": who, "reason": reason, "out": str(self._session.out), **job})

    def go_back(self, who: str, reason: str = "") -> None:
        """Put the model before the present one in use again.

        Raises:
            InputError: there is none, or a process is at work.
        """
        from georgia.model.promotion import go_back

        with self._lock:
            self._check_idle()
            go_back(self.current, who, reason)
            self._version += 1
        self._on_promoted(self.current)

    def stop(self) -> None:
        """Ask the process to stop; it is killed where it does not soon."""
        with self._lock:
            process = self._process
            if process is None or self._state is not JobState.RUNNING:
                return
            self._set(JobState.STOPPING)
        process.ask_to_stop()
        timer = threading.Timer(PATIENCE_S, process.kill)
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        """Kill the process, if one is at work; what it has written so far is no model."""
        with self._lock:
            process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def _next_folder(self) -> Path:
        numbers = [
            int(found[1]) for path in self.folder.glob("model-*") if (found := _MODEL.fullmatch(path.name))
        ]
        last = max(numbers, default=0)
        is_whole = last == 0 or (self.folder / f"model-{last:03}" / BUNDLE_FILE).exists()
        return self.folder / f"model-{last + is_whole:03}"

    def _find_model(self, model: str) -> Path:
        folder = self.folder / model
        if not _MODEL.fullmatch(model) or not (folder / BUNDLE_FILE).exists():
            known = ", ".join(row["name"] for row in self.list_models()) or "none"
            raise InputError(
                f"Cannot use model {model[:80]!r}", needs=f"one of {known} is needed", got="another"
            )
        return folder

    def _use_first(self, new: Path, who: str, reason: str) -> None:
        """Put the first model in use: nothing can be compared. Its bundle says who did it."""
        with self._lock:
            self._check_idle()
            with tempfile.TemporaryDirectory(prefix=".first-", dir=self.folder) as work:
                made = Path(work) / IN_USE
                shutil.copytree(new, made, ignore=shutil.ignore_patterns(".lock"))
                sign = {"decision": "first", "who": who, "at": tell_time(), "reason": reason}
                write_json(made / BUNDLE_FILE, {**read_json(made / BUNDLE_FILE), PROMOTION: sign})
                made.rename(self.current)
            self._version += 1

    def _check_idle(self) -> None:
        if self._is_busy:
            raise InputError(
                "Cannot begin", needs="only one at a time is possible", got=f"{self._task}: {self._state}"
            )

    def _begin(self, job: Mapping[str, Any]) -> None:
        whole = {**job, **describe_labels(self._session)}
        with self._lock:
            self._check_idle()
            self.folder.mkdir(parents=True, exist_ok=True)
            process = JobProcess("georgia.web.label_worker")
            self._process, self._task = process, job["task"]
            self._stage, self._count, self._total, self._result = "starting", 0, 0, {}
            self._started_s = time.monotonic()
            self._set(JobState.RUNNING)
        threading.Thread(target=self._follow, args=(process, whole), daemon=True).start()

    def _follow(self, process: JobProcess, job: Mapping[str, Any]) -> None:
        last: Mapping[str, Any] = {}
        for event in process.follow(job):
            with suppress(ValueError, KeyError):
                last = self._take(clean(event)) or last
        with self._lock:
            self._process, self._ended_s = None, time.monotonic()
            self._end(last, f"The process ended with {process.code}. {process.last_line}")
            trained = str(self._result.get("model", "")) if self._state is JobState.DONE else ""
            is_trained = self._task == "train" and trained and not self._result.get("gate")
        if is_trained:
            self._on_trained(Path(trained))
        if self._task == "promote" and self._result.get("is_promoted"):
            self._tell_promoted()

    def _tell_promoted(self) -> None:
        """Call ``on_promoted``; what it raises is shown, as the model is in use all the same."""
        try:
            self._on_promoted(self.current)
        except Exception as error:
            with self._lock:
                self._set(JobState.FAILED, f"The model is in use, but the store has no entry of it: {error}")

    def _take(self, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Take one event in; return it if it tells how the job ended."""
        kind = event["event"]
        with self._lock:
            if kind == "start":
                self._stage, self._count, self._total = event["stage"], 0, event["total"] or 0
            elif kind == "advance":
                self._count = event["count"]
        return event if kind in ("done", "failed") else None

    def _end(self, event: Mapping[str, Any], crash: str) -> None:
        if event.get("event") == "done":
            self._result = event["result"]
            self._set(JobState.DONE, self._result.get("gate", ""))
        elif self._state is JobState.STOPPING or event.get("is_stopped"):
            self._set(JobState.STOPPED, "Stopped; nothing was changed.")
        else:
            self._set(JobState.FAILED, event.get("message", crash))

    def _set(self, state: JobState, message: str = "") -> None:
        self._state, self._message = state, message
        self._version += 1

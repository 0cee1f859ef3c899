"""One language: words that docs/glossary.md retires stand nowhere in names, texts, docs and pages."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.helpers.sources import nodes_of, read

ROOT = Path(__file__).parents[2]
CODE = sorted(
    path for folder in ("src", "tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")
)
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "src/georgia/**/*.jinja", "src/georgia/web/static/**/*.[hj]*")
    for path in ROOT.glob(pattern)
    if "vendor" not in path.parts and path.is_file()
)
# The page that lists the retired words, the history of changes, this list, and what was written by 0.1.
EXEMPT = {"docs/glossary.md", "CHANGELOG.md", "tests/contract/test_glossary.py", "src/georgia/_moved.py"}

# Parts of names (``n_pictures``, ``AnswerTable``) and what stands for them now.
RETIRED_IN_NAMES = {
    **dict.fromkeys(("stranger", "strangers"), "ood"),
    **dict.fromkeys(("assurance", "assure"), "uncertainty"),
    "soundness": "data_audit",
    "seen": "training overlap, data",
    "words": "text, args",
    **dict.fromkeys(("bed", "beds"), "helpers"),
    "placement": "materialize",
    "grouping": "assign",
    "wish": "target",
    **dict.fromkeys(("deliver", "delivery"), "artifacts"),
    "trunk": "frozen",
    "tail": "head",
    **dict.fromkeys(("feed", "stash"), "batches"),
    "spill": "memmap",
    "soften": "softmax, blur",
    **dict.fromkeys(("sure", "sureness", "surest"), "confidence"),
    **dict.fromkeys(("mistake", "mistakes"), "misclassified"),
    **dict.fromkeys(("refuse", "refuses", "refused", "refusal"), "reject"),
    **dict.fromkeys(("share", "shares"), "fraction"),
    **dict.fromkeys(("picture", "pictures"), "image"),
    **dict.fromkeys(("answer", "answers", "answered"), "prediction"),
    "copies": "duplicates",
    **dict.fromkeys(("turn", "turns", "turned"), "rotate"),
    "drawn": "rendered, sampled",
    "traps": "planted defects",
    "trail": "audit log",
    "plant": "opcua",
    "outlets": "outputs",
    **dict.fromkeys(("judge", "judged", "judgement"), "analyze"),
    "course": "batch tracker",
    "look": "poll",
    "intake": "frame reader",
    "outbox": "write queue",
    "guard": "security",
    "allowance": "rate limiter",
    "gauges": "metrics exporter",
    "skill": "normalised balanced accuracy",
    "todo": "remedy",
    "about": "metadata",
    **dict.fromkeys(("thin", "thinned"), "subsample"),
}
# Public names of version 0.1 that stay: settings, JSON keys, columns, tables and routes.
PUBLIC = {
    *("n_judged", "min_judged", "judged_at_s", "trail_seq"),
    # The setting [audit] near_copies, also in audit.json.
    "near_copies",
    # Functions and attributes of libraries.
    *("share_inputs", "turnaround", "copyright"),
}

# What people read: messages, docstrings, comments, pages.
RETIRED_IN_TEXT = {
    r"strangers?": "out-of-distribution images",
    r"pictures?": "image",
    r"assurance": "uncertainty",
    r"soundness": "data audit",
    r"sureness|surest|surely": "confidence, most confident",
    r"(is|are|was|were|as|how) sure": "confident",
    r"mistakes?": "misclassified, error",
    r"let through": "accepted",
    r"refusals?": "rejection",
    r"answers?|answered|answering": "prediction, response",
    r"copies": "duplicates, near-duplicates",
    r"turned|turning": "rotated",
    r"quarter turns?": "rotation by 90 degrees",
    r"drawn": "synthetic, rendered, sampled",
    r"(?<!network )shares?": "fraction, proportion, rate",
    r"traps?": "planted defect",
    r"judg(e|es|ed|ing|ements?)": "analyse",
    r"audit trail|the trail": "audit log",
    r"gate (says|said) no": "quality gate failed",
    r"for one in": "the thing's own name",
    r"(test|train|training|validation) parts?": "split",
    r"valid (images?|set|loss|accuracy|F1)": "validation",
    r"(is|are|was|were) right|right (labels?|class|names?)": "correct",
    r"thinned": "subsampled",
    r"trunk": "frozen backbone",
    r"surest first": "most confident first",
}
# Most lines hold none of them: one pattern for all is asked first.
_ANY = re.compile(rf"\b({'|'.join(RETIRED_IN_TEXT)})\b", re.IGNORECASE)
_TEXT = {re.compile(rf"\b({pattern})\b", re.IGNORECASE): new for pattern, new in RETIRED_IN_TEXT.items()}


def name_parts(name: str) -> list[str]:
    """Return the words of a name: ``n_SetsOf`` → n, sets, of."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+", name)]


@functools.cache
def retired_parts(name: str) -> list[str]:
    """Return the words of a name that the glossary retires."""
    return [part for part in name_parts(name) if part in RETIRED_IN_NAMES]


def defined_names(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every name that a file gives: of functions, classes, arguments, variables and attributes."""
    for node in nodes_of(path):
        line = getattr(node, "lineno", 0)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield line, node.name
        elif isinstance(node, ast.arg):
            yield line, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield line, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield line, node.attr


def texts_of(source: str) -> Iterator[tuple[int, str]]:
    """Yield comments and texts, without what stands in backticks and without plain keys."""
    if not _ANY.search(source):
        return  # Tokens of a file are worth their time only where it could have a fault.
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT or (
            token.type == tokenize.STRING
            and not re.fullmatch(r"""[rbuf]*(['"])[\w/.<>:{}|-]*\1""", token.string)
        ):
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, line


def retired_texts(lines: Iterator[tuple[int, str]]) -> list[str]:
    """Return one line for each retired word; code in backticks, braces and quotes does not count."""
    found = []
    for number, line in lines:
        if not _ANY.search(line):
            continue
        plain = re.sub(r"`[^`]*`|\{[^{}]*\}|(?<!\w)'[\w.-]+'|--?[\w-]+", " ", line)
        for pattern, new in _TEXT.items():
            if match := pattern.search(plain):
                found.append(f"line {number}: {match[0]!r} → {new}")
    return found


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def page_text(path: Path) -> Iterator[tuple[int, str]]:
    text = path.read_text(encoding="utf-8")
    # Fenced blocks are code; their lines still count, so that numbers stay true.
    text = re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), text, flags=re.M | re.S)
    yield from enumerate(text.splitlines(), 1)


def retired_names(path: Path) -> list[str]:
    names = [(0, path.stem), *defined_names(path)]
    return sorted(
        f"line {line}: {name}: {part} → {RETIRED_IN_NAMES[part]}"
        for line, name in names
        if name not in PUBLIC
        for part in retired_parts(name)
    )


def in_files(paths: list[Path], find: Callable[[Path], list[str]]) -> list[str]:
    """Return what is found in every file that is not exempt, each with its file."""
    kept = [path for path in paths if relative(path) not in EXEMPT]
    assert kept
    return [f"{relative(path)}: {fault}" for path in kept for fault in find(path)]


def test_names_use_the_glossary() -> None:
    found = in_files(CODE, retired_names)
    assert not found, "\n".join(found)


def test_texts_use_the_glossary() -> None:
    found = in_files(CODE, lambda path: retired_texts(texts_of(read(path))))
    assert not found, "\n".join(found)


def test_pages_use_the_glossary() -> None:
    found = in_files(PAGES, lambda path: retired_texts(page_text(path)))
    assert not found, "\n".join(found)


def test_retired_words_are_found() -> None:
    lines = ["Two pictures of one crystal", "its `picture` is code", "a Surest first list"]
    assert [found.split(":")[0] for found in retired_texts(iter(enumerate(lines, 1)))] == [
        "line 1",
        "line 3",
        "line 3",
    ]

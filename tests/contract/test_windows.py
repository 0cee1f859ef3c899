"""Calls that Windows lacks, or that do something else there, stand behind a question for the system."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.helpers.sources import nodes_of, read

SOURCE = Path(__file__).parents[2] / "src" / "georgia"
# Source: the Python documentation's notes on availability. os.kill(pid, 0) asks nothing on Windows: it sends
# Ctrl-C, or ends the process.
POSIX_ONLY = {
    "os": {
        *("kill", "killpg", "fork", "forkpty", "setsid", "getuid", "geteuid", "getgid", "chown", "lchown"),
        *(
            "mkfifo",
            "mknod",
            "sync",
            "statvfs",
            "posix_fallocate",
            "posix_fadvise",
            "uname",
            "wait3",
            "wait4",
        ),
        *("getpgid", "setpgid", "nice", "getloadavg", "sched_getaffinity", "O_NOFOLLOW", "O_DIRECTORY"),
    },
    "signal": {"SIGKILL", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGALRM", "alarm", "pause"},
    "time": {"tzset", "clock_getres"},
    "socket": {"AF_UNIX", "SO_REUSEPORT"},
}
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog"}
QUESTIONS = (
    *("os.name", "sys.platform", "hasattr(", "getattr(", "except ImportError", "except (ImportError"),
    *("except AttributeError", "suppress(AttributeError"),
)


def list_scopes(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the innermost functions first, then what stands outside of them."""
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    yield tree


def find_posix_only(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in POSIX_ONLY.get(node.value.id, ()):
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            yield node.module


def faults_of(path: Path) -> list[str]:
    if next(find_posix_only(nodes_of(path)), None) is None:
        return []
    text = read(path)
    return [
        f"{path.relative_to(SOURCE)}: {name} in {getattr(scope, 'name', 'the module')}"
        for scope in list_scopes(ast.parse(text))
        for name in find_posix_only(ast.walk(scope))
        if not any(question in (ast.get_source_segment(text, scope) or text) for question in QUESTIONS)
    ]


def test_posix_only_calls_ask_for_system() -> None:
    faults = [fault for path in sorted(SOURCE.rglob("*.py")) for fault in faults_of(path)]
    assert not faults, "\n".join(faults)


TEXT_MODES = {first + second for first in "rwax" for second in ("", "t", "+")}


def find_own_encoding(nodes: Iterable[ast.AST]) -> Iterator[int]:
    """Yield the lines that open a text in the system's encoding, which is not UTF-8 on Windows."""
    for node in nodes:
        if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = [*node.args, *(word.value for word in node.keywords if word.arg == "mode")]
        has_mode = any(isinstance(value, ast.Constant) and value.value in TEXT_MODES for value in given)
        is_method = isinstance(node.func, ast.Attribute)
        is_text = (name == "read_text" and not node.args) or (name == "write_text" and len(node.args) == 1)
        if (is_method and is_text) or (name == "open" and (has_mode or not node.args)):
            yield node.lineno


def test_texts_name_their_encoding() -> None:
    faults = [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in sorted(SOURCE.rglob("*.py"))
        for line in find_own_encoding(nodes_of(path))
    ]
    assert not faults
    unnamed = "p.open()\nopen(p, 'w')\np.read_text()\np.write_text(t)\np.open(mode='a')\n"
    unnamed += "p.open('rb')\np.open('r', encoding='ascii')\nimage.open(p)"
    assert list(find_own_encoding(ast.walk(ast.parse(unnamed)))) == [1, 2, 3, 4, 5]


def test_unasked_call_is_found() -> None:
    names = list(find_posix_only(ast.walk(ast.parse("import fcntl, os\nos.kill(1, 9)\nos.getpid()"))))
    assert sorted(names) == ["fcntl", "os.kill"]

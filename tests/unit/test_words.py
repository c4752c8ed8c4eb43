"""Names, docstrings and comments use plain English: the words of TABLE are gone, and each has a replacement.

Only words and phrases that a program can judge are in the table. Names are those that our code defines; they are split
at underscores and capitals. In docstrings and comments, text between backticks is code and is not checked.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("services", "bench", "deploy", "client", "tests")


class Gone(NamedTuple):
    """A replacement, the words that are gone from names, and the phrases that are gone from text."""

    instead: str
    names: tuple[str, ...] = ()
    text: tuple[str, ...] = ()


TABLE = (
    Gone(
        "report, publish (events), know; message, reason, description (text)",
        names=("told", "tell", "tells", "telling"),
        text=("told", "tell", "tells", "telling"),
    ),
    Gone(
        "request, enqueue, call, query, check, probe; requested",
        names=("ask", "asks", "asked", "asking"),
        text=("ask", "asks", "asked", "asking"),
    ),
    Gone("continue, resume, proceed", text=("go on", "goes on", "going on", "went on")),
    Gone(
        "options, settings, request, requested",
        names=("wish", "wishes", "wished"),
        text=("wish", "wishes", "wished"),
    ),
    Gone("run, check, poll, probe, read", names=("look", "looks", "looker"), text=("looker",)),
    Gone("unit maps", names=("sights",), text=("sights",)),
    Gone("refer to, references, referenced", names=("reach", "reaches", "reached")),
    Gone(
        "receive, on_progress, handle",
        names=("hear", "hears", "heard", "listen", "listens", "listener", "listening"),
        text=("hear", "hears", "heard"),
    ),
    Gone(
        "return, yield, produce; abandoned after N attempts",
        text=("give up", "gives up", "given up", "gave up", "gives back", "given back", "give back"),
    ),
    Gone("stored, retained, recorded", text=("what is kept",)),
    Gone(
        "does not exist, has no ...",
        text=("is had", "are had", "had of", "is none of", "there is none such", "that there is not", "what there is"),
    ),
    Gone("current, in progress, running", text=("in hand",)),
    Gone(
        "next to, in parallel, concurrently",
        names=("beside",),
        text=("beside",),
    ),
    Gone("N, at most N, the number of", text=("as many as", "so many", "for so many")),
    Gone("handle, do", text=("see to", "sees to", "seen to")),
    Gone("fails or is cancelled", names=("badly",), text=("ends badly", "ended badly", "end badly")),
    Gone("the caller, the consumer, other processes", text=("whoever", "everyone", "everybody")),
    Gone("again, so, also, the same for", names=("anew",), text=("anew", "hence", "likewise", "thus", "thereby")),
    Gone("retried", text=("tried again", "trying again", "try again", "tries again")),
    Gone("parked", text=("set aside", "sets aside")),
    Gone("say it directly", text=("what of", "as it were", "such as is", "if any is", "in all of")),
)
"""The words of the house style, `docs` apart: what is gone from names and text, and what to write instead."""

ALLOWED = {
    ("services/common/runtime/status.py", "told"): "a JSON field of v1",
    ("deploy/local/servers.py", "listener"): "a socket that listens",
    ("deploy/local/servers.py", "listens"): "a socket that listens",
    ("services/training/raw/layouts/sample/*.py", "reach"): "how far a lesion extends",
    ("tests/unit/training/raw/test_sample*.py", "reach"): "how far a lesion extends",
}
"""Uses that stay: the file, the word, and the reason."""

SKIPPED = ("*_pb2.py", "*_pb2_grpc.py", "tests/unit/test_words.py", "tests/fakes/torchvision_0_1_9.py")
"""Generated code, this file, and a copy of another project's code."""


class Use(NamedTuple):
    """A piece of code or text with its line; `name` is true for a name."""

    line: int
    text: str
    name: bool


def names(tree: ast.AST) -> Iterator[Use]:
    """Yield the names that a module defines: of functions, classes, parameters, variables, attributes and aliases."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield Use(node.lineno, node.name, True)
        elif isinstance(node, ast.arg):
            yield Use(node.lineno, node.arg, True)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield Use(node.lineno, node.id, True)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield Use(node.lineno, node.attr, True)
        elif isinstance(node, ast.alias) and node.asname:
            yield Use(node.lineno, node.asname, True)


def docstrings(tree: ast.AST) -> Iterator[Use]:
    """Yield every line of each docstring, those of modules, classes, functions, constants and fields."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        if isinstance(node.value.value, str):
            # One use for the whole docstring, since a phrase may be broken over two lines.
            yield Use(node.lineno, node.value.value, False)


def comments(source: str) -> Iterator[Use]:
    """Yield each block of comments that begin at consecutive lines."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if block and line != last + 1:
            yield Use(first, " ".join(block), False)
            block = []
        first, last = (first if block else line), line
        block.append(token.string.lstrip("# "))
    if block:
        yield Use(first, " ".join(block), False)


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case: `told_of` and `ToldOf` both have told and of."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def gone_words(use: Use) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the gone word and its replacement for each one in a name or text."""
    if use.name:
        words = words_of(use.text)
        yield from ((use.line, word, gone.instead) for gone in TABLE for word in gone.names if word in words)
        return
    text = re.sub(r"`[^`]*`", lambda code: re.sub(r"[^\n]", " ", code[0]), use.text)
    for gone in TABLE:
        for phrase in gone.text:
            pattern = r"\b" + r"\s+".join(phrase.split()) + r"\b"
            for found in re.finditer(pattern, text, re.IGNORECASE):
                yield use.line + text[: found.start()].count("\n"), phrase, gone.instead


def uses_of(path: Path) -> Iterator[Use]:
    """Yield the name of a file, and the names, docstrings and comments in it."""
    source = path.read_text()
    tree = ast.parse(source)
    yield Use(1, path.stem, True)
    yield from names(tree)
    yield from docstrings(tree)
    yield from comments(source)


def files_of(folder: str) -> list[Path]:
    """Return the Python files of a folder that are checked."""
    files = sorted((ROOT / folder).rglob("*.py"))
    return [path for path in files if not any(fnmatch(path.relative_to(ROOT).as_posix(), skip) for skip in SKIPPED)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_gone_words_are_gone(folder: str) -> None:
    """A failure lists each use as file:line: word -> what to write instead."""
    found = []
    for path in files_of(folder):
        where = path.relative_to(ROOT).as_posix()
        for line, word, instead in sorted({gone for use in uses_of(path) for gone in gone_words(use)}):
            if not any(fnmatch(where, pattern) and word == allowed for pattern, allowed in ALLOWED):
                found.append(f"{where}:{line}: {word} -> {instead}")
    if found:
        pytest.fail(f"{len(found)} gone words in {folder}:\n" + "\n".join(found), pytrace=False)


def test_every_exception_is_needed() -> None:
    """An entry of ALLOWED is removed when its last use is."""
    unused = []
    for pattern, word in ALLOWED:
        uses = (use for path in ROOT.glob(pattern) for use in uses_of(path))
        if not any(word == gone for use in uses for _, gone, _ in gone_words(use)):
            unused.append((pattern, word))
    assert unused == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("told = 1", ["told"]),
        ("def ask_again(): ...", ["ask"]),
        ("class ToldOf: ...", ["told"]),
        ("x.looks = 1", ["looks"]),
        ("tasks = storage = 1", []),
        ('"""It goes\n    on."""', ["goes on"]),
        ('"""The column `told`."""', []),
        ("x = 1  # as it was asked\n", ["asked"]),
        ('x = "told"', []),
    ],
)
def test_the_check_finds_gone_words(tmp_path: Path, source: str, expected: list[str]) -> None:
    """In names, docstrings and comments, as whole words, but not in code, other words or strings."""
    path = tmp_path / "x.py"
    path.write_text(source)
    assert [word for use in uses_of(path) for _, word, _ in gone_words(use)] == expected

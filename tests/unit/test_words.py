"""Words that the code and its tests no longer use, in names, docstrings and comments."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("services", "bench", "deploy", "tests")

GONE = {
    "told, tell, tells, untold": "reported, report; reason or message for text; publish for events",
    "wish, wishes, wished": "options, settings, request",
    "looker": "runner, worker, probe",
    "sight, sights": "unit maps",
    "anew": "again",
    "likewise": "the same for",
    "whoever": "the caller, the consumer, the process",
    "goes on, go on, went on": "continue, resume, proceed",
    "asked for, ask for, asks for": "requested, request",
    "wished for": "requested",
    "is had, are had": "exists, has",
    "beside each other": "in parallel",
    "in hand": "current, in progress",
    "ends badly, end badly": "fails or is cancelled",
}
"""The words, with commas between the forms of one, and what to write instead."""

GONE_IN_NAMES = {
    "told, tell, wish, looker, sights, sight, anew, whoever, asked, ask": "as above",
}
"""Parts of identifiers, which are split at underscores and capitals."""

GONE_IN_NAMES_OF_CODE = {
    "reach, reaches, reached": "references, referenced",
    "whole": "full, fully_convolutional",
    "heard, hear": "received, handle",
}
"""Parts of identifiers that are gone from the code. Tests may use them in their plain meaning."""

ALLOWED_NAMES = {
    "tell": "the method of files",
    "told": "a field of /v1/status and of the check's report that v1 keeps, and the column of three tables",
    "reach": "the geometry of a lesion, in pixels",
    "_REACH": "the bounds of that geometry",
    "reached": "the output at which a forward has reached the end of a network's trunk",
    "_TrunkReachedError": "the error that ends a forward there",
}
"""Identifiers that are used for a reason."""

THIS = Path(__file__).relative_to(ROOT).as_posix()


def forms(table: dict[str, str]) -> set[str]:
    """All words of a table."""
    return {word.strip() for words in table for word in words.split(",")}


TEXT = re.compile(rf"(?i)\b({'|'.join(sorted(forms(GONE), key=len, reverse=True))})\b")
CODE = re.compile(r"`[^`]*`")


def sources() -> Iterator[tuple[str, str]]:
    """The path and the text of every source file but this one."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name != THIS and "__pycache__" not in name:
                yield name, path.read_text()


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The line and the text of each docstring, each string that stands alone, and each comment."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def names(text: str) -> Iterator[tuple[int, str]]:
    """The line and the name of each definition, argument and assigned variable or attribute."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def parts(name: str) -> set[str]:
    """The words of an identifier: `ReachOwner_told` has reach, owner and told."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_docstrings_and_comments_are_in_everyday_words() -> None:
    """No docstring or comment has a word of GONE, except within backquotes."""
    found = [
        f"{name}:{line}: {match[0]}"
        for name, text in sources()
        for line, sentence in prose(text)
        for match in TEXT.finditer(CODE.sub("", sentence))
    ]
    assert found == [], "\n".join(found)


def test_names_are_in_everyday_words() -> None:
    """No defined name has a word that is gone, except those of ALLOWED_NAMES."""
    everywhere, in_code = forms(GONE_IN_NAMES), forms(GONE_IN_NAMES) | forms(GONE_IN_NAMES_OF_CODE)
    found = [
        f"{name}:{line}: {identifier}"
        for name, text in sources()
        for line, identifier in names(text)
        if parts(identifier) & (everywhere if name.startswith("tests/") else in_code)
        and identifier not in ALLOWED_NAMES
    ]
    assert found == [], "\n".join(found)


def test_each_allowed_name_is_used() -> None:
    """A reason for a name that is gone is gone too."""
    used = {identifier for _, text in sources() for identifier in re.findall(r"\w+", text)}
    assert set(ALLOWED_NAMES) <= used


def test_the_words_are_found() -> None:
    """A docstring, a comment and a name that have such words are found."""
    text = '"""What is told."""\nwished_size = 1  # and goes on\n'
    assert [TEXT.search(sentence)[0] for _, sentence in prose(text) if TEXT.search(sentence)] == ["told", "goes on"]
    assert [parts(name) for _, name in names(text)] == [{"wished", "size"}]

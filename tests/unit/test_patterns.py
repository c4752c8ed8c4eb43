"""No text takes a regular expression of ours more than linear time: callers choose the text, and `re` holds the
interpreter while it searches.

The patterns are found in the source. Each one runs on strings that are made of its own parts, since those are what
makes it repeat its search. Times are CPU times of this thread. Their growth is checked: a quadratic pattern takes 16
times as long for four times the text. And each pattern takes at most 50 ms for 1 MiB on a machine that does a fixed
piece of work in REFERENCE_S; a slower machine has more time, in proportion.
"""

import ast
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from re import _parser as parser  # type: ignore[attr-defined]
from time import thread_time
from typing import Annotated, Any, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from services.common.redaction import redacted

ROOT = Path(__file__).parents[2]
FOLDERS = ("services", "bench", "deploy")
METHODS = ("match", "fullmatch", "search", "sub", "split", "findall", "finditer")

SHORT, LONG, LARGEST = 1 << 14, 1 << 16, 1 << 20
CANDIDATE = 1 << 12
"""Characters of the strings among which the slowest are chosen."""
SLOWEST = 3
GROWTH = 8
"""The most that the time may grow when the text grows fourfold: twice what linear time grows."""
NOISE_S = 1e-3
PARTS = 14
LIMIT_S = 0.05
"""The most that a pattern takes for LARGEST characters."""
REFERENCE_S = 0.01
"""CPU time of `reference` on the machine where LIMIT_S holds: one core of a cloud server, while other work runs."""
TRIES = 5

Run = Callable[[str], object]


class Found(NamedTuple):
    """A pattern in the source, and the function that is used with it: a method of `re`, or pydantic's `pattern`."""

    where: str
    pattern: str
    use: str

    def run(self) -> Run:
        """Return a function that does with a string what the source does with it."""
        if self.use == "pattern":
            return partial(validated, TypeAdapter(Annotated[str, Field(pattern=self.pattern)]))
        compiled = re.compile(self.pattern)
        if self.use == "sub":
            return partial(compiled.sub, "")
        method = getattr(compiled, self.use)
        return (lambda text: list(method(text))) if self.use == "finditer" else method


def validated(kind: TypeAdapter[str], text: str) -> None:
    """Validate a string as pydantic does in a request."""
    try:
        kind.validate_python(text)
    except ValidationError:
        return


def patterns() -> Iterator[Found]:
    """Yield every pattern of the source once for each method that is called on it."""
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text())
        assert not hides_patterns(tree), f"{path}: write `import re`, so that this test finds the patterns"
        constants = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        names = {id(node): name for name, node in constants.items()}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            for word in node.keywords:
                if word.arg == "pattern":
                    yield Found(where, text_of(word.value, constants), "pattern")
            match node.func:
                case ast.Attribute(value=ast.Name(id="re"), attr="compile"):
                    assert len(node.args) == 1 and not node.keywords, f"{where}: write flags into the pattern"
                    for use in uses_of(tree, names.get(id(node), "")) or ["search"]:
                        yield Found(where, text_of(node.args[0], constants), use)
                case ast.Attribute(value=ast.Name(id="re"), attr=method) if method in METHODS:
                    yield Found(where, text_of(node.args[0], constants), method)


def hides_patterns(tree: ast.AST) -> bool:
    """Return whether a module imports `re` under another name, or a part of it."""
    return any(
        (isinstance(node, ast.ImportFrom) and node.module == "re")
        or (isinstance(node, ast.Import) and any(one.name in ("re", "regex") and one.asname for one in node.names))
        for node in ast.walk(tree)
    )


def text_of(node: ast.expr, constants: dict[str, ast.expr]) -> str:
    """Return the text of a pattern, which is a literal or a constant of its module."""
    if isinstance(node, ast.Name):
        node = constants[node.id]
    return str(ast.literal_eval(node))


def uses_of(tree: ast.AST, name: str) -> list[str]:
    """Return the methods that a module calls on a compiled pattern."""
    found = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name
    }
    return sorted(found & set(METHODS))


def parts_of(pattern: str) -> list[str]:
    """Return the literal parts of a pattern, and a character of each of its classes; both also in a few other forms."""
    found: list[str] = []
    literal = ""
    for piece in (*pieces(parser.parse(pattern)), None):
        if isinstance(piece, int):
            literal += chr(piece)
            continue
        found += [literal] if literal else []
        literal = ""
        found += [piece] if piece else []
    return list(dict.fromkeys([*found, "".join(found), "a", " ", "0"]))[:PARTS]


def pieces(parsed: Any) -> Iterator[int | str]:
    """Yield the literals of a parsed pattern as numbers, and a character of each class as text."""
    for operation, value in parsed:
        name = str(operation)
        if name in ("LITERAL", "NOT_LITERAL"):
            yield value if name == "LITERAL" else "a"
        elif name == "IN":
            yield from members(value)
        elif name == "ANY":
            yield "a"
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            yield from pieces(value[2])
        elif name == "BRANCH":
            for branch in value[1]:
                yield from pieces(branch)
                yield ""
        elif name in ("SUBPATTERN", "ASSERT", "ASSERT_NOT"):
            yield from pieces(value[-1])
        elif name == "ATOMIC_GROUP":
            yield from pieces(value)


def members(alternatives: Any) -> Iterator[str]:
    """Yield a few characters of a class, or of the characters that it excludes."""
    for name, value in ((str(operation), value) for operation, value in alternatives):
        if name == "LITERAL":
            yield chr(value)
        elif name == "RANGE":
            yield chr(value[0])
        elif name == "CATEGORY":
            yield {"CATEGORY_DIGIT": "0", "CATEGORY_SPACE": " "}.get(str(value), "a")


class Shape(NamedTuple):
    """A string that consists of a beginning, a part that is repeated, and an end."""

    begin: str
    repeated: str
    end: str

    def text(self, length: int) -> str:
        """Return the string with about `length` characters."""
        return self.begin + self.repeated * (length // len(self.repeated)) + self.end


def shapes_of(parts: list[str]) -> set[Shape]:
    """Return the shapes that two parts can form."""
    return {
        shape
        for one, other in product(parts, parts)
        for shape in (Shape(one, other, ""), Shape("", one, other), Shape("", one + other, ""))
    }


def seconds(run: Run, text: str, times: int = 1) -> float:
    """Return the shortest CPU time of some runs."""
    measured = []
    for _ in range(times):
        began = thread_time()
        run(text)
        measured.append(thread_time() - began)
    return min(measured)


def reference() -> float:
    """Return the CPU time of a search that takes linear time, for LARGEST characters."""
    return seconds(partial(re.compile("[a-y]z").search), "a" * LARGEST, 3)


def is_slow(run: Run, text: str) -> bool:
    """Return whether a pattern takes more than LIMIT_S in each of several tries, each compared with the machine."""
    return all(seconds(run, text, 2) > LIMIT_S * max(1.0, reference() / REFERENCE_S) for _ in range(TRIES))


def fault_of(run: Run, parts: list[str]) -> tuple[str, float]:
    """Return a description of a text that takes more than linear time, or nothing; and the seconds of the slowest text
    of LARGEST characters."""
    worst = 0.0
    measured = {shape: seconds(run, shape.text(CANDIDATE)) for shape in shapes_of(parts)}
    for shape in sorted(measured, key=measured.__getitem__, reverse=True)[:SLOWEST]:
        fault, large = growth_fault(run, shape)
        worst = max(worst, large)
        if not fault and large > LIMIT_S and is_slow(run, shape.text(LARGEST)):
            fault = f"{LARGEST} characters take {large:.6f} s"
        if fault:
            return f"{shape}: {fault}", worst
    return "", worst


def growth_fault(run: Run, shape: Shape) -> tuple[str, float]:
    """Return how much more than linear the time grows, or nothing; and the seconds of LARGEST characters, if they were
    measured. Short times that grow too much are measured again: another process may have taken the caches."""
    for _ in range(TRIES):
        short, long = (seconds(run, shape.text(length), 3) for length in (SHORT, LONG))
        fault, large = f"{SHORT} characters take {short:.6f} s, {LONG} take {long:.6f} s", 0.0
        if long <= GROWTH * short + NOISE_S:
            large = seconds(run, shape.text(LARGEST), 2)
            fault = f"{LONG} characters take {long:.6f} s, {LARGEST} take {large:.6f} s"
            if large <= 2 * LARGEST / LONG * long + NOISE_S:
                return "", large
        if long > LIMIT_S:
            break
    return fault, large


def test_a_quadratic_pattern_is_found() -> None:
    """The pattern that hid passwords in URLs until it stopped a service for 8 s takes quadratic time."""
    before = r"\b([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@'\"]*):(?!PASSWORD@|SECRET@)[^\s'\"]*@"
    fault, _ = fault_of(partial(re.compile(before).sub, ""), parts_of(before))
    assert fault


def test_every_pattern_takes_linear_time() -> None:
    """Each pattern of the code takes at most about four times as long for four times the text, and at most LIMIT_S for
    1 MiB. `-s` prints the time of each."""
    found = sorted(set(patterns()))
    assert len(found) > 40
    faults = []
    for one in found:
        fault, worst = fault_of(one.run(), parts_of(one.pattern))
        print(f"{1000 * worst:7.1f} ms  {one.where} {one.use} {one.pattern}")
        faults += [f"{one.where} {one.pattern} {fault}"] if fault else []
    assert faults == []


def test_redaction_takes_linear_time() -> None:
    """All patterns of the redaction together, with what they replace."""
    own = [one for one in patterns() if one.where.startswith("services/common/redaction.py")]
    assert len(own) == 4
    for one in own:
        fault, worst = fault_of(redacted, parts_of(one.pattern))
        print(f"{1000 * worst:7.1f} ms  redacted, with the parts of {one.pattern}")
        assert not fault

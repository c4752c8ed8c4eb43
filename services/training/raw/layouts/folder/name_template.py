"""Reads patient, side and view out of names of files, by a template such as `{patient}_{side}_{view}.png`.

A template is simpler than a regular expression, and takes linear time whatever the names are: a field ends where the
text behind it occurs first, and the last one takes the rest. Text in the template must occur as it is.
"""

from collections.abc import Collection
from dataclasses import dataclass
from string import Formatter

from services.common.errors import InvalidInput
from services.common.redaction import quoted

LONGEST = 200
"""Characters of a template."""
IGNORED = "_"
"""The field whose text does not matter. It may occur several times."""


@dataclass(frozen=True)
class NameTemplate:
    """A template in parts: the text before the first field, and each field with the text behind it."""

    begin: str
    parts: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, template: str, known: Collection[str]) -> "NameTemplate":
        """Parse a template. InvalidInput for unknown or repeated fields, and for fields without text between them."""
        if len(template) > LONGEST:
            raise InvalidInput(f"the template has {len(template)} characters; at most {LONGEST} are read")
        try:
            pieces = list(Formatter().parse(template))
        except ValueError as error:
            raise InvalidInput(f"template {quoted(template)}: {error}") from error
        names = [name for _, name, _, _ in pieces if name is not None]
        wrong = [name for name in names if name not in known and name != IGNORED]
        if wrong or any(form or conversion for _, _, form, conversion in pieces):
            raise InvalidInput(f"template {quoted(template)} has fields other than {', '.join(known)} and {IGNORED}")
        repeated = [name for name in names if names.count(name) > 1 and name != IGNORED]
        if not names or repeated:
            raise InvalidInput(f"template {quoted(template)} must have each field once, and at least one")
        texts = [""]  # the text before the first field, and behind each field
        for text, name, _, _ in pieces:
            texts[-1] += text
            texts += [] if name is None else [""]
        if not all(texts[1:-1]):
            raise InvalidInput(f"template {quoted(template)} has two fields without text between them")
        return cls(texts[0], tuple(zip(names, texts[1:], strict=True)))

    def read(self, name: str) -> dict[str, str] | None:
        """The fields of a name, None if it does not fit. A template with n slashes is compared with the last n folders
        and the name of the file; one without any, with the name of the file alone."""
        depth = self.begin.count("/") + sum(text.count("/") for _, text in self.parts)
        rest = "/".join(name.split("/")[-1 - depth :])
        if not rest.startswith(self.begin):
            return None
        rest, found = rest[len(self.begin) :], {}
        for index, (field, text) in enumerate(self.parts):
            last = index == len(self.parts) - 1
            end = (len(rest) - len(text) if rest.endswith(text) else -1) if last else rest.find(text)
            if end <= 0:
                return None
            if field != IGNORED:
                found[field] = rest[:end]
            rest = rest[end + len(text) :]
        return found

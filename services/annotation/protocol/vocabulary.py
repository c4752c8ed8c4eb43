"""Vocabularies: versioned lists of terms that readers choose from. They are data; a site may add its own."""

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.common.errors import NotFound
from services.common.redaction import quoted

FOLDER = Path(__file__).parent / "vocabularies"
Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
"""An identifier of a term, a question or a choice. Exports contain it, so it never changes."""


class FrozenModel(BaseModel):
    """A model of a file that a protocol's hash depends on: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Term(FrozenModel):
    """A term of a vocabulary."""

    id: Identifier
    title: str = Field(min_length=1, max_length=100)


class TermGroup(FrozenModel):
    """Terms that belong together, such as the margins of a mass."""

    id: Identifier
    title: str = Field(min_length=1, max_length=100)
    terms: tuple[Term, ...] = Field(min_length=1, max_length=100)


class Vocabulary(FrozenModel):
    """A version of a vocabulary. `older_terms` maps words of earlier editions, such as DDSM's, to terms."""

    name: Identifier
    version: str = Field(pattern=r"^[0-9A-Za-z.]{1,16}$")
    title: str = Field(min_length=1, max_length=200)
    groups: tuple[TermGroup, ...] = Field(min_length=1, max_length=50)
    older_terms: dict[str, Identifier] = Field(default_factory=dict, max_length=200)

    def term_ids(self) -> list[str]:
        """The identifiers of all terms, in the order of the vocabulary."""
        return [term.id for group in self.groups for term in group.terms]

    def titles(self) -> dict[str, str]:
        """The titles of all terms, by identifier."""
        return {term.id: term.title for group in self.groups for term in group.terms}


@cache
def shipped_vocabularies() -> dict[tuple[str, str], Vocabulary]:
    """The vocabularies that this software ships, by name and version."""
    read = [Vocabulary.model_validate_json(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]
    return {(one.name, one.version): one for one in read}


def find_vocabulary(name: str, version: str) -> Vocabulary:
    """A shipped vocabulary. NotFound lists those that exist."""
    found = shipped_vocabularies().get((name, version))
    if found is None:
        known = ", ".join(f"{name} {version}" for name, version in shipped_vocabularies())
        raise NotFound(f"there is no vocabulary {quoted(name)} {quoted(version)}; there are {known}")
    return found

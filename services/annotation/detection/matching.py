"""Which known concepts a name in a reader's words contains."""

from collections.abc import Sequence


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text in lower case, without the plural's s: `Spiculated masses` has `spiculated`, `mass`."""
    letters = (letter if letter.isalnum() else " " for letter in text.casefold())
    return tuple(_singular(word) for word in "".join(letters).split())


def concepts_in(text: str, concepts: Sequence[str]) -> list[str]:
    """The concepts whose words stand in a text one after the other, or all of them in any order, in the order of
    `concepts`. A concept whose words are part of a longer one that is found is left out: a `spiculated mass` is no
    statement about every `mass`."""
    words = words_of(text)
    found = {concept: frozenset(words_of(concept)) for concept in concepts}
    found = {concept: parts for concept, parts in found.items() if parts and parts <= frozenset(words)}
    return [concept for concept, parts in found.items() if not any(parts < longer for longer in found.values())]


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("sses"):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word

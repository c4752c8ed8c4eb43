"""Sentences about a study that items of the checklists quote."""

from services.cli.evidence.collect import Documents


def sources(documents: Documents) -> str:
    """Source, licence and citation of the data."""
    card = documents.part("data-card.json")
    if not card:
        return ""
    licence = card["licence"]
    return f"{card['source']}, {licence['name']}; citation: {licence['citation']} (data-card.json)"


def partitions(documents: Documents) -> str:
    """The rule by which patients were assigned to splits, and the sizes of the splits."""
    card, dataset = documents.part("data-card.json"), documents.part("dataset.json")
    rule = card.get("split_rule", "")
    sizes = ", ".join(f"{split}: {count} patches" for split, count in dataset["splits"].items())
    return f"rule {rule}; {sizes} (data-card.json, balance.json)" if rule else ""


def disjoint(documents: Documents) -> str:
    """Whether patients are in one split only."""
    card = documents.part("data-card.json")
    if not card:
        return ""
    leaks = len(card["leaks"])
    return (
        f"patients; {leaks} are in more than one split, by the source's lists (data-card.json)" if leaks else "patients"
    )


def readers(documents: Documents) -> str:
    """The number of readers and readings of each version of the protocol."""
    return "; ".join(
        f"version {one['version']}: {len(one['readers'])} readers, {one['answered']} answers "
        f"(protocols/{one['version']}/results.json)"
        for place, one in documents.below("protocols").items()
        if place.endswith("results.json")
    )


def agreement(documents: Documents) -> str:
    """Where agreement of readers is measured."""
    places = [place for place in documents.below("protocols") if place.endswith("results.json")]
    return ", ".join(places)


def dropped(documents: Documents) -> str:
    """What the import left out, with the reasons."""
    if "import-report.json" not in documents.json:
        return ""
    return "every dropped, mended and flagged row with its reason (import-report.json)"


def network(documents: Documents) -> str:
    """The architecture and its classes."""
    extraction = documents.part("extraction.json")
    return f"{extraction['architecture']}, classes {', '.join(extraction['classes'])} (model-card.md, run.json)"


def initial_weights(documents: Documents) -> str:
    """The weights with which training began."""
    settings = documents.part("run.json")["settings"]
    return f"weights: {settings['weights']}, seed {settings['seed']} (run.json)" if "weights" in settings else ""


def verification(documents: Documents) -> str:
    """How many names are verified, unverified and refuted."""
    if "verification" in documents.missing:
        return ""
    verdicts = [name["verdict"] for layer in documents.below("names").values() for name in layer["names"]]
    counts = ", ".join(f"{verdicts.count(one)} {one}" for one in ("verified", "unverified", "refuted"))
    return f"names of units on held-out patients: {counts} (names/)"

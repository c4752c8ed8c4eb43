"""The model card, the data card and the checklists as Markdown."""

from collections.abc import Iterable, Sequence

from services.cli.evidence import facts
from services.cli.evidence.checklists import FilledItem
from services.cli.evidence.collect import Documents

RESEARCH_USE = "For research use only. Not for diagnosis."


def model_card(documents: Documents) -> str:
    """What the network is, how it was trained and evaluated, and how far the names of its units can be trusted."""
    run, extraction = documents.part("run.json"), documents.part("extraction.json")
    checkpoint = run["checkpoint"] or {}
    lines = [
        f"# Model card: {extraction['architecture']}",
        RESEARCH_USE,
        "## Network",
        *_points(
            {
                "Architecture": extraction["architecture"],
                "Classes": ", ".join(extraction["classes"]),
                "Run": run["run_id"],
                "Checkpoint (SHA-256 of its manifest)": checkpoint.get("sha256", "none"),
                "Trained on": run["dataset_id"],
                "Settings": ", ".join(f"{name} = {value}" for name, value in sorted(run["settings"].items())),
            }
        ),
        "## Evaluation",
        *_evaluations(documents),
        "## Names of units",
        facts.verification(documents) or documents.missing["verification"],
    ]
    return "\n\n".join(lines) + "\n"


def data_card(documents: Documents) -> str:
    """What the data set is, where it comes from, and what its licence allows."""
    dataset, card = documents.part("dataset.json"), documents.part("data-card.json")
    lines = [f"# Data card: {dataset['name']}", RESEARCH_USE]
    sizes = {f"Patches of {split}": str(count) for split, count in dataset["splits"].items()}
    lines += _points({"Data set": dataset["dataset_id"], "Classes": ", ".join(dataset["classes"])} | sizes)
    if not card:
        return "\n\n".join([*lines, documents.missing["data-card.json"]]) + "\n"
    licence = card["licence"]
    known = {
        "Source": card["source"],
        "Licence": licence["name"],
        "Licence flags": ", ".join(licence["terms"]) or "none",
        "Citation": licence["citation"],
        "Split rule": card["split_rule"],
        "Patients in more than one split": str(len(card["leaks"])),
        "SHA-256 of the source": card["source_sha256"],
    }
    return "\n\n".join([*lines, *_points(known)]) + "\n"


def checklist(title: str, items: Sequence[FilledItem]) -> str:
    """A checklist as a table, with the number of items by status."""
    counts = {
        status: sum(item.status == status for item in items) for status in ("filled", "open", "not by this software")
    }
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    rows = [f"| {one.item.number} | {one.item.requires} | {one.status} | {_cell(one.words)} |" for one in items]
    table = "\n".join(["| item | requires | status | |", "|---|---|---|---|", *rows])
    return f"# {title}\n\n{len(items)} items: {summary}.\n\n{table}\n"


def _points(values: dict[str, str]) -> list[str]:
    return ["\n".join(f"- {name}: {value}" for name, value in values.items())]


def _evaluations(documents: Documents) -> Iterable[str]:
    found = documents.below("evaluations")
    if not found:
        return [documents.missing["evaluations"]]
    return [f"- split {one['evaluation']['split']}: see {place}" for place, one in found.items()]


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")

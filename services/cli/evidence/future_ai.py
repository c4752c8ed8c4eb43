"""The recommendations of FUTURE-AI."""

from services.cli.evidence import facts
from services.cli.evidence.checklists import Item, always, where
from services.cli.evidence.claim import EVALUATE, IMPORT, PROTOCOL

FUTURE_AI = (
    Item("Fairness 1", "Define sources of bias"),
    Item("Fairness 2", "Collect attributes of individuals and data", where("data-card.json"), IMPORT),
    Item("Fairness 3", "Evaluate biases, and correct them"),
    Item("Universality 1", "Define clinical settings and how they vary"),
    Item("Universality 2", "Use standards of the community", always("DICOM, gRPC, OpenAPI, Parquet (docs/formats.md)")),
    Item("Universality 3", "Evaluate on external data or at several sites"),
    Item("Universality 4", "Demonstrate validity at the local site"),
    Item("Traceability 1", "Manage risks over the life of the AI"),
    Item("Traceability 2", "Document it, technically and clinically", where("run.json", "extraction.json")),
    Item("Traceability 3", "Control the quality of inputs and outputs", facts.dropped, IMPORT),
    Item("Traceability 4", "Audit and update it periodically"),
    Item(
        "Traceability 5",
        "Log its use",
        where("audit.jsonl"),
        "export the audit chain (`primitives audit export`) and pass it with --audit",
    ),
    Item("Traceability 6", "Establish governance"),
    Item("Usability 1", "Define intended use and requirements of users"),
    Item("Usability 2", "Let humans interact and oversee", facts.readers, PROTOCOL),
    Item("Usability 3", "Train the users"),
    Item("Usability 4", "Evaluate the experience of independent users"),
    Item("Usability 5", "Evaluate clinical utility and safety"),
    Item("Robustness 1", "Define sources of variation of the data"),
    Item("Robustness 2", "Train on representative data"),
    Item("Robustness 3", "Evaluate robustness against variation"),
    Item("Explainability 1", "Define with users whether explanations are needed"),
    Item("Explainability 2", "Evaluate explanations with users", facts.agreement, PROTOCOL),
    Item("General 1", "Engage all disciplines"),
    Item("General 2", "Protect privacy and security", always("docs/access.md, docs/threat-model.md, docs/audit.md")),
    Item("General 3", "Address identified risks"),
    Item("General 4", "Define a plan of evaluation", where("protocols", "evaluations"), f"{PROTOCOL}, and {EVALUATE}"),
    Item("General 5", "Identify and fulfil regulation"),
    Item("General 6", "Investigate ethical issues of the application"),
    Item("General 7", "Investigate social and societal issues"),
)
"""All 30 recommendations."""

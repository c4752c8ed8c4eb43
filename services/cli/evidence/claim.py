"""The items of CLAIM 2024."""

from services.cli.evidence import facts
from services.cli.evidence.checklists import Item, always, where

EVALUATE = "run `primitives evaluate` on held-out patients"
IMPORT = "import the data from raw mammograms, which writes a data card"
PROTOCOL = "read the study under a protocol"
DETECT = "run `primitives analyse --kind detection`"

CLAIM_2024 = (
    Item("1", "Title names a study of AI and its kind of technology"),
    Item("2", "Structured abstract"),
    Item("3", "Background, with the intended use of the AI"),
    Item("4", "Aims, objectives and hypotheses"),
    Item("5", "Prospective or retrospective study"),
    Item("6", "Goal of the study", where("protocols"), PROTOCOL),
    Item("7", "Sources of the data", facts.sources, IMPORT),
    Item("8", "Criteria of inclusion and exclusion", facts.dropped, IMPORT),
    Item("9", "Preprocessing of the data", where("data-card.json", "run.json"), IMPORT),
    Item("10", "Selection of parts of the data", where("data-card.json"), IMPORT),
    Item(
        "11", "Methods of de-identification", always("identifiers are removed and replaced on import (docs/import.md)")
    ),
    Item("12", "Handling of missing data", facts.dropped, IMPORT),
    Item("13", "Protocol of image acquisition"),
    Item("14", "Definition of the reference standard", where("data-card.json"), IMPORT),
    Item("15", "Reasons for this reference standard"),
    Item("16", "Source of the annotations of the reference standard", where("data-card.json"), IMPORT),
    Item("17", "Annotation of the test set", facts.readers, PROTOCOL),
    Item("18", "Variability between and within readers", facts.agreement, PROTOCOL),
    Item("19", "Assignment of data to partitions", facts.partitions, IMPORT),
    Item("20", "Level at which partitions are disjoint", facts.disjoint, IMPORT),
    Item("21", "Intended size of the sample"),
    Item("22", "Description of the model", facts.network),
    Item("23", "Software, with versions", always("manifest.json")),
    Item(
        "24",
        "Initialisation of the parameters",
        facts.initial_weights,
        "the checkpoint was imported, and how it was trained is not recorded",
    ),
    Item("25", "Details of training", where("run.json")),
    Item("26", "Selection of the final model", where("run.json")),
    Item("27", "Ensembles", always("none: one network is studied")),
    Item("28", "Metrics of performance", where("evaluations"), EVALUATE),
    Item("29", "Measures of significance and uncertainty", where("evaluations"), EVALUATE),
    Item("30", "Analysis of robustness or sensitivity"),
    Item("31", "Methods of explainability, and their evaluation", facts.verification, DETECT),
    Item("32", "Evaluation on internal data", where("evaluations"), EVALUATE),
    Item("33", "Evaluation on external data"),
    Item("34", "Registration of the trial"),
    Item("35", "Numbers of patients included and excluded", where("balance.json", "import-report.json"), IMPORT),
    Item("36", "Demographic and clinical characteristics of each partition"),
    Item("37", "Performance, with uncertainty", where("evaluations"), EVALUATE),
    Item("38", "Diagnostic performance, with its precision", where("evaluations"), EVALUATE),
    Item("39", "Analysis of failures"),
    Item("40", "Limitations of the study"),
    Item("41", "Implications for practice"),
    Item("42", "Full protocol and technical details", where("protocols"), PROTOCOL),
    Item("43", "Availability of software, model and data", where("run.json", "dataset.json")),
    Item("44", "Funding and the role of the funders"),
)
"""All 44 items."""

"""`layout.json`: how a folder of pictures is laid out, where it differs from the convention."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.errors import InvalidInput, describe_faults
from services.training.raw.layouts.folder.name_template import NameTemplate
from services.training.raw.source.files import SourceFiles

MAPPING = "layout.json"
LARGEST_MAPPING = 1 << 20
TEMPLATE_FIELDS = ("patient", "exam", "side", "view")

LabelColumn = Literal[
    "file",
    "patient",
    "exam",
    "side",
    "view",
    "outcome",
    "unit",
    "source",
    "assessment",
    "density",
    "split",
    "all_marked",
]
FindingColumn = Literal["file", "kind", "outcome", "assessment", "top", "left", "bottom", "right", "outline", "mask"]
Text = Annotated[str, Field(max_length=200)]
FileName = Annotated[str, Field(min_length=1, max_length=1000)]


class FolderMapping(BaseModel):
    """The content of `layout.json`. Everything has a default: without the file, the convention holds."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    labels: FileName = "labels.csv"
    """The table of labels, one row an image."""
    findings: FileName = "findings.csv"
    """The table of findings, one row a box, outline or mask. It may be missing."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: Literal["utf-8-sig", "utf-16", "cp1252"] = "utf-8-sig"
    template: Text = ""
    """Fields in names of files, such as `{patient}_{side}_{view}.png`. Cells of the table count first."""
    columns: dict[LabelColumn, Text] = {}
    """Columns of the table of labels that have another name."""
    finding_columns: dict[FindingColumn, Text] = {}
    """Columns of the table of findings that have another name."""
    words: dict[LabelColumn | FindingColumn, dict[Text, Text]] = {}
    """What words in a column mean, such as `{"outcome": {"0": "benign", "1": "malignant"}}`."""
    defaults: dict[LabelColumn, Text] = {}
    """Values of columns that the table does not have or leaves empty, such as `{"unit": "image"}`."""
    bits: Annotated[int, Field(ge=9, le=16)] | None = None
    """Depth of pictures of 16 bits, if their values use fewer."""
    inverted: bool = False
    """Whether dense tissue is dark in the pictures."""
    spacing: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Millimetres of a pixel."""

    def column(self, name: LabelColumn) -> str:
        """What a column of the table of labels is called."""
        return self.columns.get(name, name)

    def finding_column(self, name: FindingColumn) -> str:
        """What a column of the table of findings is called."""
        return self.finding_columns.get(name, name)

    def word(self, column: str, text: str) -> str:
        """What a text in a column means. Case does not matter."""
        for name, meanings in self.words.items():
            if name == column:
                return {word.lower(): meaning for word, meaning in meanings.items()}.get(text.lower(), text)
        return text


def read_mapping(files: SourceFiles) -> FolderMapping:
    """Read `layout.json` of a source, or take the convention. InvalidInput names the faults."""
    if MAPPING not in files.names:
        return FolderMapping()
    try:
        mapping = FolderMapping.model_validate_json(files.read(MAPPING, LARGEST_MAPPING))
    except ValidationError as error:
        raise InvalidInput(f"{MAPPING}: {describe_faults(error.errors())}") from error
    if mapping.template:
        NameTemplate.parse(mapping.template, TEMPLATE_FIELDS)
    if mapping.delimiter in '"\r\n':
        raise InvalidInput(f"{MAPPING}: delimiter cannot be a quote or the end of a line")
    return mapping

"""A view of the unit browser. It is a part of the address, so that readers can share it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

RANKINGS = ("own", "influence", "gradient", "ablation")
SORTS = (*RANKINGS, "auc", "iou", "maximum", "mean", "deviation", "active", "unit")
KINDS = ("overlay", "heat_map", "contour", "crop", "mammogram")

Sort = Literal[
    "own", "influence", "gradient", "ablation", "auc", "iou", "maximum", "mean", "deviation", "active", "unit"
]
Kind = Literal["overlay", "heat_map", "contour", "crop", "mammogram"]
Choice = Literal["", "yes", "no"]


class Browse(BaseModel):
    """Sort order, filters and kind of pictures. `label` is the class of ranks and AUCs; empty means the last class.
    `order` overrides the default direction of a sort."""

    model_config = ConfigDict(frozen=True)

    sort: Sort = "own"
    order: Literal["", "up", "down"] = ""
    label: Annotated[int, Field(ge=0, lt=1000)] | Literal[""] = ""
    silent: Choice = ""
    labelled: Choice = ""
    search: str = Field(default="", max_length=100)
    kind: Kind = "overlay"

    def address(self) -> dict[str, str]:
        """The fields that differ from their defaults, for the query string of an address."""
        return {
            name: str(value)
            for name, field in type(self).model_fields.items()
            if (value := getattr(self, name)) != field.default
        }

    def query(self) -> dict[str, Any]:
        """The query for the extraction service. It leaves out `labelled`, because that service has no answers."""
        query: dict[str, Any] = {"sort": self.sort, "search": self.search}
        if self.order:
            query["descending"] = str(self.order == "down").lower()
        if self.label != "":
            query["label"] = self.label
        if self.silent:
            query["silent"] = str(self.silent == "yes").lower()
        return query

    def class_of(self, classes: Sequence[str]) -> int:
        """The label of the class whose ranks and AUCs are shown."""
        return len(classes) - 1 if self.label == "" else self.label

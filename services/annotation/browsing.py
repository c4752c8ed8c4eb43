"""What the unit browser shows of a layer, as its address says it, so that a view can be shared."""

from typing import Any, Literal

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
    """Order, filters and the kind of pictures. `label` is the class of ranks and AUCs, the last if it is none; `order`
    turns the order in which a sort comes by itself."""

    model_config = ConfigDict(frozen=True)

    sort: Sort = "own"
    order: Literal["", "up", "down"] = ""
    label: int | Literal[""] = ""
    silent: Choice = ""
    labelled: Choice = ""
    search: str = Field(default="", max_length=100)
    kind: Kind = "overlay"

    def address(self) -> dict[str, str]:
        """What an address has to say of it: all that is not as it is by itself."""
        return {
            name: str(value)
            for name, field in type(self).model_fields.items()
            if (value := getattr(self, name)) != field.default
        }

    def query(self) -> dict[str, Any]:
        """As the extraction service asks for it; of answers it knows nothing."""
        query: dict[str, Any] = {"sort": self.sort, "search": self.search}
        if self.order:
            query["descending"] = str(self.order == "down").lower()
        if self.label != "":
            query["label"] = self.label
        if self.silent:
            query["silent"] = str(self.silent == "yes").lower()
        return query

    def class_of(self, classes: list[str]) -> int:
        """The class of ranks and AUCs."""
        return len(classes) - 1 if self.label == "" else self.label

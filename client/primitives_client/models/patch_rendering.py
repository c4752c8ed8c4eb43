"""Requests and answers of the patch rendering service.

Written by `python -m deploy.release.client_models`; do not edit.
"""

from typing import Literal

from pydantic import Field

from primitives_client.models.base import Answer, Request
from primitives_client.models.common import ObjectRef, Progress, Requeue


class RenderingView(Answer):
    """A rendering."""

    state: str
    error: str
    progress: Progress
    created: str
    started: str
    finished: str
    requeues: list[Requeue] = Field(default=[])
    rendering_id: str
    plan_id: str
    extraction_id: str
    size: int
    kind: str
    format: str
    quality: int
    groups: int
    groups_done: int
    pictures: int
    manifest: ObjectRef | None


class RenderingList(Answer):
    """A page of all renderings, newest first."""

    total: int
    next_offset: int | None
    renderings: list[RenderingView]


class StartRenderingRequest(Request):
    """Render all layers of a completed extraction."""

    size: int = 227
    kind: Literal["overlay", "heat_map", "contour", "crop", "mammogram"] = "overlay"
    format: Literal["jpeg", "webp"] = "jpeg"
    extraction_id: str

"""The references from a service's records to objects. The collector and the cross-check share this enumeration."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput, NotFound
from services.common.records import Records

FaultKind = Literal["missing", "altered", "disowned", "dangling"]


class Report(BaseModel):
    """What the collector and the check print as JSON: each field, and its earlier name if it has one, until v2."""

    EARLIER: ClassVar[dict[str, str]] = {}

    @model_serializer(mode="wrap")
    def _add_earlier_names(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialize(self)
        return content | {earlier: content[name] for name, earlier in self.EARLIER.items()}


class Fault(Report):
    """A reference in a record or a manifest that does not hold.

    `missing`: the object does not exist. `altered`: it has another size or sha256. `disowned`: a service refers to it,
    but not the service that owns its bucket, whose collector will remove it. `dangling`: a record refers to a record
    that does not exist.
    """

    model_config = ConfigDict(frozen=True)
    EARLIER: ClassVar = {"referenced_by": "named_by", "description": "told"}

    kind: FaultKind
    what: str
    """The object, as bucket/key, or the record."""
    referenced_by: str
    """The record or the manifest."""
    description: str


@dataclass(frozen=True)
class ReferencedObject:
    """An object to which a record or a manifest refers, with the sha256 and size in the reference, if any."""

    bucket: str
    key: str
    by: str
    sha256: str = ""
    size: int | None = None

    @property
    def path(self) -> str:
        """The object as it appears in errors: bucket/key."""
        return f"{self.bucket}/{self.key}"

    def fault(self, kind: FaultKind, description: str) -> Fault:
        """Return a fault of this reference."""
        return Fault(kind=kind, what=self.path, referenced_by=self.by, description=description)

    def missing(self) -> Fault:
        """Return the fault that the object does not exist."""
        return self.fault("missing", f"there is no object {self.path}")


@dataclass
class References:
    """The references in the records of one service, and in the manifests to which these refer.

    If a manifest cannot be read, that is a fault, and `incomplete` is true from then on: its references are unknown.
    """

    blobs: Blobs
    objects: list[ReferencedObject] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    incomplete: bool = False

    def add(self, ref: ObjectRef, by: str) -> None:
        """Add a reference to an object."""
        self.objects.append(ReferencedObject(ref.bucket, ref.key, by, ref.sha256, ref.size))

    def add_key(self, bucket: str, key: str, by: str, sha256: str = "") -> None:
        """Add an object whose size is unknown."""
        self.objects.append(ReferencedObject(bucket, key, by, sha256))

    def read(self, ref: ObjectRef, by: str) -> bytes | None:
        """Add a manifest and return its bytes. Add a fault and return None if they are not those of the reference."""
        self.add(ref, by)
        try:
            return read_verified(self.blobs, ref)
        except (NotFound, InvalidInput) as error:
            self.incomplete = True
            kind: FaultKind = "missing" if isinstance(error, NotFound) else "altered"
            self.faults.append(self.objects[-1].fault(kind, str(error)))
            return None

    def dangling(self, record: str, by: str) -> None:
        """Add the fault that a record refers to a record that does not exist."""
        description = f"there is no {record}"
        self.faults.append(Fault(kind="dangling", what=record, referenced_by=by, description=description))


@dataclass(frozen=True)
class Owner:
    """A service as the owner of a bucket, or of none, with a function that collects the references of its records."""

    service: str
    bucket: str | None
    collect: Callable[[Records, References], None]

    def keys(self, found: References) -> set[str]:
        """Return the keys in its own bucket to which its records refer."""
        return {one.key for one in found.objects if one.bucket == self.bucket}

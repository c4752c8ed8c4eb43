"""What the records of a service reach in the object store: the one enumeration that collector and check share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput, NotFound
from services.common.records import Records

FaultKind = Literal["missing", "altered", "disowned", "dangling"]


class Fault(BaseModel):
    """Something that records or manifests name and that is not as they say.

    `missing`: there is no such object. `altered`: its size or its sha256 is another. `disowned`: a service names it,
    but not the service that owns its bucket, whose collector will remove it. `dangling`: a record names a record that
    is not there.
    """

    model_config = ConfigDict(frozen=True)

    kind: FaultKind
    what: str
    named_by: str
    told: str


@dataclass(frozen=True)
class Named:
    """An object that a record or a manifest names, with what is said there of its content."""

    bucket: str
    key: str
    by: str
    sha256: str = ""
    size: int | None = None

    @property
    def path(self) -> str:
        """The object as errors name it."""
        return f"{self.bucket}/{self.key}"


@dataclass
class References:
    """Collects what records name, and follows manifests to what these name.

    A manifest that cannot be read is a fault, and `blind` from then on: what it named is not known.
    """

    blobs: Blobs
    named: list[Named] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    blind: bool = False

    def add(self, ref: ObjectRef | Mapping[str, Any], by: str) -> ObjectRef:
        """An object that is named by reference."""
        found = ObjectRef.model_validate(ref)
        self.named.append(Named(found.bucket, found.key, by, found.sha256, found.size))
        return found

    def add_key(self, bucket: str, key: str, by: str, sha256: str = "") -> None:
        """An object that is named without its size."""
        self.named.append(Named(bucket, key, by, sha256))

    def read(self, ref: ObjectRef | Mapping[str, Any], by: str) -> bytes | None:
        """Add a manifest and return its bytes; None, and a fault, if they are not there as the reference says."""
        found = self.add(ref, by)
        try:
            return read_verified(self.blobs, found)
        except (NotFound, InvalidInput) as error:
            self.blind = True
            kind: FaultKind = "missing" if isinstance(error, NotFound) else "altered"
            self.faults.append(Fault(kind=kind, what=f"{found.bucket}/{found.key}", named_by=by, told=str(error)))
            return None

    def dangling(self, record: str, by: str) -> None:
        """A record names a record that is not there."""
        self.faults.append(Fault(kind="dangling", what=record, named_by=by, told=f"there is no {record}"))


@dataclass(frozen=True)
class Owner:
    """A service as collector and check see it: its bucket, if it writes one, and what its records reach."""

    service: str
    bucket: str | None
    collect: Callable[[Records, References], None]

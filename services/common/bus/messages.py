"""Messages on the bus: protobuf JSON in an envelope with the full name of its type."""

import json
import uuid
from dataclasses import dataclass, field

from google.protobuf import json_format, message, symbol_database

from services.common.errors import InvalidInput
from services.common.redaction import quoted

LONGEST_BODY = 1 << 20
"""Characters of a message's JSON: messages hold names and hashes, never content."""


@dataclass(frozen=True)
class Envelope:
    """One message: the full protobuf name of its type, its JSON, its id, the attempt (from 1), and its trace as a W3C
    traceparent."""

    type: str
    body: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    attempt: int = 1
    traceparent: str = ""

    @property
    def kind(self) -> str:
        """The type without its package."""
        return self.type.rpartition(".")[2]


def encode(content: message.Message) -> Envelope:
    """Put a protobuf message into an envelope."""
    body = json_format.MessageToJson(content, preserving_proto_field_name=True, indent=None)
    return Envelope(type=content.DESCRIPTOR.full_name, body=body)


def decode(envelope: Envelope) -> message.Message:
    """Return the protobuf message in an envelope.

    InvalidInput for an unknown type, or for a body that is broken, too long or too deep. Unknown fields are ignored: a
    newer sender may have added them.
    """
    try:
        content: message.Message = symbol_database.Default().GetSymbol(envelope.type)()
    except KeyError as error:
        raise InvalidInput(f"message {envelope.id} has the unknown type {quoted(envelope.type)}") from error
    if len(envelope.body) > LONGEST_BODY:
        raise InvalidInput(
            f"message {envelope.id} has {len(envelope.body)} characters; expected at most {LONGEST_BODY}"
        )
    try:
        json_format.Parse(envelope.body, content, ignore_unknown_fields=True)
    except (json_format.ParseError, RecursionError) as error:
        raise InvalidInput(f"message {envelope.id} is no {envelope.type}: {error}") from error
    return content


def ids_of(envelope: Envelope) -> dict[str, str]:
    """Return the fields `…_id` of a message and of its plan, by name; none for a body that is not a JSON object."""
    try:
        body = json.loads(envelope.body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(body, dict):
        return {}
    plan = body.get("plan")
    named = body | ({"plan_id": plan.get("plan_id")} if isinstance(plan, dict) else {})
    return {name: value for name, value in named.items() if name.endswith("_id") and isinstance(value, str)}

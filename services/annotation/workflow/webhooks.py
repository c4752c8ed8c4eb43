"""Sends settled labels and closed protocols to the receiver of webhooks."""

import json
from dataclasses import dataclass
from typing import Any

from primitives.annotation.v1.events_pb2 import LabelSettled, ProtocolClosed

from services.annotation import protocol_queries as queries
from services.annotation.clients.webhook import Webhook
from services.annotation.tables import ItemRow, ProtocolRow, UnitLabelRow
from services.common.bus import Replay
from services.common.errors import NotFound
from services.common.work.ports import Ports


@dataclass
class Webhooks:
    """The use cases of webhooks. Without a receiver, events are ignored.

    A message is sent at least once. Its id follows from what it reports, so that a receiver can ignore a second one.
    Messages may arrive in another order; `label_version` says which label is the newest.
    """

    ports: Ports
    receiver: Webhook | None

    def label_settled(self, event: LabelSettled) -> None:
        """Send the label that an adjudicator has settled."""
        if self.receiver is None:
            return
        key = event.study_id, event.protocol_version
        with self.ports.records.reading() as session:
            protocol = queries.protocol_row(session, key)
            label = session.get(UnitLabelRow, (*key, event.item, event.label_version))
            if label is None:
                raise NotFound(f"item {event.item} of protocol {key[0]}/{key[1]} has no label {event.label_version}")
            content = _protocol(protocol) | {
                "item": label.item,
                "layer": event.layer,
                "unit": event.unit,
                "part": session.get_one(ItemRow, (*key, event.item)).part,
                "label_version": label.label_version,
                "answers": label.answers,
                "reason": label.reason,
            }
            settled = label.saved
        message_id = f"label.{key[0]}.{key[1]}.{event.item}.{event.label_version}"
        self._send(message_id, {"type": "label.settled", "timestamp": settled.isoformat(), "data": content})

    def protocol_closed(self, event: ProtocolClosed) -> None:
        """Report that the labels of a protocol can be read."""
        if self.receiver is None:
            return
        key = event.study_id, event.protocol_version
        with self.ports.records.reading() as session:
            protocol = queries.protocol_row(session, key)
            content, closed = _protocol(protocol), protocol.closed
        assert closed is not None
        body = {"type": "protocol.closed", "timestamp": closed.isoformat(), "data": content}
        self._send(f"protocol.{key[0]}.{key[1]}", body)

    def replayed(self, _: LabelSettled | ProtocolClosed) -> Replay:
        """A message that the receiver has refused is sent to it again."""
        return Replay(True, "The receiver of webhooks is called again.")

    def _send(self, message_id: str, body: dict[str, Any]) -> None:
        assert self.receiver is not None
        self.receiver.call(message_id, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())


def _protocol(row: ProtocolRow) -> dict[str, Any]:
    return {
        "study_id": row.study_id,
        "protocol_version": row.version,
        "protocol_sha256": row.sha256,
        "title": row.title,
    }

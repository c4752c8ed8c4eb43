"""The queues and their bindings to events, as definitions for the broker and for tests."""

from typing import Any

from services.common.bus.amqp import EXCHANGE, PARKED, QUORUM

DELIVERY_LIMIT = 20
"""Deliveries after which the broker itself parks a message that kills its consumers."""

UNLIMITED = 1_000_000_000
"""Deliveries of a parked message. Reading one is a delivery, and RabbitMQ 4 and later would drop it after 20."""


def definitions(queues: dict[str, list[str]], vhost: str = "/") -> dict[str, Any]:
    """Return RabbitMQ's definitions of queues, from the types of events to which each queue is bound."""
    names = sorted(queues)
    return {
        "vhosts": [{"name": vhost}],
        "exchanges": [
            {
                "name": EXCHANGE,
                "vhost": vhost,
                "type": "topic",
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
        ],
        "queues": [
            {"name": name + suffix, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": QUORUM}
            for name in names
            for suffix in ("", PARKED)
        ],
        "bindings": [
            {
                "source": EXCHANGE,
                "vhost": vhost,
                "destination": name,
                "destination_type": "queue",
                "routing_key": type_,
                "arguments": {},
            }
            for name in names
            for type_ in sorted(queues[name])
        ],
        "policies": [
            _policy(vhost, name, definition)
            for queue in names
            for name, definition in ((queue, _limits(queue)), (queue + PARKED, {"delivery-limit": UNLIMITED}))
        ],
    }


def _limits(queue: str) -> dict[str, Any]:
    return {
        "delivery-limit": DELIVERY_LIMIT,
        "dead-letter-exchange": "",
        "dead-letter-routing-key": queue + PARKED,
        "dead-letter-strategy": "at-least-once",
        "overflow": "reject-publish",
    }


def _policy(vhost: str, name: str, definition: dict[str, Any]) -> dict[str, Any]:
    return {
        "vhost": vhost,
        "name": name,
        "pattern": f"^{name.replace('.', chr(92) + '.')}$",
        "apply-to": "queues",
        "priority": 1,
        "definition": definition,
    }

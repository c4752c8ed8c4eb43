"""Which queues there are, and which events each is bound to: read by the broker's definitions and by tests."""

from typing import Any

from services.common.bus.rabbit import EXCHANGE, PARKED, QUORUM

DELIVERY_LIMIT = 20
"""Deliveries after which the broker itself parks a message that kills whoever takes it."""


def definitions(queues: dict[str, list[str]], vhost: str = "/") -> dict[str, Any]:
    """RabbitMQ's definitions for queues by name with the types of events that each is bound to."""
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
            {
                "vhost": vhost,
                "name": name,
                "pattern": f"^{name.replace('.', chr(92) + '.')}$",
                "apply-to": "queues",
                "priority": 1,
                "definition": {
                    "delivery-limit": DELIVERY_LIMIT,
                    "dead-letter-exchange": "",
                    "dead-letter-routing-key": name + PARKED,
                    "dead-letter-strategy": "at-least-once",
                    "overflow": "reject-publish",
                },
            }
            for name in names
        ],
    }

"""Webhooks: settled labels and closed protocols reach the receiver that the settings name, signed."""

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from primitives.annotation.v1.events_pb2 import LabelSettled, ProtocolClosed
from starlette.responses import RedirectResponse, Response

from services.annotation.clients.webhook import Webhook, open_webhook, sign
from services.annotation.consumer import WEBHOOKS_QUEUE, create_consumers
from services.annotation.label_schemas import SettleLabelRequest
from services.annotation.main import open_consumers
from services.annotation.settings import AnnotationSettings
from services.annotation.tables import Base
from services.annotation.workflow.labels import Labels
from services.annotation.workflow.webhooks import Webhooks
from services.common.bus import Consumer, MemoryBus
from services.common.errors import InvalidInput, Unavailable
from services.common.records import Outbox
from services.common.work.parked import ParkedMessages
from tests.fakes.annotation import Annotation
from tests.fakes.reading import FORM, NOTHING, ReaderStudy
from tests.fakes.serving import serving_http

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
LIMIT_S = 60.0


@dataclass
class Receiver:
    """A receiver of webhooks: it records what it gets. It answers each message with the `statuses` of its kind in turn,
    then with 204."""

    statuses: dict[str, list[int]] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def app(self) -> FastAPI:
        """The receiver as an application."""
        app = FastAPI()

        @app.post("/labels")
        async def receive(request: Request) -> Response:
            body = await request.body()
            with self.arrived:
                self.headers.append(dict(request.headers))
                self.bodies.append(body)
                self.arrived.notify_all()
                statuses = self.statuses.get(request.headers["webhook-id"].partition(".")[0])
                status = statuses.pop(0) if statuses else 204
            return RedirectResponse("/labels", status) if status == 307 else Response(status_code=status)

        return app

    def wait(self, calls: int) -> None:
        """Wait until the receiver was called so often."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.bodies) >= calls, LIMIT_S), f"{len(self.bodies)} calls"


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def address(receiver: Receiver) -> Iterator[str]:
    """The address of the receiver."""
    with serving_http(receiver.app()) as origin:
        yield f"{origin}/labels"


@pytest.fixture
def study(annotation: Annotation) -> ReaderStudy:
    """A closed study in which two readers disagree on every unit."""
    study = ReaderStudy(annotation, ["Ana", "Ben"], patches=4)
    for name, answers in (("Ana", FORM), ("Ben", NOTHING)):
        for reading_id in study.ids(name):
            study.answer(name, reading_id, answers=answers)
    study.protocols.close(study.key)
    return study


def settle(study: ReaderStudy, item: int = 0) -> None:
    """Settle the label of a unit."""
    judge = study.annotation.readers.named("Judge")
    Labels(study.annotation.ports).settle(
        study.key, item, judge, SettleLabelRequest(answers=FORM, reason="clearly"), True
    )


def events(study: ReaderStudy) -> tuple[ProtocolClosed, LabelSettled]:
    """The last two events: the protocol was closed, and a label settled."""
    closed, settled = study.annotation.sent()[-2:]
    assert isinstance(closed, ProtocolClosed) and isinstance(settled, LabelSettled)
    return closed, settled


def test_the_signature_equals_the_example_of_the_standard() -> None:
    """The example is that of the standard's own libraries."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_settled_label_is_sent_to_the_receiver(
    study: ReaderStudy, receiver: Receiver, address: str, tmp_path: Path
) -> None:
    """The body is the label, without names of people; id, time and signature are the standard's. The closed protocol
    is reported before."""
    settle(study)
    closed, settled = events(study)
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    webhook = open_webhook(address, secret)
    assert webhook is not None
    webhooks = Webhooks(study.annotation.ports, webhook)
    webhooks.protocol_closed(closed)
    webhooks.label_settled(settled)
    first, second = (json.loads(body) for body in receiver.bodies)
    study_id, version = study.key
    assert first["type"] == "protocol.closed" and first["data"] == {
        "study_id": study_id, "protocol_version": version, "protocol_sha256": study.protocol.sha256, "title": "Test",
    }  # fmt: skip
    data = second["data"]
    assert second["type"] == "label.settled" and data["answers"] == FORM and data["reason"] == "clearly"
    assert (data["study_id"], data["item"], data["label_version"]) == (study_id, 0, 1)
    assert {"layer", "unit", "protocol_sha256"} <= data.keys()
    assert not any(name in str(receiver.bodies) for name in ("Ana", "Ben", "Judge"))
    headers = receiver.headers[1]
    assert headers["webhook-id"] == f"label.{study_id}.{version}.0.1"
    assert headers["webhook-signature"] == sign(
        KEY, headers["webhook-id"], headers["webhook-timestamp"], receiver.bodies[1]
    )
    webhooks.label_settled(settled)
    assert receiver.headers[2]["webhook-id"] == headers["webhook-id"], "the same message has the same id"


def test_a_receiver_that_is_away_gets_the_label_later(study: ReaderStudy, receiver: Receiver, address: str) -> None:
    """503 and 429 are retried until the receiver accepts; 400 parks the message, and an operator sends it again."""
    receiver.statuses = {"protocol": [503, 429], "label": [400]}
    bus = MemoryBus()
    ports = study.annotation.ports
    consumers = create_consumers(bus, study.annotation.studies, Webhooks(ports, Webhook(address, KEY)), 1)
    calls = next(one for one in consumers if one.queue == WEBHOOKS_QUEUE)
    calls.start()
    settle(study)
    Outbox(ports.records, Base.metadata.tables["outbox"], bus).flush()
    receiver.wait(4)
    wait_for_parked(bus)
    kinds = [headers["webhook-id"].partition(".")[0] for headers in receiver.headers]
    assert sorted(kinds) == ["label", "protocol", "protocol", "protocol"]
    parked = ParkedMessages(bus, [calls])
    [message] = parked.all().messages
    assert "refused message label." in message.reason and "with 400" in message.reason
    outcome = parked.replay(message.message_id, "operator")
    assert "called again" in outcome.effect
    receiver.wait(5)
    assert receiver.bodies[4] == receiver.bodies[kinds.index("label")]
    close(bus, calls)


def wait_for_parked(bus: MemoryBus) -> None:
    """Wait until a message is parked."""
    done = threading.Event()
    for _ in range(int(LIMIT_S * 100)):
        if bus.parked(WEBHOOKS_QUEUE):
            return
        done.wait(0.01)
    raise AssertionError("no message was parked")


def close(bus: MemoryBus, consumer: Consumer) -> None:
    """End the consumer's thread."""
    consumer.stop()
    bus.close()


def test_redirects_are_not_followed(receiver: Receiver, address: str) -> None:
    """A receiver cannot send labels elsewhere: a redirect is a refusal."""
    receiver.statuses = {"one": [307]}
    with pytest.raises(InvalidInput, match="refused message one with 307"):
        Webhook(address, KEY).call("one", b"{}")
    assert len(receiver.bodies) == 1


def test_a_receiver_that_does_not_answer_is_unavailable() -> None:
    """The error does not quote the address, which may hold a secret."""
    with pytest.raises(Unavailable, match=r"does not answer: ConnectError$"):
        Webhook("http://127.0.0.1:9/hidden", KEY).call("one", b"{}")


@pytest.mark.parametrize(
    ("address", "secret", "message"),
    [
        ("https://lab.example/labels", None, "it also needs PRIMITIVES_ANNOTATION_WEBHOOK_SECRET_FILE"),
        ("http://lab.example/labels", SECRET, "expected https://"),
        ("https://lab.example/labels", "whsec_not-base64!", "holds no base64"),
        ("https://lab.example/labels", "whsec_c2hvcnQ=", "holds 5 bytes"),
    ],
)
def test_bad_settings_are_refused_at_the_start(
    annotation: Annotation, tmp_path: Path, address: str, secret: str | None, message: str
) -> None:
    """The service does not start; the message names the setting and does not quote the secret."""
    file = None
    if secret is not None:
        file = tmp_path / "secret"
        file.write_text(secret)
    settings = AnnotationSettings(webhook_url=address, webhook_secret_file=file)
    with pytest.raises(InvalidInput, match=message) as raised:
        open_consumers(settings, annotation.ports, annotation.studies)
    assert secret is None or secret.removeprefix("whsec_") not in str(raised.value)


def test_without_a_receiver_nothing_is_called(study: ReaderStudy) -> None:
    """Events are ignored when the settings name no receiver."""
    settle(study)
    settings = AnnotationSettings()
    assert open_webhook(settings.webhook_url, settings.webhook_secret_file) is None
    closed, settled = events(study)
    webhooks = Webhooks(study.annotation.ports, None)
    webhooks.protocol_closed(closed)
    webhooks.label_settled(settled)

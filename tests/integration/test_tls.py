"""Every connection of the deployed form over TLS: broker, store and database, with certificates of one authority.
Callers trust the authorities in SSL_CERT_FILE. The database's URL names its authority, as libpq requires."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.servers import Pair, Server, start_postgres, start_rabbitmq, start_s3
from services.common.blobs import open_blobs
from services.common.bus import Envelope, open_bus
from services.common.errors import Unavailable
from services.common.records import open_records
from tests.fakes.certificates import Authority
from tests.servers import accessible_folder


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return Pair(authority.certificate, authority.key)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Iterator[Server]:
    server = start_rabbitmq(tmp_path_factory.mktemp("rabbitmq"), tls=pair)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Iterator[Server]:
    server = start_s3(tmp_path_factory.mktemp("s3"), tls=pair)
    yield server
    server.kill()


@pytest.fixture(scope="module")
def database(pair: Pair) -> Iterator[Server]:
    with accessible_folder() as folder:
        server = start_postgres(folder, tls=pair)
        yield server
        server.stop()


@pytest.fixture
def trusting(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer and shorter attempts, because every connection is refused again."""
    monkeypatch.setattr("services.common.bus.publisher.PUBLISH_LIMIT_S", 0.5)
    monkeypatch.setattr("services.common.blobs.s3.ATTEMPTS", 2)


def test_the_broker_over_tls(broker: Server, trusting: None) -> None:
    """A message is sent and delivered over amqps."""
    bus = open_bus(broker.url)
    try:
        bus.declare("tls.jobs", [])
        bus.park("tls.jobs", Envelope("kind", "{}", "one"), "kept")
        assert [parked.envelope.id for parked in bus.parked("tls.jobs")] == ["one"]
    finally:
        bus.close()


def test_a_broker_of_an_unknown_authority_is_refused(broker: Server, impatient: None) -> None:
    """There is no connection without trust, and none without TLS either."""
    for url in (broker.url, broker.url.replace("amqps", "amqp")):
        bus = open_bus(url)
        try:
            with pytest.raises(Unavailable):
                bus.declare("tls.jobs", [])
        finally:
            bus.close()


def test_the_store_over_tls(store: Server, trusting: None) -> None:
    """An object is put and read over https."""
    blobs = open_blobs(store.url)
    ref = blobs.put("tls-bucket", "a/b", b"content")
    assert blobs.get("tls-bucket", "a/b") == b"content"
    assert blobs.size("tls-bucket", "a/b") == ref.size


def test_a_store_of_an_unknown_authority_is_refused(store: Server, impatient: None) -> None:
    """There is no connection without trust."""
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        open_blobs(store.url).get("tls-bucket", "a/b")


def test_the_database_over_tls(database: Server, authority: Authority, tmp_path: Path) -> None:
    """Records use TLS and check the server's name. There is no connection without TLS or without trust."""
    local = database.url.replace("127.0.0.1", "localhost")
    records = open_records(f"{local}?sslmode=verify-full&sslrootcert={authority.bundle}&schema=tls")
    with records.reading() as session:
        assert session.connection().exec_driver_sql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").scalar()
    records.close()
    other = Authority(tmp_path / "other")
    for options in ("sslmode=disable", f"sslmode=verify-full&sslrootcert={other.bundle}"):
        with pytest.raises(Unavailable):
            open_records(f"{local}?{options}&schema=tls")

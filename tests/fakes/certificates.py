"""A certificate authority for tests, and a certificate of it for localhost."""

from pathlib import Path

import trustme


class Authority:
    """PEM files: the `bundle` that callers trust, and the `certificate` and `key` of a server."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        pair = authority.issue_cert("localhost", "127.0.0.1")
        self.bundle, self.certificate, self.key = (folder / name for name in ("ca.pem", "server.pem", "server.key"))
        authority.cert_pem.write_to_path(str(self.bundle))
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
        pair.private_key_pem.write_to_path(str(self.key))

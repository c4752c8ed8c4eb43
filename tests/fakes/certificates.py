"""An authority of its own for tests, and a certificate of it for localhost."""

from pathlib import Path

import trustme


class Authority:
    """`bundle` is what callers trust, `certificate` and `key` are a server's, all PEM files."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        pair = authority.issue_cert("localhost", "127.0.0.1")
        self.bundle, self.certificate, self.key = (folder / name for name in ("ca.pem", "server.pem", "server.key"))
        authority.cert_pem.write_to_path(str(self.bundle))
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
        pair.private_key_pem.write_to_path(str(self.key))

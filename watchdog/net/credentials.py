"""How we know a server and it knows us, as the files say it: of sources and of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import model_validator

from watchdog.core.model import ConnectionModel, FilePath, SecretFile
from watchdog.net import secrets

if TYPE_CHECKING:
    from watchdog.net.tls import TlsFiles


class BasicAuth(ConnectionModel):
    """A name and a password, sent with each request (HTTP basic authentication)."""

    user: str
    """The name."""
    password_file: SecretFile
    """File with the password; read anew each time, so it may be changed."""

    def authorization(self, key: str) -> str:
        """The value of the header. `key`: where this stands in the entry. Raises SecretError."""
        password = secrets.read_secret(self.password_file, f"{key}.password_file").rstrip("\r\n")
        return secrets.basic_authorization(self.user, password)


class TlsSettings(ConnectionModel):
    """How the server is known, and how it knows us, where the system's certificates will not do."""

    ca_file: FilePath | None = None
    """Certificates (PEM) that the server's must come from, in place of those that the system knows."""
    cert_file: FilePath | None = None
    """Our own certificate (PEM), for a server that wants one."""
    key_file: SecretFile | None = None
    """Its key, not encrypted; not needed where it stands in `cert_file`, too."""

    @model_validator(mode="after")
    def _validate_key(self) -> TlsSettings:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("a key without a certificate — say cert_file")
        return self

    def files(self) -> TlsFiles:
        from watchdog.net.tls import TlsFiles  # and with it ssl: paid when something is asked

        return TlsFiles(self.ca_file, self.cert_file, self.key_file)

"""What a TLS connection is made with when the system's certificates are not enough: a CA's, and one of our own."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple, NoReturn

from watchdog.net.errors import HttpError
from watchdog.net.secrets import ensure_trusted


class TlsFiles(NamedTuple):
    """Full paths; None: not said."""

    ca_file: str | None = None
    """Certificates that a server's must come from, instead of the system's."""
    cert_file: str | None = None
    """Our own certificate, with what it comes from."""
    key_file: str | None = None
    """Its key, where it does not stand in the same file."""


def open_context(files: TlsFiles) -> ssl.SSLContext:
    """For one connection: what has been exchanged since the last one is in force. Raises HttpError, SecretError.

    Whoever could change the CA's file would choose whom we believe, so it is looked after like a secret.
    """
    for name, file in files._asdict().items():
        if file is not None:
            ensure_trusted(file, f"tls.{name}")
            if not Path(file).is_file():  # a FIFO would be waited for
                raise _error(f"tls.{name} {file} is no regular file", "name the file itself")
    try:
        context = ssl.create_default_context(cafile=files.ca_file)
    except OSError as fault:
        raise _error(
            f"tls.ca_file {files.ca_file} cannot be used: {_why(fault)}", "it holds certificates as PEM"
        ) from None
    if files.cert_file is not None:
        try:
            context.load_cert_chain(files.cert_file, files.key_file, password=_refuse_password)
        except OSError as fault:
            raise _error(
                f"tls.cert_file {files.cert_file} cannot be used: {_why(fault)}",
                "it holds a certificate as PEM, and its key stands there, too, or in tls.key_file",
            ) from None
    return context


def _refuse_password() -> NoReturn:
    """Asked for when the key is encrypted; the library would ask the terminal."""
    raise _error(
        "the key of tls.cert_file is encrypted", "keep one that is not, in a file that only the daemon may read"
    )


def _error(what: str, cure: str) -> HttpError:
    return HttpError("tls", what, cure)


def _why(fault: OSError) -> str:
    reason = fault.reason if isinstance(fault, ssl.SSLError) else fault.strerror
    return str(reason or type(fault).__name__)

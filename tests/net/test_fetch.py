"""The page that is read every second: a connection that is kept, and what is not wholly unpacked."""

from __future__ import annotations

import gzip
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.conftest import LONG_TIMEOUT, SHORT_TIMEOUT
from tests.support.raw_http_server import (
    LOOPBACK_CERTIFICATE,
    Behaviour,
    RawHttpServer,
    StartServer,
    never_respond,
    respond_with,
)
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError
from watchdog.net.fetch import FetchedPage, HttpFetcher
from watchdog.net.secrets import SecretError
from watchdog.net.tls import TlsFiles

PAGE = respond_with("equity 5\n")


def get(fetcher: HttpFetcher, server: RawHttpServer, timeout: int = LONG_TIMEOUT, max_bytes: int = 1 << 20) -> bytes:
    return fetcher.get(server.url, {}, timeout, max_bytes).body


def test_the_connection_is_kept_between_reads(start_server: StartServer) -> None:
    server, fetcher = start_server(PAGE), HttpFetcher()
    for _ in range(3):
        get(fetcher, server)

    assert (len(server.requests), server.connections) == (3, 1)


def test_another_server_is_asked_on_a_connection_of_its_own(start_server: StartServer) -> None:
    fetcher = HttpFetcher()

    assert get(fetcher, start_server(PAGE)) == b"equity 5\n"
    assert get(fetcher, start_server(respond_with("equity 6\n"))) == b"equity 6\n"


def test_a_server_that_closed_the_connection_is_asked_on_a_new_one(start_server: StartServer) -> None:
    answer, fetcher = respond_with("equity 5\n", headers={"Connection": "close"}), HttpFetcher()

    def once(server: RawHttpServer, connection: socket.socket) -> None:
        answer(server, connection)

    server = start_server(once)
    for _ in range(3):
        assert get(fetcher, server)


def test_a_read_after_a_failed_one_starts_afresh(start_server: StartServer) -> None:
    server, fetcher = start_server(never_respond), HttpFetcher()
    with pytest.raises(HttpError):
        get(fetcher, server, SHORT_TIMEOUT)
    server.behaviour = PAGE

    assert get(fetcher, server) == b"equity 5\n"


def test_a_connection_that_a_page_was_refused_on_is_not_used_again(start_server: StartServer) -> None:
    server, fetcher = start_server(respond_with("equity 5\n" * 200)), HttpFetcher()
    with pytest.raises(HttpError):
        get(fetcher, server, max_bytes=1_000)
    server.behaviour = PAGE

    assert get(fetcher, server)
    assert server.connections == 2


@pytest.mark.parametrize(
    ("packed", "encoding", "said"),
    [
        (gzip.compress(b"equity 5\n", mtime=0)[:-9], "gzip", "broke off half-way"),
        (b"equity 5\n", "br", "could not be unpacked"),
    ],
)
def test_what_is_not_wholly_unpacked_yields_nothing(
    packed: bytes, encoding: str, said: str, start_server: StartServer
) -> None:
    with pytest.raises(HttpError, match=said):
        get(HttpFetcher(), start_server(respond_with(packed, headers={"Content-Encoding": encoding})))


def test_the_type_of_the_page_is_told_in_lower_case_without_parameters(start_server: StartServer) -> None:
    server = start_server(respond_with("a 1\n", headers={"Content-Type": "Text/Plain; version=0.0.4"}))

    assert HttpFetcher().get(server.url, {}, LONG_TIMEOUT, 1_000).content_type == "text/plain"


# ─ requests with a body ─


def post(fetcher: HttpFetcher, url: str, body: bytes = b"{}", timeout: int = LONG_TIMEOUT) -> FetchedPage:
    return fetcher.request("POST", url, {}, Deadline.after(timeout), 1_000, body)


def test_a_body_is_sent_whole_on_a_connection_that_is_kept(start_server: StartServer) -> None:
    server, fetcher = start_server(PAGE), HttpFetcher()
    for body in (b"x" * 500_000, b"", b'{"a": 1}'):
        assert post(fetcher, server.url, body).body == b"equity 5\n"

    assert [len(body) for body in server.bodies] == [500_000, 0, 8]
    assert all(request.startswith("POST /metrics HTTP/1.1") for request in server.requests)
    assert "Content-Length: 0\r\n" in server.requests[1]
    assert server.connections == 1


def test_what_is_posted_on_a_connection_that_was_closed_meanwhile_is_posted_once_more(
    start_server: StartServer,
) -> None:
    def close_at_the_second(server: RawHttpServer, connection: socket.socket) -> bool:
        return len(server.requests) != 2 and PAGE(server, connection) is True

    server, fetcher = start_server(close_at_the_second), HttpFetcher()
    for body in (b"1", b"2"):
        assert post(fetcher, server.url, body).body

    assert server.bodies == ["1", "2", "2"]


def close_at_once(server: RawHttpServer, connection: socket.socket) -> None:
    """Takes the request and hangs up."""


@pytest.mark.parametrize(("behave", "kind"), [(close_at_once, "protocol"), (never_respond, "deadline")])
def test_what_is_posted_on_a_new_connection_is_sent_at_most_once(
    behave: Behaviour, kind: str, start_server: StartServer
) -> None:
    server = start_server(behave)
    with pytest.raises(HttpError) as caught:
        post(HttpFetcher(), server.url, timeout=1_000)

    assert (caught.value.kind, caught.value.may_have_happened) == (kind, True)
    assert len(server.requests) == 1


def test_what_nobody_listens_to_has_not_happened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(HttpError) as caught:
        post(HttpFetcher(), f"http://127.0.0.1:{port}/")

    assert (caught.value.kind, caught.value.may_have_happened) == ("refused", False)


def test_a_status_that_is_not_expected_is_told(start_server: StartServer) -> None:
    server, fetcher = start_server(respond_with("no", "401 Unauthorized")), HttpFetcher()
    with pytest.raises(HttpError) as caught:
        post(fetcher, server.url)

    assert caught.value.status == 401
    page = fetcher.request("GET", server.url, {}, Deadline.after(LONG_TIMEOUT), 1_000, expect={200, 401})
    assert (page.status, page.body) == (401, b"no")


# ─ certificates ─


@pytest.fixture
def secure_server() -> Iterator[RawHttpServer]:
    server = RawHttpServer(PAGE, secure=True, client_ca=LOOPBACK_CERTIFICATE)
    yield server
    server.close()


def pem(folder: Path, *, certificate: bool = True, key: bool = True) -> str:
    """A file with one of the two, or both."""
    parts = LOOPBACK_CERTIFICATE.read_text().split("-----BEGIN ")[1:]
    chosen = [part for part in parts if (certificate if part.startswith("CERT") else key)]
    file = folder / f"{certificate}{key}.pem"
    file.write_text("".join(f"-----BEGIN {part}" for part in chosen))
    return str(file)


def test_a_ca_of_ones_own_is_believed_and_a_certificate_of_ones_own_is_shown(
    secure_server: RawHttpServer, tmp_path: Path
) -> None:
    ca, cert, key = pem(tmp_path), pem(tmp_path, key=False), pem(tmp_path, certificate=False)
    for files in (TlsFiles(ca, cert, key), TlsFiles(ca, ca)):
        assert get(HttpFetcher(files), secure_server) == b"equity 5\n"


def test_without_either_there_is_no_answer(secure_server: RawHttpServer, tmp_path: Path) -> None:
    for files in (TlsFiles(pem(tmp_path)), TlsFiles(None, pem(tmp_path))):
        with pytest.raises(HttpError):
            get(HttpFetcher(files), secure_server)

    assert secure_server.requests == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on PATH (Debian: apt-get install openssl)")
def test_a_key_that_is_encrypted_asks_nobody_for_a_password(secure_server: RawHttpServer, tmp_path: Path) -> None:
    good, lone, file = pem(tmp_path), pem(tmp_path, key=False), str(tmp_path / "encrypted.pem")
    argv = ["openssl", "pkcs8", "-topk8", "-in", good, "-out", file, "-passout", "pass:hush"]
    subprocess.run(argv, check=True, capture_output=True)

    with pytest.raises(HttpError, match="is encrypted — "):
        get(HttpFetcher(TlsFiles(good, lone, file)), secure_server)


def test_files_that_cannot_be_used_are_named_with_the_cure(secure_server: RawHttpServer, tmp_path: Path) -> None:
    good, lone, text = pem(tmp_path), pem(tmp_path, key=False), tmp_path / "text"
    text.write_text("hush")
    cases = {
        TlsFiles(str(text)): f"tls.ca_file {text} cannot be used",
        TlsFiles(good, lone): f"tls.cert_file {lone} cannot be used",
        TlsFiles(good, lone, str(text)): f"tls.cert_file {lone} cannot be used",
        TlsFiles(good, lone, str(tmp_path)): "is no regular file",
    }
    for files, said in cases.items():
        with pytest.raises(HttpError, match=r".+ — .+") as caught:
            get(HttpFetcher(files), secure_server)
        assert said in str(caught.value)
        assert caught.value.kind == "tls"
        assert "hush" not in str(caught.value)


def test_files_that_others_could_change_are_not_used(secure_server: RawHttpServer, tmp_path: Path) -> None:
    file = Path(pem(tmp_path))
    file.chmod(0o666)
    with pytest.raises(SecretError, match=r"tls\.ca_file .* everybody may write"):
        get(HttpFetcher(TlsFiles(str(file))), secure_server)

    with pytest.raises(SecretError, match=r"tls\.ca_file .* cannot be read: No such file"):
        get(HttpFetcher(TlsFiles(str(tmp_path / "gone"))), secure_server)

"""What the sources that ask an HTTP API have in common: who we are, how we know the server, and how long we wait."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from watchdog.core.errors import SourceError
from watchdog.core.model import Millis, Secret, SecretFile
from watchdog.core.protocols import SourceCache
from watchdog.net import secrets
from watchdog.net.address import redact_url, validate_url
from watchdog.net.credentials import BasicAuth, TlsSettings
from watchdog.net.deadline import Deadline
from watchdog.net.http import validate_header
from watchdog.sources.interval import READ_DEADLINE_MS, Interval
from watchdog.sources.source_model import SourceModel

if TYPE_CHECKING:
    from watchdog.net.fetch import HttpFetcher

_HEADERS = {"Accept-Encoding": "gzip", "User-Agent": "trading-watchdog"}


def _validate_headers(headers: dict[str, Secret]) -> dict[str, Secret]:
    for name, value in headers.items():
        validate_header(name, value.get_secret_value())
    return headers


Headers = Annotated[dict[str, Secret], AfterValidator(_validate_headers)]
_SHORTEST_SECRET = 4
"""Characters; what is shorter stands in many a word."""
_SHORTEST_WORD = 8
"""The same of what may be a secret, and may be an ordinary word."""
_WORD = re.compile(r'[^\s"\\]+')


class HttpSource(SourceModel):
    """Base of the sources that ask an HTTP API."""

    url: str
    """Address; http or https. Redirects are not followed and proxies of the environment not used."""
    headers: Headers = Field(default_factory=dict)
    """More request headers."""
    token_file: SecretFile | None = None
    """File with a bearer token; read anew each time, so it may be rotated."""
    basic: BasicAuth | None = None
    """Name and password, for HTTP basic authentication."""
    tls: TlsSettings | None = None
    """For https: a CA of your own, a certificate of ours."""
    timeout: Interval | None = None
    """Most time one read may take in all. Not said: `every`, within 500 ms and 10 s."""
    max_bytes: int = Field(2**20, ge=1)
    """Most bytes of an answer, unpacked. A larger one is refused whole."""

    @field_validator("url")
    @classmethod
    def _validate_url(cls, url: str) -> str:
        return validate_api_url(url)

    @model_validator(mode="after")
    def _validate_authorization(self) -> HttpSource:
        said = self._authorizations()
        if len(said) > 1:
            raise ValueError(f"{' and '.join(said)} say the same thing — keep one")
        if self.tls is not None and not self.url.startswith("https:"):
            raise ValueError("tls is of no use to an address that is not https — write https, or leave it out")
        return self

    def _authorizations(self) -> list[str]:
        """All that is said of who we are."""
        said = [name for name in ("token_file", "basic") if getattr(self, name) is not None]
        return said + ["an Authorization header" for name in self.headers if name.lower() == "authorization"]

    @property
    def deadline(self) -> Millis:
        """A read ends by itself, but for the looking up of a name."""
        return self.timeout if self.timeout is not None else READ_DEADLINE_MS

    @property
    def identity(self) -> str:
        return re.split("[?#]", self.url)[0]

    def read_deadline(self) -> Deadline:
        """That of a read which begins now."""
        return Deadline.after(self.timeout if self.timeout is not None else max(500, min(self.every, 10_000)))

    def request_headers(self, accept: str = "application/json") -> dict[str, str]:
        """Raises SecretError. `accept`: what the answer should be."""
        headers = plain_headers(self.headers, accept)
        if self.token_file is not None:
            headers["Authorization"] = f"Bearer {secrets.read_token(self.token_file)}"
        if self.basic is not None:
            headers["Authorization"] = self.basic.authorization("basic")
        return headers

    def fetcher(self, cache: SourceCache) -> HttpFetcher:
        """The kept connection."""
        from watchdog.net.fetch import HttpFetcher  # http.client and ssl: paid when something is asked

        if "fetcher" not in cache:
            cache["fetcher"] = HttpFetcher(None if self.tls is None else self.tls.files())
        fetcher: HttpFetcher = cache["fetcher"]
        return fetcher


def validate_api_url(url: str) -> str:
    """Raises ValueError with the cure."""
    cure = "give its name and password as basic: {user: …, password_file: …}"
    return validate_url(url, "http://127.0.0.1:8080/api/v1/status", credentials_cure=cure)


def plain_headers(more: dict[str, Secret], accept: str = "application/json") -> dict[str, str]:
    """What goes with every request, and what an entry adds to it."""
    headers = {"Accept": accept, **_HEADERS}
    for name, value in more.items():
        set_header(headers, name, value.get_secret_value())
    return headers


def set_header(headers: dict[str, str], name: str, value: str) -> None:
    """In place of one of ours, however it is written."""
    for mine in [mine for mine in headers if mine.lower() == name.lower()]:
        del headers[mine]
    headers[name] = value


def secret_texts(headers: Mapping[str, str]) -> list[str]:
    """What of a request's headers may not be shown, should the server repeat it: all that is not the same for everybody."""
    values = [value for name, value in headers.items() if name != "Accept" and _HEADERS.get(name) != value]
    values += [secrets.password_of(value) for value in values]
    return [text for value in values for text in (value, value.partition(" ")[2]) if len(text) >= _SHORTEST_SECRET]


def sent_secrets(url: str, headers: Mapping[str, str], body: str = "", names: str = "") -> list[str]:
    """The same of a whole request: a key may stand in its query or in its body, too. `names`: what errors tell of the entry
    itself, in which words of a body may stand as well."""
    parts = urlsplit(url)
    told = f"{parts.netloc}{parts.path} {names}"
    said = [value for _, value in parse_qsl(parts.query)] + _WORD.findall(body)
    long = [text for text in said if len(text) >= _SHORTEST_WORD and not _overlap(text, told)]
    return [*secret_texts(headers), *long, *map(quote, long)]


def _overlap(text: str, told: str) -> bool:
    return any(text[start : start + _SHORTEST_WORD] in told for start in range(len(text) - _SHORTEST_WORD + 1))


def at_address(url: str, fault: SourceError, note: str = "") -> SourceError:
    """The same, with where it was found."""
    return SourceError(f"{redact_url(url)}{note}: {fault}")

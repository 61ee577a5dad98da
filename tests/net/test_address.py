from __future__ import annotations

import pytest

from watchdog.net.address import redact_url, validate_url

EXAMPLE = "http://127.0.0.1:8000/metrics"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/metrics",
        "https://bot.example.com",
        "http://trading_bot:80/",
        "http://[::1]:9090/a?b=c#d",
        "http://münchen.example/ä",
        'http://h/federate?match[]={job="bot"}',
        "http://h.example./%20x",
        "http://user:password@h/",
    ],
)
def test_an_address_stays_as_it_is_written(url: str) -> None:
    assert validate_url(url, EXAMPLE) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hush",
        "127.0.0.1:8000/hush",
        "ftp://host/hush",
        "file:///hush",
        "http:///hush",
        "http://:80/hush",
        "http://h:0/hush",
        "http://h:99999/hush",
        "http://h:eighty/hush",
        "http://h/hush hush",
        "http://h/hush\n",
        "http://h/\x00hush",
        "http://h/\u2028hush",
        "http://{hush}/",
        "http://h\\@hush/",
        "http://[hush/",
        "http://h;hush/",
    ],
)
@pytest.mark.parametrize("cure", [None, "leave the password out"])
def test_what_is_no_address_is_refused_without_quoting_it(url: str, cure: str | None) -> None:
    with pytest.raises(ValueError, match=f"an address reads like {EXAMPLE}, its port from 1 to 65535") as caught:
        validate_url(url, EXAMPLE, credentials_cure=cure)

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://user:hush@h/", "http://user@h/", "https://:hush@h/", "http://@h/"])
def test_name_and_password_are_refused_where_an_address_is_shown(url: str) -> None:
    with pytest.raises(ValueError, match="shown in logs and in the journal — put it in token_file") as caught:
        validate_url(url, EXAMPLE, credentials_cure="put it in token_file")

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://ada:hush@127.0.0.1:9/metrics?key=hush#hush", "http://127.0.0.1:9/metrics"),
        ("http://ada:hu@sh@[::1]:9/metrics", "http://[::1]:9/metrics"),
        ("https://h", "https://h"),
        ("http://[hush/", "the address"),
    ],
)
def test_what_may_be_secret_in_an_address_is_not_shown(url: str, shown: str) -> None:
    assert redact_url(url) == shown

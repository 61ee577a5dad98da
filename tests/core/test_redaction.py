from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.core.redaction import BLOT, blot_text, blot_value, is_secret_name, looks_secret

SECRET_NAMES = [
    "key", "api_key", "apiKey", "API_SECRET", "exchange-token", "password", "passwd", "passphrase", "PRIVATE_KEY", "privateKey",
    "webhook_url", "SENTRY_DSN", "credentials", "auth", "pwd", "jwt", "mnemonic", "seed", "pin", "session", "signature", "apikey",
]  # fmt: skip
PLAIN_NAMES = [
    "monkeys",
    "pair_whitelist",
    "mode",
    "stake_amount",
    "passes",
    "keyboard",
    "spin",
    "author",
    "max_open_trades",
]
SHAPES = [
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----",
    "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIGg",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "xoxb-123456789012-abcdefABCDEF",
    "AKIAIOSFODNN7EXAMPLE",
    "123456789:AAF0vz3Bd9qJ5oXk7Lr2Wc8Nt4Ys6Zm1Qe9",
    "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
    "0123456789abcdef0123456789abcdef",
    "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
]
PLAIN = [
    "BTC/USDT", "features_hmm_v2_enabled_for_all_users_2024", "2024-01-01T00:00:00+00:00",
    "user_data/strategies/HMMStrategyV2.py",
    "BTC/USDT:USDT-240628-70000", "https://api.binance.com/api/v3/ticker", "1700000000000",
    "0.0000001", "ExponentialMovingAverage200",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_name_says_that_it_is_a_secret(name: str) -> None:
    assert is_secret_name(name)
    assert blot_value(name, "'hunter2'") == BLOT
    assert blot_value(["x", name, "y"], "hunter2") == BLOT
    for written in (
        "{}: hunter2",
        '"{}": "hunter2", "mode": 5',
        "{}=hunter2",
        "export {}='hunter2'",
        "X['{}'] = 'hunter2'",
    ):
        assert "hunter2" not in blot_text(written.format(name)), written


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_a_plain_name_hides_nothing(name: str) -> None:
    assert not is_secret_name(name)
    assert blot_text(f'{name}: "off", x = 5') == f'{name}: "off", x = 5'


@pytest.mark.parametrize("text", SHAPES)
def test_the_shape_of_a_text_says_that_it_is_a_secret(text: str) -> None:
    assert looks_secret(text)
    assert text not in blot_value("name", f"'{text}'")
    assert BLOT in blot_text(f"said {text}")


@pytest.mark.parametrize("text", PLAIN)
def test_what_bots_are_configured_with_looks_like_no_secret(text: str) -> None:
    assert not looks_secret(text)
    assert blot_value("name", text) == text


@pytest.mark.parametrize("value", ["true", "False", "null", "None", "''", '""', "", "[]", "off"])
def test_a_truth_value_and_nothing_are_no_secrets(value: str) -> None:
    assert blot_value("private_key", value) == value
    assert blot_text(f"private_key: {value}") == f"private_key: {value}"


def test_a_number_is_a_secret_unless_it_counts() -> None:
    assert blot_value("pin", "1234") == BLOT
    assert blot_value("max_tokens", "1234") == "1234"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"key": "a\\"b, c", "mode": "live"}', '{"key": "***", "mode": "live"}'),
        ("{exchange: {key: x, secret: y}, mode: live}", "{exchange: {key: ***, secret: ***}, mode: live}"),
        ("keys: [a, b]\nmode: live", "keys: ***\nmode: live"),
        ("postgres://ada:pw@db/x", "postgres://***@db/x"),
        ("https://hooks.slack.com/services/T0/B0/XyZ123", "https://hooks.slack.com/services/***"),
        ("https://x/y?token=abc&mode=live", "https://x/y?token=***&mode=live"),
        ("bot --token abc --mode live", "bot --token ***"),
        ("mode=live key=abc def", "mode=live key=***"),
        ("the key is not there", "the key is not there"),
        ("A = '''x\ny'''", "A = '''x\ny'''"),
        ("SECRET = '''x\ny'''\nB = 1", "SECRET = '***'\nB = 1"),
    ],
)
def test_what_stands_beside_a_secret_stays(text: str, shown: str) -> None:
    assert blot_text(text) == shown


def test_code_that_only_names_a_secret_stays() -> None:
    code = "for key in keys:\n    token = read(key=key)\n    secret = 'x'\n    pin = 1234\n"

    assert blot_text(code, is_code=True) == code.replace("'x'", "'***'").replace("1234", "***")


@given(st.text("ab1'\"\\:={}[], \n#-", max_size=30))
def test_any_text_is_gone_through(text: str) -> None:
    shown = blot_text(f'{text}\n"api_key": "hunter2"\n')

    assert "hunter2" not in shown or text.count('"') % 2 or text.count("'") % 2
    assert blot_text(text.replace(":", " ").replace("=", " ")) == text.replace(":", " ").replace("=", " ")

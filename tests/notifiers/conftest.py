from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fake_chats import FakeSlack, FakeTelegram


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def slack_server() -> Iterator[FakeSlack]:
    fake = FakeSlack()
    yield fake
    fake.close()


@pytest.fixture
def telegram_server() -> Iterator[FakeTelegram]:
    fake = FakeTelegram()
    yield fake
    fake.close()

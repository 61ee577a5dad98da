from __future__ import annotations

import json
import math
import socket
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.promql import prometheus_server
from tests.support.raw_http_server import RawHttpServer, StartServer, never_respond, respond_with
from watchdog.core.errors import SourceError
from watchdog.core.model import Labels, Sample
from watchdog.core.protocols import ExplainedSource
from watchdog.sources import PrometheusSource
from watchdog.sources.prometheus_answer import error_text, parse_vector

NOW = 1_700_000_000_000
AT = 1_699_999_999
JSON = {"Content-Type": "application/json"}


def vector(*series: tuple[dict[str, str], object], **more: object) -> dict[str, Any]:
    result = [{"metric": metric, "value": [AT, value]} for metric, value in series]
    return {"status": "success", "data": {"resultType": "vector", "result": result}, **more}


def respond_json(said: object, status: str = "200 OK") -> Any:
    return respond_with(json.dumps(said), status, JSON)


def make_source(server: RawHttpServer | str, **fields: Any) -> PrometheusSource:
    url = server if isinstance(server, str) else server.url.removesuffix("/metrics")
    fields = {"type": "prometheus", "url": url, "timeout": "20s", "queries": {"equity": "equity"}} | fields
    return PrometheusSource.model_validate(fields)


def read(source: PrometheusSource) -> list[Sample]:
    return source.read({}, {}, NOW)


def error_of(source: PrometheusSource) -> str:
    with pytest.raises(SourceError, match=r".+ — .+") as caught:
        read(source)
    assert caught.value.__cause__ is None
    assert str(caught.value).isprintable()
    return str(caught.value)


def forms(server: RawHttpServer) -> list[dict[str, str]]:
    return [dict(urllib.parse.parse_qsl(body)) for body in server.bodies]


def test_the_series_of_a_vector_come_under_the_name_of_the_query(start_server: StartServer) -> None:
    answer = vector(({"__name__": "x", "bot": "a", "empty": ""}, "5"), ({"__name__": "x", "bot": "b"}, "-0.5e1"))
    server = start_server(respond_json(answer))

    assert read(make_source(server)) == [
        Sample("equity", (("bot", "a"),), AT * 1_000, 5.0),
        Sample("equity", (("bot", "b"),), AT * 1_000, -5.0),
    ]
    assert server.requests[0].startswith("POST /api/v1/query HTTP/1.1")
    (form,) = forms(server)
    assert form["query"] == "equity"
    assert form["timeout"].removesuffix("ms").isdigit()
    assert (form["partial_response"], form["deny_partial_response"]) == ("false", "1")
    assert "time" not in form


def test_a_scalar_is_one_series_and_what_is_no_finite_number_stays_what_it_is(start_server: StartServer) -> None:
    def scalar(text: str) -> Any:
        return respond_json({"status": "success", "data": {"resultType": "scalar", "result": [AT, text]}})

    server = start_server(scalar("NaN"))
    (nan,) = read(make_source(server))
    assert math.isnan(nan.v)
    for text, value in (("+Inf", math.inf), ("-Inf", -math.inf), ("1e+06", 1e6)):
        server.behaviour = scalar(text)
        assert read(make_source(server)) == [Sample("equity", (), AT * 1_000, value)]


def test_a_server_whose_clock_is_ahead_answers_now(start_server: StartServer) -> None:
    answer = vector(({}, "5"))
    answer["data"]["result"][0]["value"][0] = NOW / 1_000 + 60.25

    assert read(make_source(start_server(respond_json(answer))))[0].t == NOW


def test_several_queries_are_asked_on_one_connection_at_one_time(start_server: StartServer) -> None:
    server = start_server(respond_json(vector(({}, "5"))))
    found = read(make_source(server, queries={"a": "x", "b": "sum(y)", "c": "z"}))

    assert [each.name for each in found] == ["a", "b", "c"]
    assert [form.get("time") for form in forms(server)] == [None, f"{AT}.000", f"{AT}.000"]
    assert server.connections == 1


def test_a_query_that_returns_nothing_delivers_nothing(start_server: StartServer) -> None:
    assert read(make_source(start_server(respond_json(vector())))) == []


def test_tenant_and_token_go_with_each_query(start_server: StartServer) -> None:
    server = start_server(respond_json(vector()))
    read(make_source(server.url + "/prefix/", tenant="team-a", headers={"X-Key": "k"}))

    assert server.requests[0].startswith("POST /metrics/prefix/api/v1/query ")
    assert "X-Scope-OrgID: team-a\r\n" in server.requests[0]
    assert "X-Key: k\r\n" in server.requests[0]


# ─ answers that cannot be used ─

OTHER = {"status": "success", "data": {"resultType": "matrix", "result": []}}
HISTOGRAM = {
    "status": "success",
    "data": {"resultType": "vector", "result": [{"metric": {}, "histogram": [AT, {"count": "1"}]}]},
}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (respond_json(OTHER), "query equity: the answer is a matrix"),
        (respond_json(HISTOGRAM), "the answer holds histograms"),
        (respond_json(vector(({"a": "1", "__name__": "x"}, "1"), ({"a": "1"}, "2"))), "have the labels {a=1}"),
        (respond_json(vector(({}, "five"))), "a value of the answer cannot be read"),
        (respond_json(vector(({}, 5))), "a value of the answer cannot be read"),
        (respond_json(vector(({"a": 1}, "5"))), "a value of the answer cannot be read"),  # type: ignore[dict-item]
        (respond_json(vector(*(({"n": str(n)}, "1") for n in range(9)))), "more than 8 series"),
        (respond_json(vector(({}, "1"), warnings=["store\n10.0.0.7 hush is down"])), "a warning: store 10.0.0.7 ***"),
        (respond_json(vector(({}, "1"), isPartial=True)), "calls itself partial"),
        (respond_json({"status": "error", "errorType": "bad_data", "error": "1:5: no\n" + "x" * 999}, "400 Bad"), "1:5: no xx"),
        (respond_json({"status": "error", "errorType": "execution", "error": "many-to-many"}, "422 X"), "mend the query"),
        (respond_json({"status": "error", "errorType": "timeout", "error": "slow hush"}, "503 X"), "slow *** — look at"),
        (respond_with("no org id", "401 Unauthorized"), "answered 401 Unauthorized — check token_file"),
        (respond_with("<html>", "404 Not Found"), "answered 404 Not Found — check the path in url"),
        (respond_with("<html>"), "query equity: no JSON"),
        (respond_json({"a": 1}), "is no answer of Prometheus's query API"),
        (respond_json([]), "is no answer of Prometheus's query API"),
    ],
)  # fmt: skip
def test_an_answer_that_may_not_be_whole_or_right_is_refused(answer: Any, said: str, start_server: StartServer) -> None:
    error = error_of(make_source(start_server(answer), max_series=2, headers={"Authorization": "Bearer hush"}))

    assert said in error
    assert "hush" not in error
    assert len(error) < 500


def test_a_note_that_casts_no_doubt_is_passed_over(start_server: StartServer) -> None:
    info = "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket"

    assert read(make_source(start_server(respond_json(vector(({}, "1"), warnings=[info], infos=["x"])))))


def test_all_queries_have_one_deadline(start_server: StartServer) -> None:
    def second_hangs(server: RawHttpServer, connection: socket.socket) -> object:
        if len(server.requests) > 1:
            never_respond(server, connection)
        return respond_json(vector(({}, "1")))(server, connection)

    source = make_source(start_server(second_hangs), queries={"a": "x", "b": "y"}, timeout="300ms")
    assert "no whole answer within 300 ms" in error_of(source)


@given(
    st.binary(max_size=50)
    | st.recursive(
        st.none() | st.floats() | st.text(max_size=3) | st.sampled_from(["5", "vector", "success", "NaN"]),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["status", "data", "result", "resultType", "metric", "value"]), inner, max_size=6
            )
        ),
    ).map(lambda said: json.dumps(said).encode())
)
def test_whatever_is_answered_there_are_samples_or_one_error(content: bytes) -> None:
    said = "a — b"
    try:
        parse_vector(content, "x", NOW, 10)
    except SourceError as error:
        said = str(error)

    assert " — " in said
    assert said.isprintable()
    error_text(content)


# ─ the entry ─


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"queries": {}}, "at least 1"),
        ({"queries": {"a": " "}}, "at least 1"),
        ({"queries": {"a-b": "x"}}, "is no metric name"),
        ({"url": "http://a/?x=1"}, "without a query"),
        ({"tenant": "a\nb"}, "a tenant has"),
        ({"tenant": "a", "headers": {"x-scope-orgid": "b"}}, "keep one"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        make_source(**({"server": "http://127.0.0.1:9090"} | {"server": fields.pop("url", "http://a/")} | fields))


# ─ a real one ─


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if (reason := prometheus_server.unavailable_reason()) is not None:
        pytest.skip(reason)
    t = int(time.time() * 1_000) - 15_000
    series: dict[Labels, dict[int, float]] = {
        (("__name__", "equity"), ("bot", "a")): {t - 15_000: 4.0, t: 5.0},
        (("__name__", "equity"), ("bot", "b")): {t: 7.0},
    }
    with prometheus_server.running_server(series, tmp_path_factory.mktemp("prometheus")) as client:
        yield client.url


def test_a_real_prometheus_is_asked(real_server: str) -> None:
    now = int(time.time() * 1_000)
    queries = {"equity": "equity", "bots": "scalar(count(equity))", "none": "gone", "nan": "vector(NaN)"}
    found = make_source(real_server, queries=queries).read({}, {}, now)

    assert [(name, labels, value) for name, labels, _, value in found[:3]] == [
        ("equity", (("bot", "a"),), 5.0),
        ("equity", (("bot", "b"),), 7.0),
        ("bots", (), 2.0),
    ]
    assert found[3].name == "nan"
    assert len({each.t for each in found}) == 1
    assert now - 60_000 < found[0].t <= now


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sum(", "bad_data: .*unclosed left parenthesis — mend the query"),
        ("equity * on() equity", "execution: .*many-to-many.* — mend the query"),
        ("equity[5m]", "the answer is a matrix"),
        ('"text"', "the answer is a string"),
    ],
)
def test_a_real_prometheus_says_what_is_wrong_with_a_query(query: str, said: str, real_server: str) -> None:
    with pytest.raises(SourceError, match=said):
        make_source(real_server, queries={"x": query}).read({}, {}, int(time.time() * 1_000))


def test_what_queries_return_is_told(real_server: str) -> None:
    source = make_source(real_server, queries={"equity": "equity", "none": "gone", "bad": "sum("})
    assert isinstance(source, ExplainedSource)
    equity, none, bad = source.explain(int(time.time() * 1_000))

    assert (equity.key, equity.expression, equity.found) == ("queries.equity", "equity", ("{bot=a} 5", "{bot=b} 7"))
    assert (none.found, none.why) == ((), "it returns nothing")
    assert "unclosed left parenthesis" in bad.why

"""Who may ask what over HTTP: a table of requests, each let through or refused with its reason."""

from __future__ import annotations

import pytest

from daemon.serve.guard import COOKIE, SESSION_S, Request, Rules, has_session, judge, session

OPEN = frozenset({"/healthz", "/statistics"})
LOCKED = Rules("127.0.0.1", 8888, "s3cret", OPEN)
TOKENLESS = Rules("127.0.0.1", 8888, None, OPEN)
PUBLIC = Rules("0.0.0.0", 8888, "s3cret", OPEN)
BEARER = {"authorization": "Bearer s3cret"}
NOW = 1_761_720_000.0


def status(rules: Rules, path: str, method: str = "GET", **headers: str) -> int:
    named = {"host": "127.0.0.1:8888", **{name.replace("_", "-"): value for name, value in headers.items()}}
    refusal = judge(rules, Request(method, path, named), NOW)
    return 200 if refusal is None else refusal.status


def test_loopback_is_shown_health_and_totals_without_a_token_and_nothing_else() -> None:
    assert [status(rules, "/statistics") for rules in (LOCKED, TOKENLESS)] == [200, 200]
    assert status(LOCKED, "/api/v1/status") == 401
    assert status(TOKENLESS, "/api/v1/status") == 403


@pytest.mark.parametrize(("given", "expected"), [("Bearer s3cret", 200), ("bearer s3cret", 200), ("Bearer no", 401)])
def test_the_token_opens_everything(given: str, expected: int) -> None:
    assert status(LOCKED, "/api/v1/status", authorization=given) == expected


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8888", "127.0.0.1:9999", "", "127.0.0.1.evil.example"])
def test_a_forged_host_gets_nothing_not_even_with_the_token(host: str) -> None:
    assert status(LOCKED, "/healthz", host=host) == 421
    assert status(LOCKED, "/healthz", host=host, **BEARER) == 421


@pytest.mark.parametrize("host", ["localhost:8888", "127.0.0.1", "[::1]:8888", "LOCALHOST:8888"])
def test_this_machine_has_several_names(host: str) -> None:
    assert status(LOCKED, "/healthz", host=host) == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://evil.example:8888", "file://"])
def test_a_page_elsewhere_gets_nothing(origin: str) -> None:
    assert status(LOCKED, "/healthz", origin=origin) == 403
    assert status(LOCKED, "/audio/process", "POST", origin=origin, **BEARER) == 403


@pytest.mark.parametrize("name", ["x_forwarded_for", "forwarded", "via", "x_real_ip"])
def test_what_a_proxy_forwards_needs_the_token(name: str) -> None:
    assert status(LOCKED, "/statistics", **{name: "203.0.113.7"}) == 401
    assert status(LOCKED, "/statistics", **{name: "203.0.113.7"}, **BEARER) == 200


def test_a_session_looks_and_changes_only_from_its_own_page() -> None:
    cookie = f"{COOKIE}={session(LOCKED, NOW)}"
    assert status(LOCKED, "/api/v1/status", cookie=cookie) == 200
    assert status(LOCKED, "/api/v1/pause", "POST", cookie=cookie) == 403
    assert status(LOCKED, "/api/v1/pause", "POST", cookie=cookie, origin="http://127.0.0.1:8888") == 200
    assert status(LOCKED, "/api/v1/pause", "POST", cookie=cookie, origin="http://evil.example") == 403


def test_a_session_ends_and_cannot_be_made_up() -> None:
    made = session(LOCKED, NOW)
    assert has_session(LOCKED, {"cookie": f"{COOKIE}={made}"}, NOW + SESSION_S - 1)
    assert not has_session(LOCKED, {"cookie": f"{COOKIE}={made}"}, NOW + SESSION_S + 1)
    ends, _, proof = made.rpartition(".")
    later = f"{int(ends.partition('.')[0]) + 99999}.{ends.partition('.')[2]}.{proof}"
    for forged in (later, "", "..", made[:-1], made.replace(".", ""), f"{made}x"):
        assert not has_session(LOCKED, {"cookie": f"{COOKIE}={forged}"}, NOW)
    assert not has_session(Rules("127.0.0.1", 8888, "other", OPEN), {"cookie": f"{COOKIE}={made}"}, NOW)


def test_an_address_that_is_reached_from_elsewhere_is_known_by_any_name() -> None:
    assert status(PUBLIC, "/api/v1/status", host="pbx.example:8888", **BEARER) == 200
    assert status(PUBLIC, "/api/v1/status", host="pbx.example:8888") == 401


@pytest.mark.parametrize("path", ["/statistics", "/metrics", "/"])
def test_from_elsewhere_even_totals_need_the_token(path: str) -> None:
    assert status(PUBLIC, path, host="pbx.example:8888") == 401
    assert status(PUBLIC, "/healthz", host="pbx.example:8888") == 200

"""What an HTTP answer means."""

from __future__ import annotations

import json
from datetime import timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import DeliveryError, Denied, Refused, Throttled, Unacceptable, Unanswered
from handlers.crm.answer import Answer, document_of, failure, masked, names_call, recording_url_of, retry_after, without
from tests.support.records import NOON

OK = {"success": True, "data": {"url": "https://crm.example/1.ogg", "size": 7}}


def answer(status: int, document: object = None, **headers: str) -> Answer:
    return Answer(status, headers, document if isinstance(document, str) else json.dumps(document))


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ((300, 301, 302, 304, 307, 308), Refused),
        ((400, 402, 404, 405, 406, 409, 410, 411, 413, 414, 415, 422, 451), Unacceptable),
        ((401, 403, 407), Denied),
        ((408, 421, 423, 425), Refused),
        ((429, 503), Throttled),
        ((500, 501, 502, 504, 507, 520, 524, 599), Unanswered),
    ],
)
def test_the_status_decides_who_must_act(statuses: tuple[int, ...], kind: type[DeliveryError]) -> None:
    for status in statuses:
        error = failure(answer(status), NOON)
        assert type(error) is kind
        assert error.http_status == status


def test_2xx_is_no_failure_until_its_body_is_read() -> None:
    assert failure(answer(200), NOON) is None
    assert failure(answer(201), NOON) is None
    assert document_of(answer(201, OK), "$.success") == OK


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        "",
        "<html>",
        "[]",
        "true",
        "null",
        "{",
        '{"success": "true"}',
        '{"success": 1}',
        '{"success": false}',
        "{}",
    ],
)
def test_2xx_without_success_true_is_refused(body: str) -> None:
    with pytest.raises(Refused):
        document_of(answer(200, body), "$.success")


def test_success_is_looked_for_where_the_path_leads() -> None:
    assert document_of(answer(200, {"result": {"ok": True}}), "$.result.ok")
    with pytest.raises(Refused):
        document_of(answer(200, {"success": True}), "$.result.ok")


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "1.ogg",
        "/uploads/1.ogg",
        "//crm.example/1.ogg",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "ftp://crm.example/1.ogg",
        "http://",
        "http://user:secret@crm.example/1.ogg",
        "http://crm.example:port/1.ogg",
        "http://[crm/1.ogg",
        "http://crm.example/1 .ogg",
        "http://crm.example/1\n.ogg",
        "http://crm.example/" + "x" * 3000,
    ],
)
def test_an_upload_without_a_usable_url_is_refused(url: object) -> None:
    with pytest.raises(Refused):
        recording_url_of({"data": {"url": url, "relativeUrl": "/1.ogg"}}, 7, answer(200))


@pytest.mark.parametrize("size", [6, "6", 7.5, "many", True])
def test_an_upload_of_another_size_is_refused(size: object) -> None:
    with pytest.raises(Refused):
        recording_url_of({"data": {"url": "https://crm.example/1.ogg", "size": size}}, 7, answer(200))


def test_an_upload_is_what_was_promised() -> None:
    assert recording_url_of(OK, 7, answer(200)) == "https://crm.example/1.ogg"
    assert recording_url_of({"data": {"url": "http://crm.example/1.ogg"}}, 7, answer(200))


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (None, None),
        ("7", timedelta(seconds=7)),
        (" 7 ", timedelta(seconds=7)),
        ("0", timedelta(0)),
        ("007", timedelta(seconds=7)),
        ("-7", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٧", None),
        ("86400", timedelta(days=1)),
        ("9" * 500, timedelta.max),
        (format_datetime(NOON + timedelta(seconds=90), usegmt=True), timedelta(seconds=90)),
        (format_datetime(NOON + timedelta(days=900), usegmt=True), timedelta(days=900)),
        (format_datetime(NOON - timedelta(seconds=1), usegmt=True), timedelta(0)),
        ("Thu, 01 Jan 1970 00:00:00 GMT", timedelta(0)),
        ("Wed, 99 Foo 2025 25:61:61 GMT", None),
        ("Wed, 29 Oct 2025 12:01:00 -0000", timedelta(minutes=1)),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_no_wait_where_that_has_passed(
    value: str | None, wait: timedelta | None
) -> None:
    assert retry_after(value, NOON) == wait


@given(st.text())
def test_no_retry_after_makes_a_wait_into_the_past(value: str) -> None:
    wait = retry_after(value, NOON)
    assert wait is None or wait >= timedelta(0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("call CALL-20251029-121530-66243 exists", True),
        ('{"callId":"CALL-20251029-121530-66243"}', True),
        ("call CALL-20251029-121530-66243-1234 exists", False),
        ("call RECALL-20251029-121530-66243 exists", False),
        ("exists", False),
        ("", False),
    ],
)
def test_a_conflict_is_ours_only_when_it_names_exactly_our_id(text: str, named: bool) -> None:
    assert names_call(answer(409, text), "CALL-20251029-121530-66243") is named


@pytest.mark.parametrize(
    "secret",
    [
        "+918655066243",
        "918655066243",
        "+1 (555) 010-0123",
        "555 0123",
        "jane.doe@example.com",
        "CALL-20251029-121530-66243",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.abc",
        '"Jane Doe"',
        "'Jane Doe'",
    ],
)
def test_a_reason_quotes_nothing_of_what_was_sent(secret: str) -> None:
    error = failure(answer(422, {"message": f"callerNumber {secret} is not allowed"}), NOON)
    assert error is not None
    assert error.reason == "answered 422: callerNumber … is not allowed"
    assert secret.strip("\"'") not in error.answer


@pytest.mark.parametrize("said", ["Jane Doe is", "JANE DOE is", "Zoë Müller is", "A quote, please. is"])
def test_what_was_sent_is_taken_out_of_an_answer_that_quotes_it(said: str) -> None:
    sent = ("Jane Doe", "Zoë Müller", "A quote, please.", "")
    error = failure(without(answer(422, {"message": f"{said} not allowed"}), sent), NOON)
    assert error is not None
    assert error.reason == "answered 422: … is not allowed"


@pytest.mark.parametrize("body", [{"error": "no"}, {"error": {"message": "no"}}, {"detail": "no"}, {"title": "no"}])
def test_the_reason_is_found_where_servers_put_it(body: object) -> None:
    error = failure(answer(400, body), NOON)
    assert error is not None
    assert error.reason == "answered 400: no"


@given(st.text())
def test_masked_text_holds_no_run_of_four_digits(text: str) -> None:
    run = 0
    for char in masked(text + "12345"):
        run = run + 1 if char in "0123456789" else 0
        assert run < 4

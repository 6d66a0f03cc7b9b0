"""What an HTTP answer means: pure, from status, headers and body to done or to one of our errors.

The table is the design's (section 4). The status alone decides who must act; the body only adds the reason, masked,
since a CRM likes to quote what it was sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from daemon.errors import DeliveryError, Denied, Refused, Throttled, Unacceptable, Unanswered

ANSWER_CAP = 4096
"""Characters of an answer that are kept."""

_SECONDS_DIGITS = 13
"""As many as a timedelta takes: some 300,000 years."""

_REASON_CAP = 120
_URL_CAP = 2048
_DENIED = frozenset({401, 403, 407})
_THROTTLED = frozenset({429, 503})
_LATER = frozenset({408, 421, 423, 425})
"""4xx that say nothing about what was sent, only about this attempt: worth trying again, but not for ever."""

_MASKED = re.compile(
    r"""
    [^\s@]{1,64}@\S{1,255}          # addresses
    | "[^"]{1,200}" | '[^']{1,200}' | `[^`]{1,200}`   # what was quoted back
    | \+?[0-9](?:[\s().-]{0,3}[0-9]){3,}  # numbers, however they are written
    | [\w.~+/=-]{24,}               # tokens, ids
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. ``text`` is its body, read up to a bound; headers are looked up in lower case."""

    status: int
    headers: Mapping[str, str]
    text: str


def document_of(answer: Answer, success: str) -> dict[str, Any]:
    """The JSON of a 2xx answer that says what ``success`` (a path such as ``$.success``) promises; raises Refused."""
    document = _parsed(answer.text)
    if not isinstance(document, dict):
        raise _error(Refused, answer, f"answered {answer.status} without the promised JSON")
    if value_at(document, success) is not True:
        raise _error(Refused, answer, f"answered {answer.status}, but its body does not say success")
    return document


def value_at(document: Any, path: str) -> Any:
    """The value a path such as ``$.data.ok`` leads to; None where there is none."""
    value = document
    for name in path.removeprefix("$").split("."):
        if name:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def recording_url_of(document: Mapping[str, Any], size: int, answer: Answer) -> str:
    """The recording's URL out of an upload's answer; raises Refused unless it is what was promised.

    Promised are an absolute http(s) URL, without credentials, that can be passed on as it is, and, where the answer
    names a size, ours. ``relativeUrl`` is no way out: nothing says what it is relative to.
    """
    data = document.get("data")
    data = data if isinstance(data, dict) else {}
    url, said = data.get("url"), data.get("size")
    if said is not None and str(said) != str(size):
        raise _error(Refused, answer, "answered with another size than was sent")
    if not isinstance(url, str) or not is_usable(url):
        raise _error(Refused, answer, "answered without a usable URL for the recording")
    return url


def is_usable(url: str) -> bool:
    if len(url) > _URL_CAP or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None


def failure(answer: Answer, now: datetime) -> DeliveryError | None:
    """The error a status stands for; None for 2xx, whose body decides."""
    status = answer.status
    if 200 <= status < 300:
        return None
    said = f"answered {status}"
    if status in _THROTTLED:
        return Throttled(
            said,
            retry_after=retry_after(answer.headers.get("retry-after"), now),
            http_status=status,
            answer=_kept(answer.text),
        )
    if status in _DENIED:
        return _error(Denied, answer, f"{said}: it does not accept our credentials")
    if status >= 500:
        return _error(Unanswered, answer, f"{said}: it may have been taken or not")
    if status < 400:
        return _error(Refused, answer, f"{said}: redirects are not followed")
    reason = f"{said}{_why(answer.text)}"
    return _error(Refused if status in _LATER else Unacceptable, answer, reason)


def without(answer: Answer, sent: Iterable[str]) -> Answer:
    """The answer without what we sent: a CRM likes to quote it, and a name looks like any other word."""
    values = sorted(filter(None, sent), key=len, reverse=True)
    if not values:
        return answer
    document = _parsed(answer.text)
    plain = json.dumps(document, ensure_ascii=False) if isinstance(document, (dict, list)) else answer.text
    quoted = re.compile("|".join(re.escape(value) for value in values), re.IGNORECASE)
    return replace(answer, text=quoted.sub("…", plain))


def names_call(answer: Answer, call_id: str) -> bool:
    """Whether a 409 is about our own call: its body names exactly our id, and not a longer one that begins alike."""
    return re.search(rf"(?<![\w-]){re.escape(call_id)}(?![\w-])", answer.text) is not None


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """What ``Retry-After`` asks for (RFC 9110 section 10.2.3: seconds, or a date), however long.

    Zero for a time that has passed; None where it names no time at all.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        digits = value.lstrip("0")
        return timedelta(seconds=int(digits or 0)) if len(digits) <= _SECONDS_DIGITS else timedelta.max
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    wait = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)) - now
    return max(wait, timedelta(0))


def masked(text: str) -> str:
    """Text of another's making without addresses, numbers, tokens or quotations."""
    return _MASKED.sub("…", "".join(c if c.isprintable() else " " for c in text))


def _why(text: str) -> str:
    """The body's own reason, masked and short, led in by a colon; empty where it gives none."""
    document = _parsed(text)
    for path in ("message", "error.message", "error", "detail", "title"):
        said = value_at(document, path)
        if isinstance(said, str) and said.strip():
            return f": {masked(said.strip())[:_REASON_CAP]}"
    return ""


def _kept(text: str) -> str:
    """An answer as it may be kept: masked, string by string where it is JSON, and capped."""
    document = _parsed(text)
    if isinstance(document, (dict, list)):
        return json.dumps(_masked_json(document), ensure_ascii=False)[:ANSWER_CAP]
    return masked(text[:ANSWER_CAP])


def _masked_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {masked(name): _masked_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_masked_json(inner) for inner in value]
    return value if isinstance(value, bool) or value is None else masked(str(value))


def _parsed(text: str) -> Any:
    """The JSON of an answer; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _error(kind: type[DeliveryError], answer: Answer, reason: str) -> DeliveryError:
    return kind(reason, http_status=answer.status, answer=_kept(answer.text))

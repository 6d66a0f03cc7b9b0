"""The way to an S3-compatible service: its client, and its errors in our words.

boto3 tries nothing again by itself: what is worth trying again is decided from our errors. Since 1.36 it adds checksums
to every request that many compatible services refuse (boto3 issue 4392), so they are asked for where they are required
alone, whatever the environment says; what protects a body is put on by us, as the service was found to take it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from daemon.contract import Clock
from daemon.errors import (
    CallspoolError,
    DeliveryError,
    Denied,
    NotSent,
    Refused,
    Throttled,
    Unacceptable,
    Unanswered,
)
from handlers.settings import StorageSettings
from handlers.storage.kept import Kept
from handlers.storage.pace import Hours, Pacer
from handlers.storage.wire import OFTEN, Body, Wire

if TYPE_CHECKING:
    from handlers.storage.s3 import S3Store

DEFAULT_REGION = "us-east-1"
CONNECT_S = 5.0
AGAIN_S = (0.2, 0.6)
"""Waits before what surely was not taken is sent again here; the ledger has the patience for the rest."""

_DENIED = frozenset({401, 403})
_UNSIGNED = frozenset({400, 401, 403})
"""What services answer to a signature whose time is not theirs, in words that differ, to HEAD in none."""

MOST_SKEW = timedelta(minutes=15)
"""By which AWS Signature Version 4 lets clocks differ."""
_LATER = frozenset({408, 409, 423, 425})
_BUSY = frozenset({"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceUnavailable"})


@dataclass(frozen=True, slots=True)
class Credentials:
    """Whose requests they are; the secrets themselves. Empty where there are none."""

    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None

    @property
    def given(self) -> bool:
        """Whether both halves are there."""
        return bool(self.access_key_id and self.secret_access_key)


class Preconditioned(Unacceptable):
    """412: something lies under the key already."""


class Unsupported(Unacceptable):
    """501, or 400 for what was asked beside: the service does not do that."""


class Vanished(Unacceptable):
    """404: what was asked for is not there."""


def s3_of(
    settings: StorageSettings,
    credentials: Credentials,
    kept: Kept,
    hours: Hours,
    clock: Clock,
    renewed: Callable[[], Credentials] = Credentials,
) -> S3Store | None:
    """The S3 store that is to be used; None where only the local one is.

    With ``auto`` it takes a bucket and credentials; with ``s3`` the credentials may also be where boto3 looks for them.
    ``renewed`` reads them anew, after they were refused.
    """
    bucket = settings.s3.bucket
    wanted = settings.backend == "s3" or (settings.backend == "auto" and credentials.given)
    if not wanted or not bucket:
        return None
    from handlers.storage.s3 import S3Store

    return S3Store(settings.s3, Service(settings, credentials, renewed), kept, Pacer(hours, clock))


class Service:
    """One service, reached through boto3's client, which is made when it is first needed. Safe to use from threads."""

    def __init__(self, settings: StorageSettings, credentials: Credentials, renewed: Callable[[], Credentials]) -> None:
        self._settings, self._credentials, self._renewed = settings, credentials, renewed
        self._making = threading.Lock()
        self._made: Any = None
        self._wire: Wire | None = None
        self.bucket = str(settings.s3.bucket)

    @property
    def name(self) -> str:
        """What tells two services apart: endpoint and bucket."""
        return f"{self._settings.s3.endpoint_url or 'aws'}/{self.bucket}"

    @property
    def custom(self) -> bool:
        """Whether it is not AWS itself."""
        return self._settings.s3.endpoint_url is not None

    @property
    def plain(self) -> bool:
        """Whether bytes travel without TLS, which would see one that was flipped."""
        return (self._settings.s3.endpoint_url or "").startswith("http:")

    def _asker(self, operation: str) -> tuple[Callable[[Any], Any], Credentials]:
        """Who makes such requests, and whose they are."""
        with self._making:
            s3, who = self._settings.s3, self._credentials
            if s3.endpoint_url is not None and who.given and operation in OFTEN:
                if self._wire is None:
                    timeouts = (CONNECT_S, s3.timeout.total_seconds())
                    region = s3.region or DEFAULT_REGION
                    self._wire = Wire(s3.endpoint_url, region, who, timeouts=timeouts, connections=s3.connections)
                return partial(self._wire.ask, operation), who
            if self._made is None:
                self._made = self._make(who)
            return partial(_by_boto3, self._made, operation), who

    def _renew(self, refused: Credentials) -> bool:
        """Read the credentials anew; whether they, or those that another thread took up meanwhile, are other ones."""
        with self._making:
            if self._credentials is refused:
                fresh = self._renewed()
                if not fresh.given or fresh == refused:
                    return False
                self._credentials, self._made, self._wire = fresh, None, None
            return True

    def _make(self, who: Credentials) -> Any:
        import botocore.session
        from botocore.config import Config

        s3 = self._settings.s3
        return botocore.session.get_session().create_client(
            "s3",
            aws_access_key_id=who.access_key_id,
            aws_secret_access_key=who.secret_access_key,
            aws_session_token=who.session_token,
            region_name=s3.region or DEFAULT_REGION,
            endpoint_url=s3.endpoint_url,
            config=Config(
                connect_timeout=CONNECT_S,
                read_timeout=s3.timeout.total_seconds(),
                retries={"total_max_attempts": 1},
                max_pool_connections=s3.connections,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path" if s3.endpoint_url else "auto"},
                user_agent_extra="callspool",
            ),
        )

    def call(self, operation: str, **arguments: Any) -> Any:
        """One request. What surely was not taken is tried again for a second; raises a DeliveryError."""
        for wait_s in (*AGAIN_S, None):
            try:
                return self._once(operation, arguments)
            except (NotSent, Throttled) as error:
                asked = error.retry_after if isinstance(error, Throttled) else None
                if wait_s is None or (asked is not None and asked.total_seconds() > wait_s):
                    raise
            threading.Event().wait(wait_s)
        raise CallspoolError("unreachable")

    def _once(self, operation: str, arguments: dict[str, Any]) -> Any:
        """One request; again where the credentials were refused and have been replaced meanwhile."""
        ask, who = self._asker(operation)
        asked = {"Bucket": self.bucket, **arguments}
        try:
            return _in_our_words(ask, asked)
        except Denied:
            if not self._renew(who):
                raise
        return _in_our_words(self._asker(operation)[0], asked)


def _by_boto3(client: Any, operation: str, asked: dict[str, Any]) -> Any:
    body = asked.get("Body")
    return getattr(client, operation)(**asked | ({"Body": bytes(body.data)} if isinstance(body, Body) else {}))


def _in_our_words(ask: Callable[[Any], Any], asked: dict[str, Any]) -> Any:
    try:
        return ask(asked)
    except CallspoolError:
        raise
    except Exception as error:
        raise translated(error) from error


def translated(error: Exception) -> Exception:
    """A vendor's error in our words; what is none of theirs is returned as it is."""
    from botocore import exceptions as theirs

    if isinstance(error, theirs.ClientError):
        return _answered(error)
    if isinstance(error, (theirs.NoCredentialsError, theirs.PartialCredentialsError, theirs.CredentialRetrievalError)):
        return Denied("no credentials for S3 were found")
    if isinstance(error, (theirs.EndpointConnectionError, theirs.ConnectTimeoutError, theirs.ProxyConnectionError)):
        return NotSent("S3 is not reached")
    if isinstance(error, theirs.SSLError):
        return NotSent("S3 is not reached: TLS failed")
    if isinstance(error, (theirs.HTTPClientError, theirs.ConnectionError)):
        return Unanswered(f"S3 did not answer ({type(error).__name__})")
    if isinstance(error, theirs.BotoCoreError):
        return Refused(f"S3 cannot be asked like this ({type(error).__name__})")
    return Unanswered(f"S3 broke off ({type(error).__name__})") if isinstance(error, OSError) else error


def _answered(error: Any) -> DeliveryError:
    """An answer by its status, and its code where that says more."""
    answer = error.response
    meta = answer.get("ResponseMetadata", {})
    status = int(meta.get("HTTPStatusCode") or 0)
    code = _word(answer.get("Error", {}).get("Code"))
    headers = meta.get("HTTPHeaders", {})
    reason = f"S3 answered {status}" + (f" {code}" if code and code != str(status) else "")
    kind = _kind(status, code)
    if kind is Throttled:
        return Throttled(reason, retry_after=_retry_after(headers.get("retry-after")), http_status=status)
    apart = _apart(headers.get("date"))
    if status in _UNSIGNED and apart > MOST_SKEW and kind in (Denied, Unacceptable):
        apart_s = timedelta(seconds=round(apart.total_seconds()))
        return Denied(f"{reason}: this host's clock and the service's are {apart_s} apart", http_status=status)
    return kind(reason, http_status=status)


def _kind(status: int, code: str) -> Callable[..., DeliveryError]:
    by_code: dict[str, Callable[..., DeliveryError]] = {
        "NotImplemented": Unsupported,
        "InvalidStorageClass": Unsupported,
        "InvalidObjectState": Unacceptable,
        "InvalidEncryptionAlgorithmError": Unsupported,
        "MissingContentLength": Unsupported,
        "RequestTimeout": Refused,
        "BadDigest": Refused,
        "XAmzContentSHA256Mismatch": Refused,
        "NoSuchBucket": NotSent,
    }
    if code in by_code:
        return by_code[code]
    if status in (429, 503) or code in _BUSY:
        return Throttled
    if status in _DENIED:
        return Denied
    if status >= 500 or status == 0:
        return Unsupported if status == 501 else Unanswered
    if status in _LATER or 300 <= status < 400:
        return Refused
    return {404: Vanished, 412: Preconditioned}.get(status, Unacceptable)


def _word(code: object) -> str:
    """An error's code as it may stand in a log: one word."""
    text = str(code or "")
    return text if text.isalnum() and len(text) <= 60 else ""


def _apart(date: str | None) -> timedelta:
    """By how much our clock and the one that wrote this HTTP date differ; nothing where it cannot be told."""
    try:
        return abs(parsedate_to_datetime(date or "") - datetime.now(UTC))
    except (ValueError, TypeError, OverflowError):
        return timedelta(0)


def _retry_after(value: str | None) -> timedelta | None:
    if value is None:
        return None
    if value.strip().isdigit():
        return timedelta(seconds=min(int(value.strip()[:9]), 6 * 3600))
    try:
        return max(parsedate_to_datetime(value) - datetime.now(UTC), timedelta(0))
    except (ValueError, TypeError, OverflowError):
        return None

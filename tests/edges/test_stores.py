"""One suite for every store: what the interface promises, the local one, S3 and awkward S3s all keep."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from daemon.errors import ContentMoved, DeliveryError, Denied, NotSent, Refused, Throttled, Unacceptable, Unanswered
from handlers.storage.content import OfText
from handlers.storage.kept import Kept
from handlers.storage.local import LocalStore
from handlers.storage.pace import Hours
from handlers.storage.probing import Probe
from handlers.storage.service import Credentials, s3_of
from handlers.storage.store import Described, KeyConflict, KeyMissing, Store
from tests.support.rclone import rclone as serve_rclone
from tests.support.s3 import (
    ACCESS_KEY,
    BUCKET,
    SECRET_KEY,
    Awkward,
    Request,
    awkward,
    client,
    moto,
    s3_store,
    storage_settings,
)
from tests.support.watching import RealClock

TEXT = "Agent: How may I help?\n" * 40
LARGE = "0123456789abcdef" * (11 * 2**16)
"""11 MiB: three parts."""


def described(text: str, **more: str | None) -> Described:
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()
    return Described(digest, len(data), "text/plain", {"sha256": digest, "call-id": "c1"}, upload_id=more.get("upload"))


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture
def proxy(service: str) -> Iterator[Awkward]:
    with awkward(service) as told:
        yield told


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real service of another make, where its program is there: no conditional writes, no checksums."""
    with serve_rclone(tmp_path_factory.mktemp("rclone")) as url:
        yield url


@pytest.fixture(scope="module")
def emptied() -> None:
    """The bucket of the service that ``CALLSPOOL_TEST_S3`` names, without what an earlier run left there."""
    held = client(os.environ["CALLSPOOL_TEST_S3"])
    with suppress(ClientError):  # it is there already
        held.create_bucket(Bucket=BUCKET)
    for one in held.list_objects_v2(Bucket=BUCKET, Prefix="t/").get("Contents", ()):
        held.delete_object(Bucket=BUCKET, Key=one["Key"])


KINDS = ("local", "moto", "moto asked", "no conditions", "refuses conditions", "lying etag", "rclone", "real")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    kind = request.param
    if kind == "local":
        return LocalStore(str(tmp_path / "uploads"), 0)
    if kind == "rclone":
        return asked(request.getfixturevalue("rclone"), prefix="t/")
    if kind == "real":
        url = os.environ.get("CALLSPOOL_TEST_S3")
        if url is None:
            pytest.skip("CALLSPOOL_TEST_S3 names no service (http://key:secret@host:port)")
        request.getfixturevalue("emptied")
        return asked(url)
    if kind.startswith("moto"):
        url = request.getfixturevalue("service")
        return asked(url) if kind == "moto asked" else s3_store(url)
    told = request.getfixturevalue("proxy")
    if kind == "no conditions":
        told.drop_headers = ("if-none-match",)
    elif kind == "refuses conditions":
        told.answer = lambda one: NOT_IMPLEMENTED if "if-none-match" in one.headers else None
    else:
        told.change = lie
    kept = Kept()
    if kind == "no conditions":
        kept.take({"conditional": "ignored", "conditional_multipart": "ignored"})
    return s3_store(told.url, kept)


def lie(request: Request, headers: dict[str, str]) -> None:
    """Say that every object's ETag is the MD5 of something else; a part's own is left, for it is given back."""
    if "partNumber" not in request.path:
        headers["ETag"] = '"0123456789abcdef0123456789abcdef"'


Answer = tuple[int, dict[str, str], bytes]
NOT_IMPLEMENTED: Answer = (501, {}, b"<Error><Code>NotImplemented</Code></Error>")


def asked(url: str, **s3: str) -> Store:
    """A store whose service was asked before what it can do, as the daemon does."""
    kept = KEPT.get(url)
    if kept is None:
        kept = KEPT[url] = Kept()
        Probe(s3_store(url, kept, **s3), kept, storage_settings(url, **s3)).ask()
    return s3_store(url, kept, **s3)


KEPT: dict[str, Kept] = {}


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A key of the test's own, since services are shared."""
    return f"t/{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}/2025/10/29/a (1)'.ogg"


def test_what_was_put_is_found_and_read_whole_and_in_part(store: Store, key: str) -> None:
    assert store.put(key, OfText(TEXT), described(TEXT)).fresh
    found = store.find(key)
    assert found is not None
    assert found.size == len(TEXT)
    assert found.sha256 in (None, described(TEXT).sha256)
    with store.open(key) as file:
        assert file.read() == TEXT.encode()
    with store.open(key, 7, 5) as file:
        assert file.read() == TEXT.encode()[7:12]
    with store.open(key, len(TEXT) - 3) as file:
        assert file.read() == TEXT.encode()[-3:]


def test_put_again_is_a_success_that_writes_nothing(store: Store, key: str) -> None:
    store.put(key, OfText(TEXT), described(TEXT))
    assert not store.put(key, OfText(TEXT), described(TEXT)).fresh


def test_other_content_is_a_conflict_and_leaves_the_first_alone(store: Store, key: str) -> None:
    store.put(key, OfText(TEXT), described(TEXT))
    with pytest.raises(KeyConflict):
        store.put(key, OfText("other"), described("other"))
    with store.open(key) as file:
        assert file.read() == TEXT.encode()


def test_our_own_older_content_is_replaced_where_that_is_said(store: Store, key: str) -> None:
    store.put(key, OfText(TEXT), described(TEXT))
    store.put(key, OfText("newer"), described("newer"), over=True)
    with store.open(key) as file:
        assert file.read() == b"newer"


def test_content_that_is_not_what_was_hashed_is_never_stored(store: Store, key: str) -> None:
    other = "x" * len(TEXT)
    with pytest.raises((ContentMoved, NotSent)):
        store.put(key, OfText(other), described(TEXT))
    assert store.find(key) is None


def test_what_is_not_there_is_missing_and_deleted_without_complaint(store: Store, key: str) -> None:
    assert store.find(key) is None
    with pytest.raises(KeyMissing), store.open(key):
        pass
    store.delete(key)
    store.put(key, OfText(TEXT), described(TEXT))
    store.delete(key)
    assert store.find(key) is None


def test_list_tells_everything_under_a_prefix_in_order(store: Store, key: str) -> None:
    folder = key.rpartition("/")[0]
    for name in ("b", "a", "c/d"):
        store.put(f"{folder}/{name}", OfText(TEXT), described(TEXT))
    store.put(f"{folder}-beside/e", OfText(TEXT), described(TEXT))
    found = [(one.key, one.size) for one in store.list(f"{folder}/")]
    assert found == [(f"{folder}/{name}", len(TEXT)) for name in ("a", "b", "c/d")]


def test_a_large_object_goes_whole_and_leaves_no_parts(store: Store, key: str) -> None:
    assert store.put(key, OfText(LARGE), described(LARGE)).fresh
    assert not store.put(key, OfText(LARGE), described(LARGE)).fresh
    with store.open(key, 6 * 2**20, 16) as file:
        assert file.read() == LARGE.encode()[6 * 2**20 : 6 * 2**20 + 16]
    with pytest.raises(KeyConflict):
        store.put(key, OfText(LARGE[:-1] + "x"), described(LARGE[:-1] + "x"))


# ---------------------------------------------------------------------------------------------------- S3 alone


def test_dify_35117_compatible_services_get_no_checksum_headers_unasked(proxy: Awkward, key: str) -> None:
    """boto3 since 1.36 adds them by itself and breaks services that do not know them (boto3 4392). Keep this."""
    store = s3_store(proxy.url)
    store.put(key, OfText(TEXT), described(TEXT))
    store.put(f"{key}.large", OfText(LARGE), described(LARGE))
    for request in proxy.requests:
        named = [name for name in request.headers if name.startswith(("x-amz-checksum", "x-amz-sdk-checksum"))]
        assert not named, (request.method, request.path)
        assert "aws-chunked" not in request.headers.get("content-encoding", "")
        assert "trailer" not in request.headers.get("x-amz-content-sha256", "").lower()


def test_objects_are_encrypted_tagged_and_say_what_they_are(service: str, key: str) -> None:
    store = s3_store(service, tags={"team": "support"}, storage_class="STANDARD_IA", class_from_size="1KB")
    text = described(TEXT * 3)
    store.put(key, OfText(TEXT * 3), Described(text.sha256, text.size, "audio/ogg", text.metadata, "audio"))
    found = client(service).head_object(Bucket=BUCKET, Key=key)
    assert found["ServerSideEncryption"] == "AES256"
    assert found["StorageClass"] == "STANDARD_IA"
    assert found["ContentType"] == "audio/ogg"
    assert found["Metadata"]["sha256"] == text.sha256
    tags = client(service).get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]
    assert tags == [{"Key": "team", "Value": "support"}]
    store.put(f"{key}.json", OfText(TEXT), described(TEXT))
    assert "StorageClass" not in client(service).head_object(Bucket=BUCKET, Key=f"{key}.json")


def test_an_object_is_given_another_class_and_stays_what_it_is(service: str, key: str) -> None:
    store = s3_store(service, tags={"team": "support"})
    store.put(key, OfText(TEXT), described(TEXT))
    before = client(service).head_object(Bucket=BUCKET, Key=key)
    for _ in range(2):
        store.change_class(key, "GLACIER_IR", described(TEXT).sha256, described(TEXT).size)
        after = client(service).head_object(Bucket=BUCKET, Key=key)
        assert after["StorageClass"] == "GLACIER_IR"
        kept = ("Metadata", "ContentType", "ContentLength", "ServerSideEncryption")
        assert [after[name] for name in kept] == [before[name] for name in kept]
    assert client(service).get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"] == [{"Key": "team", "Value": "support"}]
    assert client(service).get_object(Bucket=BUCKET, Key=key)["Body"].read() == TEXT.encode()


def test_what_is_large_is_left_alone_where_copying_it_may_lose_it(service: str, key: str) -> None:
    store = s3_store(service)
    store.put(key, OfText(LARGE), described(LARGE))
    with pytest.raises(Unacceptable):
        store.change_class(key, "GLACIER_IR", described(LARGE).sha256, described(LARGE).size)
    assert "StorageClass" not in client(service).head_object(Bucket=BUCKET, Key=key)


def test_another_object_is_given_no_class(service: str, key: str) -> None:
    store = s3_store(service)
    store.put(key, OfText(TEXT), described(TEXT))
    client(service).put_object(Bucket=BUCKET, Key=key, Body=b"another's")
    with pytest.raises(KeyConflict):
        store.change_class(key, "GLACIER_IR", described(TEXT).sha256, described(TEXT).size)
    assert "StorageClass" not in client(service).head_object(Bucket=BUCKET, Key=key)


def test_a_service_that_ignores_classes_is_told_from_one_that_keeps_them(proxy: Awkward, key: str) -> None:
    store = s3_store(proxy.url)
    store.put(key, OfText(TEXT), described(TEXT))
    copied = b"<CopyObjectResult><ETag>x</ETag><LastModified>2026-01-01T00:00:00Z</LastModified></CopyObjectResult>"
    proxy.answer = lambda one: (200, {}, copied) if "x-amz-copy-source" in one.headers else None
    with pytest.raises(Unacceptable):
        store.change_class(key, "GLACIER_IR", described(TEXT).sha256, described(TEXT).size)


def test_encryption_that_is_refused_is_left_out_but_never_that_of_ones_own_key(proxy: Awkward, key: str) -> None:
    proxy.answer = lambda one: NOT_IMPLEMENTED if "x-amz-server-side-encryption" in one.headers else None
    kept = Kept()
    s3_store(proxy.url, kept).put(key, OfText(TEXT), described(TEXT))
    assert kept.says("encryption") == "no"
    own = s3_store(proxy.url, encryption="aws:kms")
    with pytest.raises(DeliveryError):
        own.put(f"{key}.own", OfText(TEXT), described(TEXT))
    assert own.find(f"{key}.own") is None


def test_a_byte_flipped_on_the_way_is_seen_and_the_object_does_not_stay(proxy: Awkward, key: str) -> None:
    """moto stores it and says 200: only the ETag, and the object read back, tell."""
    proxy.flip = lambda one: one.method == "PUT"
    store = s3_store(proxy.url)
    with pytest.raises(DeliveryError):
        store.put(key, OfText(TEXT), described(TEXT))
    assert store.find(key) is None
    proxy.flip = lambda one: False
    assert store.put(key, OfText(TEXT), described(TEXT)).fresh


def test_a_connection_cut_in_the_middle_is_unanswered_and_put_again(proxy: Awkward, key: str) -> None:
    proxy.cut = lambda one: one.method == "PUT"
    store = s3_store(proxy.url)
    with pytest.raises((Unanswered, NotSent)):
        store.put(key, OfText(TEXT), described(TEXT))
    proxy.cut = lambda one: False
    assert store.put(key, OfText(TEXT), described(TEXT)).fresh


def test_slow_down_is_heard_and_its_time_kept(proxy: Awkward, key: str) -> None:
    slow: Answer = (503, {"Retry-After": "120"}, b"<Error><Code>SlowDown</Code></Error>")
    proxy.answer = lambda one: slow if one.method == "PUT" else None
    with pytest.raises(Throttled) as caught:
        s3_store(proxy.url).put(key, OfText(TEXT), described(TEXT))
    assert caught.value.retry_after is not None
    assert caught.value.retry_after.total_seconds() == 120
    assert sum(one.method == "PUT" for one in proxy.requests) == 1


def test_slow_down_for_a_moment_is_waited_out(proxy: Awkward, key: str) -> None:
    slow: list[Answer] = [(503, {}, b"<Error><Code>SlowDown</Code></Error>")] * 2

    def once(one: Request) -> Answer | None:
        return slow.pop() if one.method == "PUT" and slow else None

    proxy.answer = once
    assert s3_store(proxy.url).put(key, OfText(TEXT), described(TEXT)).fresh


def test_conflict_409_is_tried_again_and_credentials_are_denied(proxy: Awkward, key: str) -> None:
    conflict: Answer = (409, {}, b"<Error><Code>ConditionalRequestConflict</Code></Error>")
    proxy.answer = lambda one: conflict if one.method == "PUT" else None
    with pytest.raises(Refused):
        s3_store(proxy.url).put(key, OfText(TEXT), described(TEXT))
    denied: Answer = (403, {}, b"<Error><Code>InvalidAccessKeyId</Code></Error>")
    proxy.answer = lambda one: denied
    with pytest.raises(Denied):
        s3_store(proxy.url).put(key, OfText(TEXT), described(TEXT))


def test_credentials_that_were_replaced_are_read_once_more_after_a_403(proxy: Awkward, key: str) -> None:
    denied: Answer = (403, {}, b"<Error><Code>InvalidAccessKeyId</Code></Error>")
    proxy.answer = lambda one: denied if "AKOLD" in one.headers["authorization"] else None
    reads: list[Credentials] = []

    def renewed() -> Credentials:
        reads.append(Credentials(ACCESS_KEY, SECRET_KEY))
        return reads[-1]

    settings = storage_settings(proxy.url)
    store = s3_of(settings, Credentials("AKOLD", SECRET_KEY), Kept(), Hours((), None), RealClock(), renewed)
    assert store is not None
    assert store.put(key, OfText(TEXT), described(TEXT)).fresh
    assert store.find(key) is not None
    assert len(reads) == 1, "what works is not read again"
    proxy.answer = lambda one: denied
    with pytest.raises(Denied):
        store.find(key)
    assert len(reads) == 2, "the same again is not tried again"


def test_nobody_there_is_never_sent(key: str) -> None:
    with pytest.raises(NotSent):
        s3_store("http://127.0.0.1:9").put(key, OfText(TEXT), described(TEXT))


def test_an_upload_in_parts_that_was_cut_off_goes_on_where_it_was(proxy: Awkward, key: str) -> None:
    store = s3_store(proxy.url)
    upload = store.begin(key, described(LARGE))
    proxy.answer = lambda one: (500, {}, b"") if "partNumber=3" in one.path else None
    with pytest.raises(DeliveryError):
        store.put(key, OfText(LARGE), described(LARGE, upload=upload))
    proxy.answer = lambda one: None
    proxy.requests.clear()
    assert store.begin(key, described(LARGE)) == upload, "what was begun is found by its key"
    assert store.put(key, OfText(LARGE), described(LARGE, upload=upload)).fresh
    sent = [one.path for one in proxy.requests if one.method == "PUT"]
    assert len(sent) == 1, "only the missing part is sent"
    assert "partNumber=3" in sent[0]


def test_a_completion_whose_answer_was_lost_is_found_to_be_there(proxy: Awkward, service: str, key: str) -> None:
    store = s3_store(proxy.url)
    upload = store.begin(key, described(LARGE))
    lost: list[Request] = []

    def lose(one: Request, headers: dict[str, str]) -> None:
        if one.method == "POST" and "uploadId" in one.path and not lost:
            lost.append(one)
            raise ConnectionAbortedError

    proxy.change = lose
    with pytest.raises(DeliveryError):
        store.put(key, OfText(LARGE), described(LARGE, upload=upload))
    assert not store.put(key, OfText(LARGE), described(LARGE, upload=upload)).fresh
    assert not client(service).list_multipart_uploads(Bucket=BUCKET, Prefix=key).get("Uploads")


def test_a_file_that_changed_while_it_went_in_parts_is_never_completed(service: str, key: str) -> None:
    store = s3_store(service)
    with pytest.raises(ContentMoved):
        store.put(key, OfText(LARGE[:-1] + "x"), described(LARGE))
    assert store.find(key) is None
    assert not client(service).list_multipart_uploads(Bucket=BUCKET, Prefix=key).get("Uploads")


def test_the_probe_finds_what_each_service_does_and_leaves_nothing(proxy: Awkward, service: str) -> None:
    kept = Kept()
    proxy.drop_headers = ("if-none-match", "x-amz-server-side-encryption", "x-amz-tagging")
    settings = storage_settings(proxy.url, tags={"a": "b"}, prefix="probe/")
    found = Probe(s3_store(proxy.url, kept, tags={"a": "b"}, prefix="probe/"), kept, settings).ask()
    assert {name: found[name] for name in ("put", "metadata", "range", "multipart", "delete")} == dict.fromkeys(
        ("put", "metadata", "range", "multipart", "delete"), "yes"
    )
    assert found["conditional"] == found["encryption"] == found["tags"] == "ignored"
    assert found["checksums"] == "ignored", "moto takes a wrong SHA-256"
    assert not list(s3_store(service).list("probe/"))


# ---------------------------------------------------------------------------------------------------- local alone


def test_the_local_store_never_fills_the_disk_below_what_it_leaves_free(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / "uploads"), 2**60)
    with pytest.raises(NotSent, match="min_free"):
        store.put("a", OfText(TEXT), described(TEXT))
    assert store.free() < 0


def test_a_hard_link_is_no_copy_and_is_replaced_by_one(tmp_path: Path) -> None:
    class OfFile:
        def open(self):  # type: ignore[no-untyped-def]
            return (tmp_path / "source").open("rb")

    (tmp_path / "source").write_text(TEXT)
    (tmp_path / "uploads").mkdir()
    os.link(tmp_path / "source", tmp_path / "uploads" / "a")
    store = LocalStore(str(tmp_path / "uploads"), 0)
    assert store.is_same_file("a", os.fsencode(tmp_path / "source"))
    assert store.put("a", OfFile(), described(TEXT)).fresh
    assert not store.is_same_file("a", os.fsencode(tmp_path / "source"))


def test_no_key_leads_out_of_the_local_store_and_no_link_is_followed(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / "uploads"), 0)
    with pytest.raises(KeyConflict):
        store.put("../a", OfText(TEXT), described(TEXT))
    (tmp_path / "uploads").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "uploads" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(NotSent), store.open("link"):
        pass
    with pytest.raises(KeyConflict):
        store.put("link", OfText(TEXT), described(TEXT))
    assert (tmp_path / "secret").read_text() == "secret"

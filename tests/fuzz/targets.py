"""Every parser of bytes from outside, as a function of bytes that may refuse in its own words and in no others."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path

from daemon import dotenv, service, yaml_text
from daemon.catalogue import printable
from daemon.config import load
from daemon.contract import Item
from daemon.errors import ConfigInvalid, DeliveryError
from daemon.house import Config
from daemon.masking import mask, masked
from daemon.run.control import _parse as command
from daemon.watch.proof import container
from handlers.crm import answer, markers
from handlers.crm.performers import part_name
from handlers.intake import documents, times
from handlers.intake.conversation import Reading, conversation
from handlers.intake.lead import lead
from handlers.intake.names import Names
from handlers.settings import OLD_NAMES
from handlers.storage.content import OfText
from handlers.storage.s3 import S3Store
from handlers.storage.store import Described
from handlers.storage.taking import Malformed, Taking, TooLarge
from tests.support.s3 import Awkward, awkward, s3_store

NOW = datetime(2025, 10, 29, 7, tzinfo=UTC)
READING = Reading(UTC, "IN")
ITEM = Item(1, "conversations", "conversation", "0" * 64, 1, "", "a.json", "a.json", 1_761_700_000_000_000_000, NOW)
NAMES = Names()


@dataclass(frozen=True)
class Target:
    """A parser: what it is fed with to begin with, and which errors are its own."""

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    refusals: tuple[type[Exception], ...] = ()

    def try_with(self, data: bytes) -> bool:
        """Feed it; False where it refused. Raises whatever it should not have."""
        try:
            self.run(data)
        except self.refusals:
            return False
        return True


def _document(data: bytes) -> object:
    """A transcript and a lead out of the same bytes, named as the bytes say too."""
    document = documents.parse(data)
    said = NAMES.read(printable(data[:200]))
    found = (conversation(ITEM, document, said, READING), lead(ITEM, document, said, READING))
    return json.dumps(found[0].document)


def _name(data: bytes) -> object:
    name = printable(data)
    assert name.isprintable()
    for role in ("recordings", "conversations", "leads"):
        evidence = NAMES.evidence_of(role, name)
        assert "\n" not in evidence
    part = part_name(name)
    assert not set(part) & set("/\\\r\n\0")
    return mask(name), masked({"path": name})


def _container(data: bytes) -> object:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return container(file.fileno(), len(data))


def _answer(data: bytes) -> object:
    text = data.decode("utf-8", "replace")
    found = answer.Answer(200, {"retry-after": text[:40]}, text)
    answer.retry_after(text[:60], NOW)
    answer.failure(answer.Answer(422, {}, text), NOW)
    answer.failure(answer.Answer(503, {"retry-after": text[:40]}, text), NOW)
    answer.names_call(found, "CALL-20251029-064824-50100")
    answer.without(found, ("+12025550100", "A. Caller"))
    url = answer.recording_url_of(answer.document_of(found, "$.success"), 7, found)
    assert answer.is_usable(url)
    return url


def _config(data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.yaml")
        file.write_bytes(data)
        return load(Config, file=file, environ={}, cwd=Path(folder), flags={}, old_names=OLD_NAMES)


def _marker(data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.json.uploaded").write_bytes(data)
        return markers.read_markers(folder)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _times(data: bytes) -> object:
    text = _text(data)
    with suppress(ValueError, OverflowError):
        times.epoch(float(text[:30]))
    return times.parse(text, UTC), times.stamp(text), times.session_second(text, UTC)


def _form(data: bytes) -> object:
    """A recording sent over HTTP: whatever its names say, one file lies in the folder, or none."""
    with tempfile.TemporaryDirectory() as folder:
        watched = Path(folder, "recordings")
        taking = Taking(str(watched), b"edge", 1 << 20)
        try:
            for at in range(0, len(data), 7):
                taking.feed(data[at : at + 7])
            taken = taking.finish()
        except (Malformed, TooLarge):
            taking.give_up()
            raise
        finally:
            inside = [path for path in watched.rglob("*") if path.is_file()]
            assert len(inside) <= 1
            assert [path.name for path in Path(folder).iterdir()] == ["recordings"]
        assert inside == [Path(taken.path)]
        return taken


_LIVING = ExitStack()


@cache
def _odd_s3() -> tuple[Awkward, S3Store]:
    """A store whose service answers whatever it was last told to; both live as long as the process."""
    told = _LIVING.enter_context(awkward("http://127.0.0.1:1"))
    return told, s3_store(told.url, timeout="2s", checksums="off")


@cache
def _large() -> tuple[str, Described]:
    """What goes in two parts."""
    text = "0" * (5 * 2**20 + 1)
    return text, Described(hashlib.sha256(text.encode()).hexdigest(), len(text), "audio/ogg", {}, upload_id="u")


def _s3(data: bytes) -> object:
    """What a service says to listings, and to every step of an upload in parts."""
    told, store = _odd_s3()
    status = (200, 200, 200, 404, 400, 409, 412)[data[0] % 7 if data else 0]
    etag = data[1:40].decode("latin-1").encode("ascii", "ignore").decode()
    headers = {"Content-Type": "application/xml", "ETag": "".join(filter(str.isprintable, etag))}
    told.answer = lambda request: (status, headers, data[1:])
    told.requests.clear()
    text, described = _large()
    steps: tuple[Callable[[], object], ...] = (
        lambda: list(store.begun("audio/")),
        lambda: store.begin("k", described),
        lambda: list(islice(store.list("audio/"), 100)),
        lambda: store.in_parts_of(5 * 2**20).put("k", OfText(text), described, over=False),
    )
    return steps[(data[0] if data else 0) // 7 % len(steps)]()


TRANSCRIPT = json.dumps(
    {
        "session_id": "session_20251029_064824_0000a1b2",
        "start_time": "2025-10-29T06:48:24.123Z",
        "end_time": "2025-10-29T12:18:55+05:30",
        "conversation_items": [{"role": "user", "content": "Hello?", "timestamp": 1761720505.25}, {"role": None}],
        "lead_generated": True,
        "metadata": {"phone_number": "+12025550123", "call_id": "abc-1", "room": ["x"]},
    }
).encode()

TARGETS: Mapping[str, Target] = {
    "document": Target(_document, (TRANSCRIPT, b"{}", b"\xef\xbb\xbf{}", b"[" * 200), (documents.DocumentRefused,)),
    "name": Target(
        _name,
        (
            b"number-_12025550123-1761720504.ogg",
            b"transcript_session_2025-10-29T06-48-28.123000.json",
            b"a/../../etc/passwd\n\r\"';$(x)`\xe2\x80\xae\xff\x00.wav",
            b"5f1c7c1e-3f1c-4a51-9a55-0f5c2d3b4a10_agent.wav",
        ),
    ),
    "container": Target(
        _container,
        (
            b"OggS\0\2" + b"\0" * 60,
            b"RIFF\xff\xff\xff\xffWAVEfmt ",
            b"\0\0\0\x18ftypM4A ",
            b"\x1aE\xdf\xa3\x9fB",
            b"{}",
        ),
    ),
    "answer": Target(
        _answer,
        (
            b'{"success": true, "data": {"url": "https://crm.example/1.ogg", "size": 7}}',
            b'{"success": true, "data": {"url": "http://a:b@c/", "size": "7"}}',
            b"Wed, 29 Oct 2025 06:48:24 GMT",
            b"99999999999999999999",
            b"9999999999929 Oct 25 08:24 GM9",
        ),
        (DeliveryError,),
    ),
    "config": Target(
        _config,
        (b"crm:\n  batch: 4\n  retry: [1s, 5m]\nwatch: {poll: {recordings: always}}\n", b"a: &a [*a]"),
        (ConfigInvalid,),
    ),
    "dotenv": Target(lambda data: dotenv.parse(_text(data)), (b"A=1\nexport B='x'\n# c\nC=\"\\n\"",)),
    "yaml": Target(lambda data: yaml_text.read(_text(data)), (b"[1s, {a: b}]", b"&a [*a, *a]"), (yaml_text.NotYaml,)),
    "marker": Target(_marker, (b'{"uploaded_at": "2025-10-29", "call_data_uploaded": true, "recording_url": null}',)),
    "command": Target(command, (b'{"act": "retry", "args": {"all": true}, "dry_run": false}\n',), (Exception,)),
    "times": Target(_times, (b"2025-10-29T06:48:24.123Z", b"1761720504", b"session_20251029_064824_a", b"1e999")),
    "form": Target(
        _form,
        (
            (
                b'--edge\r\nContent-Disposition: form-data; name="conversation_id"\r\n\r\nc-1\r\n'
                b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.ogg"\r\n'
                b"Content-Type: audio/ogg\r\n\r\nOggS\r\n--edge--\r\n"
            ),
            b'--edge\r\nContent-Disposition: form-data; name="file"; filename="../x\\y"\r\n\r\n1\r\n--edge--\r\n',
        ),
        (Malformed, TooLarge),
    ),
    "s3": Target(
        _s3,
        (
            (
                b"\0<ListMultipartUploadsResult><Upload><Key>audio/a</Key><UploadId>u</UploadId></Upload>"
                b"<IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
            ),
            b"\x07<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
            b"\x0e<ListBucketResult><Contents><Key>audio/a</Key><Size>7</Size></Contents></ListBucketResult>",
            (
                b"\x15<ListPartsResult><Part><PartNumber>1</PartNumber><ETag>&quot;e&quot;</ETag><Size>5242880</Size></Part>"
                b"</ListPartsResult>"
            ),
            b"\x15<CompleteMultipartUploadResult><ETag>&quot;e-2&quot;</ETag></CompleteMultipartUploadResult>",
            b"\x18<Error><Code>NoSuchUpload</Code><Message>gone</Message></Error>",
        ),
        (DeliveryError,),
    ),
    "plist": Target(service.faults, (service.plist(service.DEFAULT).encode(), b"bplist00")),
}
"""By name. ``command`` speaks only to the ledger's owner, who is told of anything by a refusal."""


def hostile_documents() -> Mapping[str, bytes]:
    """Documents made to break readers: each must be refused or read, and soon."""
    return {
        "100,000 deep": b"[" * 100_000 + b"]" * 100_000,
        "100,000 deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "a million commas": b"{" + b'"a":[' + b"1," * 1_100_000 + b"1]}",
        "a million objects": b'{"a":[' + b"{}," * 1_100_000 + b"{}]}",
        "a gzip bomb": gzip.compress(b'{"a": "' + b"x" * (64 << 20) + b'"}', 1, mtime=0),
        "NaN": b'{"a": NaN}',
        "minus infinity": b'{"a": -Infinity}',
        "1e999": b'{"a": 1e999}',
        "a number of 5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
        "10 MB of one string": b'{"a": "' + b"x" * (10 << 20) + b'"}',
        "10 MB of escapes": b'{"a": "' + b"\\u0041" * (10 << 20 >> 3) + b'"}',
        "keys said a thousand times": b"{" + b'"a": 1,' * 1000 + b'"a": 1}',
        "lone surrogates": b'{"session_id": "\\ud800\\udfff\\ud800"}',
        "UTF-16": "{}".encode("utf-16"),
        "cut in the middle": TRANSCRIPT[: len(TRANSCRIPT) // 2],
        "null bytes": b'{"a": "\0\0"}',
        "an array": b"[1, 2]",
        "nothing": b"",
        "white space": b" " * 100_000,
        "numbers that overflow times": b'{"start_time": 99999999999999999999, "end_time": -99999999999999999999}',
    }


def mutated(data: bytes, chance: Callable[[], float]) -> bytes:
    """One of the changes that files suffer: cut, flipped, doubled, filled, spliced."""
    out = bytearray(data or b"\0")

    def at() -> int:
        return min(len(out) - 1, int(chance() * len(out)))

    for _ in range(1 + int(chance() * 4)):
        what, place = int(chance() * 6), at()
        if what == 0:
            out[place] ^= 1 << int(chance() * 8)
        elif what == 1:
            out = out[: place + 1]
        elif what == 2:
            out[place:place] = out[place : place + 1 + int(chance() * 40)]
        elif what == 3:
            out[place : place + 4] = (0xFFFFFFFF if chance() < 0.5 else int(chance() * 2**32)).to_bytes(4, "little")
        elif what == 4:
            out[place : place + 1] = bytes([int(chance() * 256)])
        else:
            out[place : place + 1 + int(chance() * 16)] = b""
        out = out or bytearray(b"\0")
    return bytes(out)


def environment() -> dict[str, str]:
    """The process's, without what the configuration would read."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CALLSPOOL_")}

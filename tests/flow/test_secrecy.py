"""Whatever happens, and however much is logged: no number, name, token or word of a call leaves by log or screen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from handlers.demo.crm import LoopbackCrm
from handlers.demo.faults import Fault
from tests.flow.steps import at_work, delivered
from tests.support.calls import FieldCall, put_json
from tests.support.process import Site, eventually

NAME = "Quintessa Marlowe"
MAIL = "quintessa@velvet.example"
COMPANY = "Velvet Ironclad"
TOKEN = "tok5up3rs3cr3tQ7x9K2m4"
NAMING_FILES = ("explain c", "erase --call", "/api/v1/calls/")
CALL = "a call"
"""Stands for one whose number the test knows only then."""
HTTP_TOKEN = "an-http-token-of-thirty-characters"
FEW = (("failures",), ("status",), ("match", "list"), ("doctor",), ("explain", "c999999"), ("retry", "--all"))
VERBS = (
    *FEW,
    ("match", "show", CALL),
    ("explain", CALL),
    ("hours",),
    ("report",),
    ("summary",),
    ("savings",),
    ("storage", "info"),
    ("storage", "probe"),
    ("verify", "--deep", "100%"),
    ("retention",),
    ("hold", "list"),
    ("ledger", "check"),
    ("config", "show"),
    ("config", "check"),
    ("version",),
    ("hold", "add", CALL, "--dry-run"),
    ("erase", "--call", CALL, "--dry-run"),
)
"""All that is to be read, by people and programs. What shows calls to whoever exports them (``export``, ``storage
list`` with the store's own keys) is left out: it must."""

REFUSED = ("storage", "probe")
"""Here there is no S3 to be asked; what is said of that is read as well."""

SAID = ("zebrafish umbrella thirty-one", "my order is quite overdue, marmalade")


def call(nth: int) -> FieldCall:
    """A call in which names were named and things were said."""
    plain = FieldCall(nth, seconds=3 + nth, lead=True)
    items = [
        {**item, "content": said} for item, said in zip(plain.transcript()["conversation_items"], SAID, strict=True)
    ]
    metadata = {"auto_saved": True, "phone_number": plain.phone, "customer_name": NAME}
    return FieldCall(nth, seconds=3 + nth, lead=True, document={"conversation_items": items, "metadata": metadata})


def drop(site: Site, one: FieldCall) -> None:
    one.drop_recording(site)
    one.drop_transcript(site)
    lead = {"name": NAME, "email": MAIL, "company": COMPANY, "phone": one.phone}
    put_json(site.leads / one.lead_name, lead)


def no(status: int, message: str) -> Fault:
    return Fault(status, body=json.dumps({"success": False, "message": message}))


def numbers_of(one: FieldCall) -> set[str]:
    """A caller's number, as it may be written."""
    return {one.phone, one.phone.removeprefix("+"), one.phone.removeprefix("+1")}


def secrets(calls: list[FieldCall]) -> set[str]:
    """Every value that went in, in the forms in which it could come out."""
    numbers = {number for one in calls for number in numbers_of(one)}
    words = {word for text in (NAME, COMPANY, *SAID) for word in text.replace(",", "").split() if len(word) > 5}
    return numbers | words | {MAIL, TOKEN, HTTP_TOKEN, MAIL.partition("@")[0]}


def leaks(text: str, calls: list[FieldCall]) -> set[str]:
    return {secret for secret in secrets(calls) if secret.lower() in text.lower()}


def allowed(text: str, calls: list[FieldCall]) -> set[str]:
    """Who asks for one call with the ledger or the token in hand is told what its files are called."""
    return {number for one in calls for number in numbers_of(one)} if text.startswith(NAMING_FILES) else set()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("verbs", [pytest.param(FEW, id="few"), pytest.param(VERBS, id="all", marks=pytest.mark.slow)])
def test_no_number_name_token_or_word_leaves_by_log_page_or_screen(
    site: Site, crm: LoopbackCrm, verbs: Sequence[Sequence[str]]
) -> None:
    calls = [call(nth) for nth in range(6)]
    token = site.folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    settings: dict[str, Any] = {"CALLSPOOL_CRM__TOKEN_FILE": str(token), "CALLSPOOL_CRM__TIMEOUT": "1s"}
    phone = calls[0].phone
    crm.misbehave(
        no(503, f"busy with {phone}"),
        no(200, f'no: "{NAME}" wrote to {MAIL}'),
        Fault(then="reset"),
        Fault(accept=True, then="hang"),
        no(422, f"{phone} is not {NAME} of {COMPANY}, who said {SAID[0]}; token {TOKEN}"),
        Fault(502, body=f"<h1>{NAME} {phone} {TOKEN}</h1>", content_type="text/html"),
        no(401, f"who is {TOKEN}?"),
        Fault(200, body=f"{SAID[0]} {TOKEN}"),
        on="call",
    )
    crm.misbehave(no(413, f"number-{phone.replace('+', '_')}-1761720504.ogg is too large"), on="upload")
    shown: list[str] = []
    settings |= {"CALLSPOOL_HTTP__LISTEN": "127.0.0.1:0", "HTTP_TOKEN": HTTP_TOKEN}
    with at_work(site, **settings) as daemon:
        base = f"http://{daemon.wait_for('http.opened')['reason']}"
        (site.conversations / "torn.json").write_text(json.dumps(calls[0].transcript())[:-20])
        (site.leads / "list.json").write_text(json.dumps([NAME, phone]))
        (site.recordings / f"number-{phone.replace('+', '_')}-1761720999.ogg").write_bytes(NAME.encode() * 9)
        for one in calls:
            drop(site, one)
        delivered_or_parked(site, crm)
        shown += said_by(site, FEW, settings)
        delivered(daemon, site, len(calls))
        shown += said_by(site, verbs if verbs is not FEW else (), settings)
        shown += pages(base, call_of(site))
        lines = [json.dumps(line, ensure_ascii=False) for line in daemon.lines] + daemon.other_output
    assert {line: found for line in lines if (found := leaks(line, calls))} == {}
    assert {text: found for text in shown if (found := leaks(text, calls) - allowed(text, calls))} == {}
    assert crm.records == len(calls)
    body = next(iter(crm.calls.values())).bodies[-1]
    assert leaks(json.dumps(body), calls)  # the CRM alone is told


def said_by(site: Site, verbs: Sequence[Sequence[str]], settings: dict[str, str]) -> list[str]:
    """What verbs print, for people and for programs."""
    named = [[call_of(site) if word == CALL else word for word in words] for words in verbs]
    done = [site.command(*words, *form, **settings) for words in named for form in ((), ("--json",))]
    ran = {*((code, False) for code in (0, 1, 3, 5)), (2, True)}
    assert not [one for one in done if (one.returncode, tuple(one.args[3:5]) == REFUSED) not in ran]
    return [f"{' '.join(one.args[3:])}: {one.stdout}{one.stderr}" for one in done]


def call_of(site: Site) -> str:
    """One call, as people name it."""
    return f"c{site.rows('SELECT min(id) FROM conversation')[0][0]}"


def pages(base: str, call_id: str) -> list[str]:
    """Every page and answer, for anybody and for who knows the token."""
    with httpx.Client(base_url=base, timeout=20, headers={"Origin": base}) as http:
        known = http.get("/openapi.json", headers={"Authorization": f"Bearer {HTTP_TOKEN}"}).json()["paths"]
        told = [path.replace("{subject}", call_id) for path, how in known.items() if "get" in how]
        paths = {"/", "/metrics", *(path for path in told if "{" not in path and not path.endswith("events"))}
        said = [f"{path} to anybody: {http.get(path).text}" for path in sorted(paths)]
        http.post("/login", data={"token": HTTP_TOKEN})
        answers = {path: http.get(path) for path in sorted(paths)}
    read = {path.rsplit("/", 1)[-1] for path, answer in answers.items() if answer.status_code == 200}
    assert {"", "metrics", "journal", "failures", call_id} <= read
    return [*said, *(f"{path}: {answer.text}" for path, answer in answers.items())]


def delivered_or_parked(site: Site, crm: LoopbackCrm) -> None:
    """Wait until every fault was met and every call is either in the books or waits for a person."""
    eventually(
        lambda: len(site.rows("SELECT 1 FROM job WHERE kind = 'call' AND state IN ('done', 'parked')")) == 6,
        "six calls delivered or parked",
        60,
    )

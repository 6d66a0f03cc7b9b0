"""Whatever happens, and however much is logged: no number, name, token or word of a call leaves by log or screen."""

from __future__ import annotations

import json
from typing import Any

from handlers.demo.crm import LoopbackCrm
from handlers.demo.faults import Fault
from tests.flow.steps import at_work, delivered
from tests.support.calls import FieldCall, put_json
from tests.support.process import Site, eventually

NAME = "Quintessa Marlowe"
MAIL = "quintessa@velvet.example"
COMPANY = "Velvet Anchor"
TOKEN = "tok5up3rs3cr3tQ7x9K2m4"
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


def secrets(calls: list[FieldCall]) -> set[str]:
    """Every value that went in, in the forms in which it could come out."""
    numbers = {one.phone for one in calls} | {one.phone.removeprefix("+") for one in calls}
    numbers |= {one.phone.removeprefix("+1") for one in calls}
    words = {word for text in (NAME, COMPANY, *SAID) for word in text.replace(",", "").split() if len(word) > 5}
    return numbers | words | {MAIL, TOKEN, MAIL.partition("@")[0]}


def leaks(text: str, calls: list[FieldCall]) -> set[str]:
    return {secret for secret in secrets(calls) if secret.lower() in text.lower()}


def test_no_number_name_token_or_word_leaves_by_log_or_screen(site: Site, crm: LoopbackCrm) -> None:
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
    with at_work(site, **settings) as daemon:
        (site.conversations / "torn.json").write_text(json.dumps(calls[0].transcript())[:-20])
        (site.leads / "list.json").write_text(json.dumps([NAME, phone]))
        (site.recordings / f"number-{phone.replace('+', '_')}-1761720999.ogg").write_bytes(NAME.encode() * 9)
        for one in calls:
            drop(site, one)
        delivered_or_parked(site, crm)
        for words in (["failures"], ["status"], ["match", "list"], ["doctor"], ["retry", "--all"]):
            for form in ([], ["--json"]):
                done = site.command(*words, *form, **settings)
                shown.append(done.stdout + done.stderr)
        done = site.command("explain", "c999999", **settings)
        shown.append(done.stdout + done.stderr)
        delivered(daemon, site, len(calls))
        lines = [json.dumps(line, ensure_ascii=False) for line in daemon.lines] + daemon.other_output
    assert {line: found for line in lines if (found := leaks(line, calls))} == {}
    assert {text: found for text in shown if (found := leaks(text, calls))} == {}
    assert crm.records == len(calls)
    body = next(iter(crm.calls.values())).bodies[-1]
    assert leaks(json.dumps(body), calls)  # the CRM alone is told


def delivered_or_parked(site: Site, crm: LoopbackCrm) -> None:
    """Wait until every fault was met and every call is either in the books or waits for a person."""
    eventually(
        lambda: len(site.rows("SELECT 1 FROM job WHERE kind = 'call' AND state IN ('done', 'parked')")) == 6,
        "six calls delivered or parked",
        60,
    )

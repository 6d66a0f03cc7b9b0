"""The verbs that look: ``status``, ``explain``, ``failures``, ``doctor``, ``version``. None of them writes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed_version
from typing import Annotated, Any

import typer

from daemon.cli.desk import CommandDesk
from daemon.contract import Finding
from daemon.ledger import story


def add(app: typer.Typer, desk: CommandDesk) -> None:
    """Add the verbs to the command."""

    @app.command("status")
    def status(
        watch: Annotated[bool, typer.Option("--watch", help="Show it anew every second, until Ctrl-C.")] = False,
    ) -> int:
        """One screen: is it moving, what waits, what needs a person."""
        if watch:
            from daemon.cli import following

            return following.watch(desk)
        found = desk.ask("status", {})
        desk.show(found, status_text(found))
        return 0

    @app.command("explain")
    def explain(subject: Annotated[str, typer.Argument(help="A call (c12, a callId) or a file.")]) -> int:
        """What became of a call or a file, and why."""
        found = desk.ask("explain", {"subject": subject, "where": os.getcwd()})
        desk.show(found, explain_text(found))
        return 0

    @app.command("failures")
    def failures() -> int:
        """What needs a person, each with the command that mends it."""
        found = desk.ask("failures", {})
        desk.show(found, failures_text(found))
        return 0

    @app.command("doctor")
    def doctor(
        within: Annotated[
            bool, typer.Option("--in-service", help="Look from inside the installed service: its user, its sandbox.")
        ] = False,
        name: Annotated[str, typer.Option("--name", help="Which instance's service.")] = "",
    ) -> int:
        """Look at folders, watch limits, ledger, destinations and clock, and say what to do."""
        from daemon.cli import service
        from daemon.cli.doctor import examine

        if within:
            return service.in_service(desk, name, service.scope_of(None), service.manager_of(""))

        findings = examine(desk)
        desk.show([_finding(f) for f in findings], doctor_text(findings))
        return next((f.exit_code for f in findings if f.status == "fail"), 0)

    @app.command("version")
    def version() -> int:
        """The program's version."""
        desk.show({"version": installed_version("callspool")}, f"callspool {installed_version('callspool')}")
        return 0


def status_text(found: Mapping[str, Any]) -> str:
    """The one screen."""
    lines = [
        f"callspool {found['version']}   " + (f"running (pid {found['pid']})" if found["running"] else "not running")
    ]
    if found["hold"]:
        lines += [f"ON HOLD  {found['hold']}", "  -> callspool ledger adopt  (or redeliver)"]
    for entry in found["paused"]:
        why = f": {entry['why']}" if entry["why"] else ""
        lines.append(f"PAUSED   {entry['what']} since {entry['since']}{why}  -> callspool resume {entry['what']}")
    lines.append("")
    lines += [_row("FOLDERS", f"{root['role']:<14}{root['state']:<18}{root['reason']}") for root in found["roots"]]
    files = ", ".join(f"{n} {state}" for state, n in found["files"].items() if n)
    lines.append(_row("FILES", files or "none yet"))
    for name in ("hours", "intake", "match", "crm", "storage", "compress"):
        if found.get(name):
            lines.append(_row(name.upper(), ", ".join(f"{key} {_short(value)}" for key, value in found[name].items())))
    for lane, counts in found["jobs"].items():
        states = ", ".join(f"{counts[s]} {s}" for s in story.MOVING if s in counts)
        if not states:
            continue
        lines.append(_row("WORK", f"{lane:<14}{states}   oldest since {counts['oldest_ts']}"))
    for dest in found["destinations"]:
        until = f"; next probe {dest['until']}" if dest["until"] else ""
        last = dest["last_success_ts"] or "never"
        state = "ok" if dest["state"] == "closed" else dest["state"]
        lines.append(_row("DESTINATION", f"{dest['dest']:<14}{state}   last success {last}{until}  {dest['reason']}"))
    if found["files"].get("old"):
        lines.append(f"{found['files']['old']} file(s) lay there before the install  -> callspool once --since all")
    if found["needs_a_person"]:
        lines.append(f"{found['needs_a_person']} need(s) a person  -> callspool failures")
    return "\n".join(lines)


def explain_text(found: Mapping[str, Any]) -> str:
    """The story as a person reads it."""
    lines = [found["call_id"] or found["subject"], ""]
    for file in found["files"]:
        flags = f"  [{', '.join(file['flags'])}]" if file["flags"] else ""
        sha = f"  sha256 {file['sha256'][:12]}" if file["sha256"] else ""
        lines.append(_row("FILE", f"{file['path']}  {file['state']}: {file['reason']}{flags}{sha}"))
    for name in ("intake", "match", "crm", "storage", "compress"):
        if name in found:
            lines += ["", name.upper(), *_tree(found[name], 1)]
    for job in found["jobs"]:
        reason = f"  {job['reason']}" if job["reason"] else ""
        again = f"  next attempt {job['next_attempt_ts']}" if job["next_attempt_ts"] else ""
        lines.append(_row("JOB", f"{job['kind']} {job['state']}, attempt {job['attempt']}{reason}{again}"))
        if job["fix"]:
            lines.append(f"            -> {job['fix']}")
        lines += [
            f"            {e['type']:<14}{e['state']}, sent {e['sends']} time(s)  {e['reason']}" for e in job["effects"]
        ]
    lines += ["", "JOURNAL"]
    lines += [f"  {told(line)}" for line in found["journal"]]
    return "\n".join(lines)


def told(line: Mapping[str, Any]) -> str:
    """A line of the journal as a person reads it."""
    rest = "  ".join(
        f"{k}={_short(v)}" for k, v in line.items() if k not in ("ts", "event") and v not in (None, [], "")
    )
    return f"{line['ts']}  {line['event']:<20}  {rest}".rstrip()


def failures_text(found: Mapping[str, Any]) -> str:
    """Grouped by reason, the commonest first."""
    lines: list[str] = []
    if found["hold"]:
        lines += [f"ON HOLD  {found['hold']}", "  -> callspool ledger adopt  (or redeliver)"]
    for dest in found["destinations"]:
        lines.append(
            f"{dest['dest']} is {dest['state']}: {dest['reason']}; next probe {dest['until']}  -> callspool doctor"
        )
    counts = Counter(entry["reason"] for entry in found["failures"])
    for reason, count in counts.most_common():
        lines.append(f"{count} x {reason}")
        for entry in [e for e in found["failures"] if e["reason"] == reason][:20]:
            path = f"  {entry['path']}" if entry.get("path") else ""
            lines.append(f"  {entry['subject']}{path}  -> {entry['fix']}")
        if count > 20:
            lines.append(f"  … and {count - 20} more  -> callspool failures --json")
    if found["retrying"]:
        lines.append(f"{len(found['retrying'])} failed and will be tried again by themselves")
    return "\n".join(lines) or "nothing needs a person"


def doctor_text(findings: Sequence[Finding]) -> str:
    """A line each, and the command under those that need one."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<5}{finding.subject:<22}{finding.detail}")
        lines += [f"       -> {fix}" for fix in finding.fix.splitlines()]
    return "\n".join(lines)


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "subject": finding.subject,
        "status": finding.status,
        "detail": finding.detail,
        "fix": finding.fix,
    }


def _row(title: str, text: str) -> str:
    return f"{title:<12}{text}".rstrip()


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{k} {_short(v)}" for k, v in value.items()) + ")"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_short(v) for v in value) + "]"
    return str(value)


def _tree(value: Any, depth: int) -> list[str]:
    """Nested values as indented lines."""
    pad = "  " * depth
    if isinstance(value, Mapping):
        lines = []
        for key, inner in value.items():
            if isinstance(inner, (Mapping, list, tuple)) and inner:
                lines += [f"{pad}{key}:", *_tree(inner, depth + 1)]
            elif inner not in (None, [], {}, ""):
                lines.append(f"{pad}{key}: {inner}")
        return lines
    if isinstance(value, (list, tuple)):
        if all(not isinstance(inner, (Mapping, list, tuple)) for inner in value):
            return [pad + ", ".join(str(inner) for inner in value)]
        return [line for inner in value for line in (*_tree(inner, depth), "")][:-1]
    return [f"{pad}{value}"]

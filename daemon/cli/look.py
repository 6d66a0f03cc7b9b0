"""The verbs that look: ``status``, ``explain``, ``failures``, ``doctor``, ``version``. None of them writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import Annotated, Any

import typer

from daemon.cli.desk import CommandDesk
from daemon.cli.text import explain_text, failures_text, status_text
from daemon.contract import Finding


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

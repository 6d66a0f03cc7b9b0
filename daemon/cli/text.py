"""What the verbs that look print. Loads next to nothing: they are to answer in a blink."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

MOVING = ("ready", "running", "retrying", "parked")
"""The states of jobs that are shown."""


def shown(value: Any, text: str, *, as_json: bool, terminal: bool) -> str:
    """What is printed: ``value`` as JSON where that is wanted, spread out on a terminal, else ``text``."""
    return json.dumps(value, ensure_ascii=False, indent=2 if terminal else None) if as_json else text


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
        states = ", ".join(f"{counts[s]} {s}" for s in MOVING if s in counts)
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

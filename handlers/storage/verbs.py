"""``callspool storage info|probe|drain|list|fetch`` and ``callspool verify``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.contract import Desk, Json, Reader
from daemon.errors import BadRequest, DeliveryError, Denied, OperatorError, UnknownSubject
from handlers import records
from handlers.settings import StorageSettings
from handlers.storage.audit import Audit, audit, settle
from handlers.storage.content import BLOCK
from handlers.storage.info import storage_info
from handlers.storage.kept import Kept
from handlers.storage.local import LocalStore
from handlers.storage.mending import audit_text, mend, mend_text
from handlers.storage.pace import Hours
from handlers.storage.probing import Probe, findings
from handlers.storage.service import Credentials, s3_of
from handlers.storage.sides import Join, joined, sides_of
from handlers.storage.store import Store

if TYPE_CHECKING:
    from handlers.storage.s3 import S3Store

DIFFERENCES = 5
"""Exit code of ``verify`` where ledger and storage do not say the same."""

GB = 2**30
S3_PRICE, CHEAP_PRICE = 0.023, 0.0047
"""What a GB costs in a month (formats.md, section 9)."""

Call = Annotated[str, typer.Argument(help="c12, r13, a callId, a session id or a transcript.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


class StoreAway(OperatorError):
    """A store cannot be reached, or refuses our credentials."""

    def __init__(self, error: DeliveryError) -> None:
        super().__init__(error.reason, fix="callspool doctor")
        self.exit_code = 21 if isinstance(error, Denied) else 20


@dataclass(frozen=True, slots=True)
class Shelves:
    """The stores as a verb uses them."""

    settings: StorageSettings
    local: LocalStore
    s3: S3Store | None
    kept: Kept

    @classmethod
    def of(cls, desk: Desk) -> Shelves:
        """Out of the configuration and its secrets."""
        settings: StorageSettings = desk.config.storage
        keys = ("access_key_id_file", "secret_access_key_file", "session_token_file")
        credentials = Credentials(*(desk.secret(f"storage.s3.{key}") for key in keys))
        kept = Kept()
        local = LocalStore(os.path.realpath(desk.path(settings.local.dir)), settings.min_free)
        return cls(settings, local, s3_of(settings, credentials, kept, Hours((), None), desk.clock), kept)

    @property
    def all(self) -> tuple[Store, ...]:
        """Every store in use."""
        return (self.local,) if self.s3 is None else (self.local, self.s3)

    def store(self, copy: records.Copy) -> Store | None:
        """The store that a copy lies in; None where it is not in use any more."""
        return next((s for s in self.all if (s.place, s.bucket) == (copy.place, copy.bucket)), None)


def verbs(desk: Desk, join: Join) -> typer.Typer:
    """The group ``storage``; ``join`` makes one stereo file of a call's two sides."""
    group = typer.Typer(no_args_is_help=True, help="Where recordings, transcripts and leads are kept.")

    @group.command("info")
    def info() -> int:
        """Which store is used, what lies in it, and what that costs in a month."""
        shelves = Shelves.of(desk)
        found = info_of(desk, shelves)
        desk.show(found, info_text(found))
        return 0

    @group.command("probe")
    def probe(dry_run: DryRun = False) -> int:
        """Ask the S3 service what it can do, and keep it in the ledger."""
        shelves = Shelves.of(desk)
        if shelves.s3 is None:
            raise BadRequest("no S3 store is configured", fix="set storage.s3.bucket and its credentials")
        try:
            found = Probe(shelves.s3, shelves.kept, shelves.settings).ask()
        except DeliveryError as error:
            raise StoreAway(error) from error
        desk.act("storage.keep_probe", {"found": found}, dry_run=dry_run)
        lines = [f"{one.status:<5}{one.subject:<26}{one.detail}" for one in findings(found)]
        desk.show({"service": shelves.s3.service, "found": found}, "\n".join([shelves.s3.service, *lines]))
        return 0

    @group.command("drain")
    def drain(
        all_: Annotated[bool, typer.Option("--all", help="Also what belongs into the local store.")] = False,
        dry_run: DryRun = False,
    ) -> int:
        """Move what lies in the local store to S3, also what S3 did not take before."""
        answer: Any = desk.act("storage.drain", {"all": all_}, dry_run=dry_run)
        said = "would move" if dry_run else "move now, oldest first"
        desk.show(answer, f"{answer['waiting']} object(s) {said}")
        return 0

    @group.command("archive")
    def archive(dry_run: DryRun = False) -> int:
        """Give old recordings in S3 their storage class now, and not only at night."""
        answer: Any = desk.act("storage.archive", {}, dry_run=dry_run)
        here = not dry_run and desk.work({})
        said = "would get" if dry_run else "got or were refused" if here else "get now"
        desk.show(answer, f"{answer['objects']} recording(s), {answer['size_bytes']:,} bytes, {said} {answer['class']}")
        return 0

    @group.command("list")
    def list_(
        subject: Annotated[str, typer.Argument(help="A call; none: all.")] = "",
        waiting: Annotated[bool, typer.Option("--waiting", help="Only what waits to move to S3.")] = False,
    ) -> int:
        """Where every copy lies."""
        with desk.read() as read:
            copies = _copies(read, subject) if subject else records.all_copies(read)
        found = [_told(copy) for copy in copies if copy.bound_for is not None or not waiting]
        lines = [f"{c['place']:<6}{c['state']:<10}{c['role']:<11}{c['size']:>12,}  {c['key']}" for c in found]
        desk.show(found, "\n".join(lines) or "nothing")
        return 0

    @group.command("fetch")
    def fetch(
        call: Call,
        to: Annotated[str, typer.Option("--to", help="The folder to put it in.")] = ".",
        stereo: Annotated[
            bool, typer.Option("--stereo", help="Also one file of both sides, agent left and customer right.")
        ] = False,
        dry_run: DryRun = False,
    ) -> int:
        """Bring what storage has of a call into a folder, each file held against the ledger's hash."""
        shelves = Shelves.of(desk)
        with desk.read() as read:
            copies = [copy for copy in _copies(read, call) if copy.state == "verified"]
            sides = sides_of(read, copies) if stereo else None
        fetched = _fetch(shelves, copies, to, dry_run=dry_run)
        if sides is not None and not dry_run:
            fetched.append(joined(sides, to, join))
        desk.show(fetched, "\n".join(f"{one['file']}  {one['size']:,} bytes" for one in fetched))
        return 0

    return group


def verify_verbs(desk: Desk) -> typer.Typer:
    """``verify``, beside the machine's own verbs."""
    app = typer.Typer()

    @app.command("verify")
    def verify(
        deep: Annotated[str, typer.Option("--deep", help="Read and hash this share, such as 5% or 100%.")] = "0%",
        repair: Annotated[
            bool, typer.Option("--repair", help="Put again what is missing or differs, from whatever still holds it.")
        ] = False,
        dry_run: DryRun = False,
    ) -> int:
        """Hold the ledger against storage: what is missing, what differs, what is there that nobody knows."""
        shelves, share = Shelves.of(desk), _share(deep)
        found = _audited(desk, shelves, share)
        answer, text = found.as_json(), audit_text(found)
        if repair and found.lost:
            mended = mend(desk, found.lost, dry_run=dry_run)
            answer["repair"] = mended
            text += f"\n{mend_text(mended)}"
            if not dry_run:
                found = _audited(desk, shelves, share)
                answer["after"], text = found.as_json(), f"{text}\nafterwards:\n{audit_text(found)}"
        desk.show(answer, text)
        if found.unreached:
            return 20
        return 0 if found.clean else DIFFERENCES

    return app


def _audited(desk: Desk, shelves: Shelves, share: float) -> Audit:
    with desk.read() as read:
        found = audit(read, shelves.all, _prefixes(shelves.settings), share)
    with desk.read() as later:
        return settle(found, later)


def info_of(desk: Desk, shelves: Shelves) -> dict[str, Json]:
    """As formats 9 names it, and what lies where."""
    found: dict[str, Json] = storage_info(shelves.settings, shelves.s3 is not None)
    counts: dict[str, Any] = {"waiting": {"objects": 0, "bytes": 0}, "calls": 0}
    try:
        with desk.read() as read:
            counts = records.copy_counts(read)
            known = None if shelves.s3 is None else records.service_found(read, shelves.s3.service)
    except OperatorError:  # no ledger yet: nothing is stored
        known = None
    place = "local" if shelves.s3 is None else "s3"
    size = counts.get(place, {}).get("bytes", 0)
    price = price_of(shelves.settings)
    probed: Json = None if known is None else {"at": known[1].isoformat(), "found": known[0]}
    cost: dict[str, Json] = {"monthly_cost": round(size / GB * price, 4), "price_per_gb": price}
    return {**found, **counts, **cost, "probe": probed, "begun_by_others": begun_by_others(desk, shelves)}


def price_of(settings: StorageSettings) -> float:
    """What a GB costs in a month: as configured, else what S3 asks, or a cheap compatible service."""
    if settings.price_per_gb is not None:
        return settings.price_per_gb
    return S3_PRICE if settings.s3.endpoint_url is None else CHEAP_PRICE


def begun_by_others(desk: Desk, shelves: Shelves) -> int | None:
    """How many uploads in parts lie unfinished under our prefixes that we did not begin; None where nobody can say."""
    if shelves.s3 is None:
        return 0
    try:
        with desk.read() as read:
            ours = {(key, upload) for _bucket, key, upload in records.multiparts(read)}
        prefixes = _prefixes(shelves.settings)["s3"]
        return sum(one not in ours for prefix in prefixes for one in shelves.s3.begun(prefix))
    except (OperatorError, DeliveryError):
        return None


def info_text(found: Mapping[str, Any]) -> str:
    """A few lines."""
    where = f"s3 {found['s3_bucket']}" if found["s3_enabled"] else f"local {found['local_path']}"
    lines = [f"copies belong in    {where}", f"calls stored whole  {found['calls']}"]
    lines += [
        f"{place:<20}{found[place]['objects']} objects, {found[place]['bytes'] / 2**20:.1f} MB"
        for place in ("local", "s3", "waiting")
        if place in found
    ]
    if found["begun_by_others"]:
        lines.append(
            f"begun by others     {found['begun_by_others']} uploads in parts  -> callspool verify  names them"
        )
    place = "a month" if found["s3_enabled"] else "in S3, a month"
    lines.append(f"{place:<20}{found['monthly_cost']:.4f} at {found['price_per_gb']} a GB")
    if found["s3_enabled"]:
        asked = "not yet  -> callspool storage probe" if found["probe"] is None else found["probe"]["at"]
        lines.append(f"asked what it does  {asked}")
    return "\n".join(lines)


def _prefixes(settings: StorageSettings) -> dict[str, list[str]]:
    """The beginnings of keys that are ours: the fixed beginnings of the layouts."""
    begins = {settings.s3.prefix + layout.partition("{")[0] for layout in (settings.s3.audio, settings.s3.transcripts)}
    shortest = [one for one in begins if not any(one != other and one.startswith(other) for other in begins)]
    return {"local": [""], "s3": sorted(shortest)}


def _share(given: str) -> float:
    from daemon.contract import percent

    try:
        return percent(given)
    except ValueError as error:
        raise BadRequest(f"--deep takes {error}", fix="callspool verify --deep 5%") from None


def _copies(read: Reader, subject: str) -> tuple[records.Copy, ...]:
    found = records.find_calls(read, subject)
    if not found and subject[:1] == "r" and subject[1:].isdecimal():
        found = (int(subject[1:]),)
    copies = tuple(copy for one in found for copy in records.copies(read, one))
    if not copies:
        raise UnknownSubject("storage has nothing under that name", fix="callspool storage list")
    return copies


def _told(copy: records.Copy) -> dict[str, Any]:
    return {
        "place": copy.place,
        "bucket": copy.bucket,
        "key": copy.key,
        "subject": copy.subject,
        "role": copy.role,
        "size": copy.size,
        "sha256": copy.sha256,
        "state": copy.state,
        "proof": copy.proof,
        "waiting": copy.bound_for is not None,
        "reason": copy.reason,
    }


def _fetch(shelves: Shelves, copies: Sequence[records.Copy], to: str, *, dry_run: bool) -> list[dict[str, Any]]:
    fetched = []
    for copy in copies:
        store = shelves.store(copy)
        if store is None:
            raise BadRequest(f"a copy lies in {copy.bucket}, which is not configured", fix="set storage.s3.bucket")
        target = os.path.join(to, os.path.basename(copy.key))
        fetched.append({"file": target, "size": copy.size, "sha256": copy.sha256, "place": copy.place})
        if not dry_run:
            try:
                _bring(store, copy, target)
            except DeliveryError as error:
                raise StoreAway(error) from error
    return fetched


def _bring(store: Store, copy: records.Copy, target: str) -> None:
    """Write it beside, hold it against the ledger, rename it."""
    import hashlib

    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    digest, beside = hashlib.sha256(), f"{target}.part"
    with store.open(copy.key) as source, open(beside, "wb") as file:
        while block := source.read(BLOCK):
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != copy.sha256:
        os.unlink(beside)
        raise BadRequest("what storage has is not what was stored", fix="callspool verify --deep 100%")
    os.rename(beside, target)

"""The demo: a daemon, a CRM on loopback that misbehaves twice, and six calls whose files arrive as in the field.

The CRM answers its first upload with 503 and ``Retry-After: 1``, and takes its first call data in but drops the
connection instead of answering. A forgetful one then has that call twice: it knows neither id nor key again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TextIO

from daemon.contract import Clock, Event
from handlers.demo import writers
from handlers.demo.calls import Call, compose
from handlers.demo.chronicle import Cast, Chronicle
from handlers.demo.crm import LoopbackCrm
from handlers.demo.faults import throttled
from handlers.demo.story import JsonStory, Story
from handlers.demo.verdict import Verdict, judge, taken_while_open

WAIT_S = 7
"""How long a conversation waits for its recording here; a quarter of an hour is usual."""

PATIENCE_S = 30.0
"""Longest wait for any one step: a machine so busy that this is not enough has failed the demo."""

RECORDER_S = 2.4
"""How long the slow recorder holds its file open."""

BEAT_S = 0.25
"""Between two things that happen in the world, so that a viewer can follow."""

FOLDERS = ("recordings", "conversations", "leads")
"""The watched ones."""

Daemon = Callable[[Path, Callable[[Event], None]], AbstractContextManager[None]]
"""Runs the daemon with this configuration file, telling its events, until left."""

Teller = Callable[[float, Event], None]


def show(
    folder: Path, daemon: Daemon, clock: Clock, out: TextIO, *, as_json: bool, keep: bool, forgetful: bool
) -> bool:
    """Play the demo below ``folder``, an empty one, and tell it on ``out``; True when every call arrived as it should.

    ``keep`` says that the folder stays, so that the end can name what to ask of it.
    """
    story = JsonStory(out) if as_json else Story(out)
    story.begin()
    verdict, elapsed_s = play(folder, daemon, clock, story.teller, forgetful=forgetful)
    story.end(verdict, elapsed_s, str(folder), keep=keep, forgetful=forgetful)
    return verdict.good


def play(
    folder: Path, daemon: Daemon, clock: Clock, teller: Callable[[Cast], Teller], *, forgetful: bool
) -> tuple[Verdict, float]:
    """The calls, the CRM, the daemon: what became of the calls, and the seconds it took.

    ``teller`` is given the cast and returns what tells each event.
    """
    cast = Cast(compose(clock.now()))
    with LoopbackCrm(forgetful=forgetful) as crm:
        chronicle = Chronicle(clock, cast, teller(cast))
        crm.misbehave(throttled("1", 503), on="upload")
        crm.misbehave("drop", on="call")
        stage = _Stage(folder, chronicle, cast.calls)
        with daemon(configure(folder, crm), chronicle.add):
            stage.say("demo.opened", None, f"the CRM answers on {crm.url}")
            stage.run()
        chronicle.tell()
        verdict = judge(cast.calls, crm, chronicle)
        if taken_while_open(cast.calls[1], chronicle):
            verdict = Verdict(verdict.lines, (*verdict.wrong, "a recording was taken while it was being written"))
        return verdict, chronicle.elapsed_s


def configure(folder: Path, crm: LoopbackCrm) -> Path:
    """Make the folders and the configuration file, and return the latter's path."""
    for name in FOLDERS:
        (folder / name).mkdir()
    file = folder / "config.yaml"
    file.write_text(
        f"""# Made by callspool demo.
watch: {{timezone: UTC}}
match: {{wait: {WAIT_S}s, lead_wait: {WAIT_S}s}}
crm:
  upload_url: {crm.upload_url}
  call_data_url: {crm.calls_url}
  campaign_id: demo
  voice_agent_id: demo
  client_id: demo
  retry: [1s]
""",
        "utf-8",
    )
    return file


class _Stage:
    """The world outside callspool: producers that write files, each call's in its own way."""

    def __init__(self, folder: Path, chronicle: Chronicle, calls: tuple[Call, ...]) -> None:
        self._recordings, self._conversations, self._leads = (folder / name for name in FOLDERS)
        self._markers = folder / "processed_uploads"
        self._chronicle = chronicle
        self._calls = calls

    def say(self, name: str, call: Call | None, text: str) -> None:
        """Something happened in the world."""
        self._chronicle.add(Event(name, {"text": text} | ({} if call is None else {"call": call.number})))

    def run(self) -> None:
        """Every call in its turn, then wait until the CRM has accepted all of them, and markers say so."""
        renamed, slow, late, doubled, plain, unrecorded = self._calls
        self._transcript(unrecorded, "transcript saved; nobody recorded this call")
        self._renamed(renamed)
        recorder = self._slow(slow)
        self._late(late)
        self._doubled(doubled)
        self._recording(plain, "recording saved, then transcript and lead")
        self._transcript(plain, "")
        self._lead(plain)
        self.say("demo.recording_missing", unrecorded, f"no recording will come; callspool waits {WAIT_S} s for it")
        if self._chronicle.wait(self._all_accepted, PATIENCE_S):
            self._chronicle.wait(lambda _: self._all_marked(), PATIENCE_S)
        recorder.join(PATIENCE_S)

    def _renamed(self, call: Call) -> None:
        writers.rename_into_place(self._recordings / call.recording_name, call.recording)
        self.say("demo.recording_saved", call, f"recording renamed into place ({call.seconds:.1f} s of speech)")
        self._chronicle.pause(BEAT_S)
        self._transcript(call, "transcript saved")

    def _slow(self, call: Call) -> threading.Thread:
        """A recorder that goes on writing while its call's transcript and lead are saved."""

        def record() -> None:
            self.say("demo.recording_opened", call, "a recorder writes in place and holds the file open")
            path = self._recordings / call.recording_name
            writers.record_slowly(path, call.recording, RECORDER_S, pause=time.sleep, closing=closing)

        def closing() -> None:
            self.say("demo.recording_closed", call, "everything is written, the recorder closes its file")

        recorder = threading.Thread(target=record, name="demo-recorder", daemon=True)
        recorder.start()
        self._chronicle.pause(BEAT_S)
        self._transcript(call, "transcript and lead saved, the recorder still writing")
        self._lead(call)
        return recorder

    def _late(self, call: Call) -> None:
        self._transcript(call, "transcript saved before its recording")
        self._chronicle.wait(lambda so_far: so_far.when("conversation.understood", call) is not None, PATIENCE_S)
        self._chronicle.pause(BEAT_S)
        self._recording(call, "recording saved late")

    def _doubled(self, call: Call) -> None:
        self._recording(call, "recording saved, then its transcript")
        self._transcript(call, "")
        self._chronicle.wait(lambda so_far: so_far.when("recording.understood", call) is not None, PATIENCE_S)
        self._chronicle.pause(BEAT_S)
        writers.save(self._recordings / "copies" / call.recording_name, call.recording)
        self.say("demo.recording_copied", call, "somebody copies the recording into a subfolder")

    def _recording(self, call: Call, text: str) -> None:
        writers.save(self._recordings / call.recording_name, call.recording)
        self.say("demo.recording_saved", call, text)
        self._chronicle.pause(BEAT_S)

    def _transcript(self, call: Call, text: str) -> None:
        writers.save(self._conversations / call.transcript_name, call.transcript)
        self.say("demo.transcript_saved", call, text)
        self._chronicle.pause(BEAT_S)

    def _lead(self, call: Call) -> None:
        if call.lead:
            writers.save(self._leads / call.lead_name, call.lead)
            self.say("demo.lead_saved", call, "")

    def _all_accepted(self, so_far: Chronicle) -> bool:
        accepted = all(so_far.when("crm.accepted", call) is not None for call in self._calls)
        return accepted and so_far.when("file.duplicated") is not None

    def _all_marked(self) -> bool:
        return all((self._markers / f"{call.transcript_name}.uploaded").exists() for call in self._calls)

"""What a real browser's MediaRecorder writes, from a microphone that hums, is as long as a decoder finds it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import av
import pytest

from handlers.audio import scan, webm
from handlers.audio.probe import probe
from tests.support.browser import CHROMIUM, needs_chromium

pytestmark = needs_chromium

PAGE = "https://recorder.test/"
"""A secure context, or there is no microphone; nothing is asked of the network."""

RECORD = """async ([slice, paused]) => {
  const sleep = ms => new Promise(done => setTimeout(done, ms));
  const stream = await navigator.mediaDevices.getUserMedia({audio: true});
  const recorder = new MediaRecorder(stream, {mimeType: 'audio/webm;codecs=opus', audioBitsPerSecond: 64000});
  const parts = [];
  recorder.ondataavailable = event => parts.push(event.data);
  const ended = new Promise(done => { recorder.onstop = done; });
  slice ? recorder.start(slice) : recorder.start();
  await sleep(1500);
  if (paused) { recorder.pause(); await sleep(1000); recorder.resume(); await sleep(1000); }
  recorder.stop();
  await ended;
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  return btoa(Array.from(bytes, one => String.fromCharCode(one)).join(''));
}"""

WAYS: dict[str, tuple[int, bool]] = {"one blob": (0, False), "slices": (200, False), "a pause": (200, True)}


A_FRAME_S = 0.06
"""What the clock of a busy browser leaves between the blocks before a pause and those after it. The pause itself, a
second, is no part of the recording."""


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    fake = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=fake)
        shown = browser.new_page()
        shown.route(PAGE, lambda route: route.fulfill(body="<title>recorder</title>", content_type="text/html"))
        shown.goto(PAGE)
        yield shown
        browser.close()


def decoded(data: bytes) -> int:
    """Samples that a decoder gives out."""
    source: Any
    with av.open(io.BytesIO(data)) as source:
        return sum(int(frame.samples) for frame in source.decode(audio=0))


@pytest.mark.parametrize("way", WAYS)
def test_a_browsers_recording_is_measured_to_the_sample(way: str, page: Any) -> None:
    data = base64.b64decode(page.evaluate(RECORD, list(WAYS[way])))
    info = probe(io.BytesIO(data))
    assert round(info.media_s * info.sample_rate) == decoded(data)
    assert (info.container, info.codec) == ("webm", "opus")
    assert 0 <= info.span_s - info.media_s <= (A_FRAME_S if way == "a pause" else 0)
    walked = webm.measure(io.BytesIO(data), "webm")
    assert walked == scan.measure(io.BytesIO(data), "webm", "matroska", claims=True)

"""Packets taken over into Ogg are the same packets, and decode to the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest

from handlers.audio.pool import Prober
from handlers.compress.verdict import refusal
from handlers.model import AudioUnreadable
from handlers.settings import VerifySettings
from tests.support import audio


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as source:
        return [bytes(packet) for packet in source.demux(source.streams.audio[0]) if packet.size]


def repacked(prober: Prober, source: Path, copy: Path) -> dict[str, Any]:
    request = {"do": "repack", "largest": 10**7, "about": '{"sha256":"0"}'}
    with source.open("rb") as one, copy.open("wb+") as other:
        return prober.do(request, one.fileno(), other.fileno(), 10)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("frame_ms", ["20", "60"])
@pytest.mark.parametrize("samples", [5 * audio.RATE, 5 * audio.RATE + 12_345])
def test_every_packet_and_every_sample_is_there(live: bool, frame_ms: str, samples: int, tmp_path: Path) -> None:
    source, copy = tmp_path / "a.webm", tmp_path / "a.opus"
    audio.encode(
        source,
        samples,
        container="webm",
        codec="libopus",
        codec_options={"frame_duration": frame_ms},
        options={"live": "1"} if live else {},
    )
    with Prober(1) as prober:
        answer = repacked(prober, source, copy)
        before, after = prober.probe(bytes(source)), prober.probe(bytes(copy))
        with source.open("rb") as one, copy.open("rb") as other:
            close = dict(prober.do({"do": "compare"}, one.fileno(), other.fileno(), 10)["closeness"])
    assert packets(copy) == packets(source)
    assert audio.decoded_samples(copy) == audio.decoded_samples(source) == answer["samples"] == samples
    assert after.media_s == before.media_s == samples / audio.RATE
    assert after.made_of == '{"sha256":"0"}'
    assert refusal(close, VerifySettings()) == ""
    assert (close["samples_more"], close["mean_db"]) == (0, 0.0)
    assert copy.stat().st_size < source.stat().st_size


def test_what_is_no_opus_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "a.ogg"
    audio.make_ogg_vorbis(source, audio.RATE)
    with Prober(1) as prober, pytest.raises(AudioUnreadable):
        repacked(prober, source, tmp_path / "a.opus")

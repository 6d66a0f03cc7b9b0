"""Two sides as one stereo file: each in its own channel, at its own time."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from handlers.audio.pool import Prober
from handlers.model import AudioUnreadable
from tests.support import audio

RATE = 48_000


@pytest.fixture(scope="module")
def prober() -> Iterator[Prober]:
    with Prober(1) as pool:
        yield pool


def joined(prober: Prober, agent: Path, customer: Path, later_s: float) -> tuple[int | None, list[array[float]]]:
    """How many samples the file is said to have, and what its channels decode to."""
    out = agent.with_name("both.opus")
    with open(agent, "rb") as one, open(customer, "rb") as two, open(out, "w+b") as made:
        files = (one.fileno(), two.fileno(), made.fileno())
        samples = prober.join(*files, 10.0, customer_later_s=later_s, bitrate=96_000)
    channels = [array("f"), array("f")]
    with av.open(str(out)) as whole:
        to_floats = av.AudioResampler(format="fltp", layout="stereo", rate=RATE)
        for frame in whole.decode(audio=0):
            for piece in to_floats.resample(frame):
                for channel, plane in zip(channels, piece.planes, strict=True):
                    channel.frombytes(bytes(plane)[: 4 * piece.samples])
    return samples, channels


def loud(channel: array[float], first_s: float, last_s: float) -> float:
    """The loudest sample between two moments."""
    return max(abs(sample) for sample in channel[round(first_s * RATE) : round(last_s * RATE)])


def spoken(path: Path, seconds: int, spans: list[tuple[float, float]], channels: int = 1) -> Path:
    sound = audio.talk(spans, seconds, rate=audio.RATE, noise_db=-90)
    audio.encode(path, audio.together(*[sound] * channels), container="wav", codec="pcm_s16le", channels=channels)
    return path


@pytest.mark.parametrize("later_s", [2.0, -2.0, 0.0])
def test_each_side_speaks_in_its_own_channel_at_its_own_time(prober: Prober, tmp_path: Path, later_s: float) -> None:
    agent = spoken(tmp_path / "agent.wav", 4, [(0.5, 1.0)])
    customer = spoken(tmp_path / "customer.wav", 3, [(1.5, 2.0)])
    samples, (left, right) = joined(prober, agent, customer, later_s)
    agent_at, customer_at = max(0.0, -later_s), max(0.0, later_s)
    length_s = max(agent_at + 4, customer_at + 3)
    assert samples == round(length_s * RATE)
    assert len(left) == len(right) == samples
    for channel, begins, ends in (
        (left, agent_at + 0.5, agent_at + 1.0),
        (right, customer_at + 1.5, customer_at + 2.0),
    ):
        assert loud(channel, begins, ends) > 0.05
        assert loud(channel, 0.0, begins - 0.05) < 0.02
        assert loud(channel, ends + 0.1, length_s) < 0.02


def test_a_side_of_two_channels_keeps_its_level(prober: Prober, tmp_path: Path) -> None:
    once = spoken(tmp_path / "once.wav", 3, [(0.5, 2.5)])
    twice = spoken(tmp_path / "twice.wav", 3, [(0.5, 2.5)], channels=2)
    _, (left, right) = joined(prober, once, twice, 0.0)
    assert loud(right, 0.5, 2.5) == pytest.approx(loud(left, 0.5, 2.5), rel=0.1)


def test_what_cannot_be_decoded_is_refused(prober: Prober, tmp_path: Path) -> None:
    good = spoken(tmp_path / "good.wav", 3, [(0.5, 1.0)])
    bad = tmp_path / "bad.ogg"
    bad.write_bytes(b"OggS" + bytes(5000))
    for sides in ((good, bad), (bad, good)):
        with pytest.raises(AudioUnreadable):
            joined(prober, *sides, 0.0)

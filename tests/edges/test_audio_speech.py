"""Where there is speech in a recording is told from its samples, in seconds of the call, and never costs its length."""

from __future__ import annotations

import os
import statistics
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import soundfile

from handlers.audio.listen import LISTEN_S, listen
from handlers.audio.ogg import page_crc
from handlers.audio.pool import Prober
from handlers.audio.probe import probe
from handlers.demo.lines import lines
from handlers.model import AudioInfo
from tests.support import audio

RATE = 16_000
SECONDS = 14.0
SPANS = ((0.8, 2.3), (3.1, 3.4), (4.6, 7.9), (9.0, 9.7), (10.5, 12.2))
"""What is said in every file here unless it says otherwise; pauses between 0.7 and 1.2 s."""

TOLERANCE_S = 0.04
"""Two windows. Most encoders smear an edge by less."""

SMEARED_S = {"mp3": 0.065}
"""At 16 kHz an MP3 granule lasts 36 ms, and the next overlaps it."""

Spans = Sequence[tuple[float, float]]


def heard(path: Path) -> AudioInfo:
    with path.open("rb") as file:
        return listen(file, probe(file))


def assert_speech(info: AudioInfo, spans: Spans, tolerance_s: float = TOLERANCE_S) -> None:
    assert info.speech is not None
    assert len(info.speech) == len(spans)
    for told, true in zip(info.speech, spans, strict=True):
        assert told == pytest.approx(true, abs=tolerance_s)


def wav(path: Path, sound: array[int], *, rate: int = RATE, channels: int = 1, subtype: str = "PCM_16") -> Path:
    shaped = memoryview(sound.tobytes()).cast("B").cast("h", (len(sound) // channels, channels))
    soundfile.write(str(path), shaped, rate, format="WAV", subtype=subtype)
    return path


def said(level_db: float = -18.0, noise_db: float | None = None) -> array[int]:
    return audio.talk(SPANS, SECONDS, rate=RATE, level_db=level_db, noise_db=noise_db)


def vorbis(path: Path, sound: array[int]) -> None:
    with soundfile.SoundFile(str(path), "w", RATE, 1, "VORBIS", format="OGG") as out:
        for start in range(0, len(sound), RATE // 10):
            out.write(memoryview(sound[start : start + RATE // 10]))


def encoder(
    container: str, codec: str, codec_options: dict[str, str] | None = None, options: dict[str, str] | None = None
) -> Callable[[Path, array[int]], None]:
    def make(path: Path, sound: array[int]) -> None:
        audio.encode(
            path, sound, container=container, codec=codec, rate=RATE, codec_options=codec_options, options=options
        )

    return make


MAKERS: dict[str, Callable[[Path, array[int]], object]] = {
    "wav": wav,
    "wav 24 bit": lambda path, sound: wav(path, sound, subtype="PCM_24"),
    "wav float": lambda path, sound: wav(path, sound, subtype="FLOAT"),
    "wav mu-law": lambda path, sound: wav(path, sound, subtype="ULAW"),
    "wav a-law": lambda path, sound: wav(path, sound, subtype="ALAW"),
    "wav ima adpcm": lambda path, sound: wav(path, sound, subtype="IMA_ADPCM"),
    "ogg opus": encoder("ogg", "libopus"),
    "ogg opus for voice": encoder("ogg", "libopus", codec_options={"application": "voip", "b": "16000"}),
    "ogg vorbis": vorbis,
    "ogg flac": encoder("ogg", "flac"),
    "webm as a browser streams it": encoder(
        "webm", "libopus", codec_options={"frame_duration": "60"}, options={"live": "1"}
    ),
    "mp3": encoder("mp3", "libmp3lame"),
    "m4a": encoder("mp4", "aac"),
    "mp4 opus": encoder("mp4", "libopus"),
    "aac": encoder("adts", "aac"),
    "flac": encoder("flac", "flac"),
}


@pytest.mark.parametrize("noise_db", [None, -55.0])
@pytest.mark.parametrize("kind", MAKERS)
def test_every_container_tells_where_there_is_speech(kind: str, noise_db: float | None, tmp_path: Path) -> None:
    path = tmp_path / "call"
    MAKERS[kind](path, said(noise_db=noise_db))
    info = heard(path)
    delay_s = 1024 / RATE if kind == "aac" else 0.0  # raw ADTS cannot say that its encoder began with silence
    spans = [(first + delay_s, last + delay_s) for first, last in SPANS]
    assert_speech(info, spans, SMEARED_S.get(kind, TOLERANCE_S))
    assert info.heard_s == pytest.approx(info.media_s, abs=0.001)
    assert info.flags == ()


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 96_000])
def test_any_sample_rate_will_do(rate: int, tmp_path: Path) -> None:
    sound = audio.talk(SPANS, SECONDS, rate=rate, noise_db=-50.0)
    assert_speech(heard(wav(tmp_path / "call", sound, rate=rate)), SPANS)


@pytest.mark.parametrize(
    ("level_db", "noise_db"), [(-18, -45), (-18, -35), (-14, -25), (-30, -55), (-48, -75), (-10, -90)]
)
def test_speech_is_told_from_the_noise_of_its_recording(level_db: float, noise_db: float, tmp_path: Path) -> None:
    assert_speech(heard(wav(tmp_path / "call", said(level_db, noise_db))), SPANS)


@pytest.mark.parametrize("offset", [-3000, 900])
def test_offset_of_a_converter_is_no_sound(offset: int, tmp_path: Path) -> None:
    sound = array("h", (value + offset for value in said(level_db=-30, noise_db=-60)))
    assert_speech(heard(wav(tmp_path / "call", sound)), SPANS)


def test_hum_is_noise(tmp_path: Path) -> None:
    hum = audio.tone(round(SECONDS * RATE), RATE, 50.0)
    sound = array("h", (value + low // 12 for value, low in zip(said(), hum, strict=True)))
    assert_speech(heard(wav(tmp_path / "call", sound)), SPANS)


def test_clicks_are_no_speech(tmp_path: Path) -> None:
    sound = said(noise_db=-60)
    for second in (0.0, 0.3, 8.4, 13.0):
        at = round(second * RATE)
        sound[at : at + 80] = array("h", [32767, -32768] * 40)
    assert_speech(heard(wav(tmp_path / "call", sound)), SPANS)


@pytest.mark.parametrize("kind", ["wav", "opus"])
def test_each_party_is_heard_on_its_own_channel(kind: str, tmp_path: Path) -> None:
    """One line is noisy and one party is soft; in a sum the soft one would be lost in the other's noise."""
    agent = audio.talk(SPANS[::2], SECONDS, level_db=-16, noise_db=-36)
    caller = audio.talk(SPANS[1::2], SECONDS, level_db=-40, noise_db=-70)
    path, sound = tmp_path / "call", audio.together(agent, caller)
    if kind == "wav":
        wav(path, sound, channels=2)
    else:
        audio.encode(path, sound, container="webm", codec="libopus", rate=RATE, channels=2, bit_rate=96_000)
    assert_speech(heard(path), SPANS)


def test_channels_in_opposite_phase_do_not_cancel(tmp_path: Path) -> None:
    left = said(noise_db=-60)
    right = array("h", (-value for value in left))
    assert_speech(heard(wav(tmp_path / "call", audio.together(left, right), channels=2)), SPANS)


def test_party_far_softer_than_the_other_is_heard_on_the_same_channel(tmp_path: Path) -> None:
    loud, soft = audio.talk(SPANS[::2], SECONDS, level_db=-12), audio.talk(SPANS[1::2], SECONDS, level_db=-36)
    sound = array("h", (a + b for a, b in zip(loud, soft, strict=True)))
    assert_speech(heard(wav(tmp_path / "call", sound)), SPANS)


def test_noise_that_begins_where_a_party_joins_is_no_speech(tmp_path: Path) -> None:
    spans = [(first + 10, last + 10) for first, last in SPANS]
    sound = audio.talk(spans, SECONDS + 20, noise_db=-45)
    sound[: 7 * RATE] = array("h", bytes(2 * 7 * RATE))
    assert_speech(heard(wav(tmp_path / "call", sound)), spans)


def test_tone_bursts_are_sound_that_comes_and_goes(tmp_path: Path) -> None:
    sound, beep = array("h", bytes(2 * round(SECONDS * RATE))), audio.tone(round(SECONDS * RATE), RATE)
    for first, last in SPANS:
        sound[round(first * RATE) : round(last * RATE)] = beep[round(first * RATE) : round(last * RATE)]
    assert_speech(heard(wav(tmp_path / "call", sound)), SPANS)


def test_short_pause_stays_within_an_utterance_and_a_long_one_parts_two(tmp_path: Path) -> None:
    sound = audio.talk([(1.0, 2.0), (2.2, 3.0), (3.5, 4.0)], 5.0)
    assert_speech(heard(wav(tmp_path / "call", sound)), [(1.0, 3.0), (3.5, 4.0)])


NOTHING: dict[str, Callable[[], array[int]]] = {
    "a tone without a pause": lambda: audio.tone(10 * RATE, RATE),
    "digital silence": lambda: array("h", bytes(20 * RATE)),
    "noise without a pause": lambda: audio.talk([], 10, noise_db=-20),
    "faint noise": lambda: audio.talk([], 10, noise_db=-75),
    "speech below the noise": lambda: said(level_db=-32, noise_db=-30),
    "a tone with a click": lambda: array("h", [32767, -32768] * 40) + audio.tone(10 * RATE, RATE),
    "one sample": lambda: array("h", [1000]),
}


@pytest.mark.parametrize("what", NOTHING)
def test_nothing_is_told_where_nothing_can_be(what: str, tmp_path: Path) -> None:
    info = heard(wav(tmp_path / "call", NOTHING[what]()))
    assert info.speech is None
    assert info.heard_s == pytest.approx(info.media_s, abs=0.001)


def test_carried_speech_begins_and_ends_where_it_was_put(tmp_path: Path) -> None:
    """Real voices begin and end softly: half of the beginnings lie within a window, most within 60 ms."""
    spans, sound = [], array("h", bytes(2 * audio.RATE))
    for line in lines().values():
        begin = len(sound) / audio.RATE
        sound += line.samples()
        spans.append((begin, len(sound) / audio.RATE))
        sound += array("h", bytes(2 * audio.RATE))
    audio.encode(tmp_path / "call", sound, container="webm", codec="libopus", bit_rate=32_000)
    told = heard(tmp_path / "call").speech
    assert told is not None
    begins = [min(abs(first - begin) for first, _ in told) for begin, _ in spans]
    ends = [min(abs(last - end) for _, last in told) for _, end in spans]
    for errors in (begins, ends):
        assert statistics.median(errors) < 0.03
        assert sorted(errors)[-3] < 0.06
        assert max(errors) < 0.15


@pytest.mark.parametrize("subtype", ["PCM_16", "ULAW"])
def test_only_the_beginning_of_a_long_recording_is_listened_to(subtype: str, tmp_path: Path) -> None:
    sound = audio.talk(
        [(1.0, 2.0), (LISTEN_S - 1, LISTEN_S + 2), (LISTEN_S + 5, LISTEN_S + 6)], LISTEN_S + 8, rate=8_000
    )
    info = heard(wav(tmp_path / "call", sound, rate=8_000, subtype=subtype))
    assert info.media_s == LISTEN_S + 8
    assert info.heard_s == pytest.approx(LISTEN_S, abs=0.6)
    assert_speech(info, [(1.0, 2.0), (LISTEN_S - 1, info.heard_s)])


def test_lost_page_leaves_later_speech_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "call.ogg"
    audio.encode(path, said(), container="ogg", codec="libopus", rate=RATE, options={"page_duration": "500000"})
    raw = bytearray(path.read_bytes())
    raw[_page_at(raw, 8.4)] ^= 1
    path.write_bytes(raw)
    info = heard(path)
    assert info.flags == ("damaged", "gaps")
    assert info.heard_s == pytest.approx(info.span_s, abs=0.02)
    assert_speech(info, SPANS, 0.06)


def test_lost_cluster_leaves_later_speech_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "call.webm"
    clusters = _in_clusters(path)
    quiet = next(place for place, cluster in enumerate(clusters[1:], 1) if _cluster_s(cluster) >= 8.0)
    assert _cluster_s(clusters[quiet + 1]) <= 9.0
    path.write_bytes(b"\x1f\x43\xb6\x75".join(clusters[:quiet] + clusters[quiet + 1 :]))
    info = heard(path)
    assert info.flags == ("gaps",)
    assert_speech(info, SPANS, 0.06)


def test_recording_joined_under_way_counts_from_its_own_first_sample(tmp_path: Path) -> None:
    path = tmp_path / "call.webm"
    clusters = _in_clusters(path)
    quiet = next(place for place, cluster in enumerate(clusters[1:], 1) if _cluster_s(cluster) >= 2.5)
    path.write_bytes(b"\x1f\x43\xb6\x75".join(clusters[:1] + clusters[quiet:]))
    begin = _cluster_s(clusters[quiet])
    assert begin < 3.0
    assert_speech(heard(path), [(first - begin, last - begin) for first, last in SPANS[1:]], 0.06)


def test_speech_ends_with_the_recording_where_the_encoder_padded_it(tmp_path: Path) -> None:
    sound = audio.talk([(1.0, 2.0), (3.0, 4.01)], 4.01)
    audio.encode(tmp_path / "call", sound, container="mp4", codec="aac", rate=RATE)
    info = heard(tmp_path / "call")
    assert_speech(info, [(1.0, 2.0), (3.0, 4.01)])
    assert info.speech is not None
    assert info.speech[-1][1] == info.heard_s == info.media_s


def test_links_of_a_chained_file_follow_one_another(tmp_path: Path) -> None:
    audio.encode(tmp_path / "link", said(), container="ogg", codec="libopus", rate=RATE)
    audio.chain(tmp_path / "call", tmp_path / "link", tmp_path / "link")
    later = [(first + SECONDS, last + SECONDS) for first, last in SPANS]
    assert_speech(heard(tmp_path / "call"), [*SPANS, *later])


@pytest.mark.parametrize("what", ["broken codebooks", "blocks shorter than their samples"])
def test_file_that_cannot_be_decoded_keeps_its_length(what: str, tmp_path: Path) -> None:
    path = tmp_path / "call"
    if what == "broken codebooks":
        vorbis(path, said())
        path.write_bytes(_with_a_broken_setup(path.read_bytes()))
    else:
        data = said().tobytes()
        header = bytearray(audio.wav_header(len(data), rate=RATE))
        header[32] = 1  # bytes of a block of one 16-bit sample
        path.write_bytes(header + data[: len(data) // 2])
    with Prober(1) as prober:
        info = prober.probe(os.fsencode(path))
    assert info.media_s == pytest.approx(SECONDS)
    assert (info.speech, info.heard_s) == (None, 0.0)
    assert "unheard" in info.flags


def test_listening_without_end_is_ended_and_the_length_kept(tmp_path: Path) -> None:
    path, another = tmp_path / "call.ogg", tmp_path / "another.wav"
    audio.make_ogg_opus(path, 60.0)
    wav(another, said())
    with Prober(1, listen_deadline_s=1e-4) as prober:
        info = prober.probe(os.fsencode(path))
    assert (info.media_s, info.speech, info.flags) == (60.0, None, ("unheard",))
    with Prober(1) as prober:
        assert prober.probe(os.fsencode(path)).flags == ()
        assert_speech(prober.probe(os.fsencode(another)), SPANS)


def _page_at(raw: bytes | bytearray, second: float) -> int:
    """Where the body of the Ogg/Opus page lies that holds the moment."""
    at = 0
    while int.from_bytes(raw[at + 6 : at + 14], "little") < second * audio.RATE:
        at = raw.index(b"OggS", at + 4)
    return at + 60


def _in_clusters(path: Path) -> list[bytes]:
    """A streamed WebM file's header and its clusters of half a second, each without the four bytes of its id."""
    options = {"live": "1", "cluster_time_limit": "500"}
    audio.encode(path, said(), container="webm", codec="libopus", rate=RATE, options=options)
    return path.read_bytes().split(b"\x1f\x43\xb6\x75")


def _cluster_s(cluster: bytes) -> float:
    """The time of a Matroska cluster: its Timestamp element (E7, size, milliseconds) comes first."""
    at = cluster.index(b"\xe7")
    size = cluster[at + 1] & 0x7F
    return int.from_bytes(cluster[at + 2 : at + 2 + size], "big") / 1000


def _with_a_broken_setup(raw: bytes) -> bytes:
    """The Ogg/Vorbis file with nonsense for codebooks, on a page whose CRC is right."""
    broken, setup = bytearray(raw), raw.index(b"\x05vorbis") + 7
    broken[setup : setup + 40] = b"\xff" * 40
    page, end = raw.rindex(b"OggS", 0, setup), raw.index(b"OggS", setup)
    broken[page + 22 : page + 26] = bytes(4)
    broken[page + 22 : page + 26] = page_crc(bytes(broken[page:end])).to_bytes(4, "little")
    return bytes(broken)

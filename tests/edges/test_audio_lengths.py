"""The length of a recording is what its samples say, to the sample, whatever its header claims."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from handlers.audio.ogg import page_crc
from handlers.audio.probe import probe
from handlers.model import AudioInfo, AudioUnreadable
from tests.support import audio

SAMPLES = 3 * audio.RATE + 1234
"""True length of every file here; no multiple of any codec's frame."""


def probed(path: Path) -> AudioInfo:
    with path.open("rb") as file:
        return probe(file)


def samples(info: AudioInfo) -> float:
    return round(info.media_s * info.sample_rate, 6)


@pytest.fixture
def opus(tmp_path: Path) -> Path:
    path = tmp_path / "call.ogg"
    audio.make_ogg_opus(path, 0, samples=SAMPLES)
    return path


MAKERS: dict[str, Callable[[Path], None]] = {
    "ogg opus": lambda path: audio.make_ogg_opus(path, 0, samples=SAMPLES),
    "ogg opus stereo": lambda path: audio.make_ogg_opus(path, 0, samples=SAMPLES, channels=2, bit_rate=128_000),
    "ogg vorbis": lambda path: audio.make_ogg_vorbis(path, SAMPLES),
    "ogg flac": lambda path: audio.make_ogg_flac(path, SAMPLES),
    "webm as a browser streams it": lambda path: audio.make_webm(path, SAMPLES),
    "webm with Duration": lambda path: audio.make_webm(path, SAMPLES, live=False),
    "mp3 cbr": lambda path: audio.make_mp3(path, SAMPLES),
    "mp3 vbr": lambda path: audio.make_mp3(path, SAMPLES, vbr=True),
    "m4a": lambda path: audio.make_m4a(path, SAMPLES),
    "m4a index in front": lambda path: audio.make_m4a(path, SAMPLES, faststart=True),
    "mp4 opus": lambda path: audio.make_m4a(path, SAMPLES, codec="libopus"),
    "mp4 opus fragmented": lambda path: audio.make_m4a(path, SAMPLES, codec="libopus", fragmented=True),
    "flac": lambda path: audio.make_flac(path, SAMPLES),
    "flac streamed": lambda path: audio.make_flac_streamed(path, SAMPLES),
    "wav": lambda path: audio.make_wav(path, SAMPLES),
    "wav stereo": lambda path: audio.make_wav(path, SAMPLES, channels=2),
    "wav a-law": lambda path: audio.make_wav(path, SAMPLES, tag=6),
    "wav mu-law": lambda path: audio.make_wav(path, SAMPLES, tag=7),
    "wav streamed": lambda path: audio.make_wav_streamed(path, SAMPLES),
    "wav streamed, zero sizes": lambda path: audio.make_wav_streamed(path, SAMPLES, size=0),
    "wav with a list behind": lambda path: audio.make_wav(path, SAMPLES, tail=b"LIST\x04\0\0\0INFO"),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_whole_file_is_measured_to_the_sample_without_a_doubt(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file-without-suffix"
    MAKERS[kind](path)
    info = probed(path)
    assert samples(info) == SAMPLES
    assert info.span_s == info.media_s
    assert info.flags == ()
    assert (info.sample_rate, info.channels) == (audio.RATE, 2 if "stereo" in kind else 1)


@pytest.mark.parametrize("vbr", [False, True])
def test_mp3_without_xing_counts_what_the_decoder_gives_out(vbr: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    audio.make_mp3(path, SAMPLES, vbr=vbr, xing=False)
    info = probed(path)
    assert samples(info) == audio.decoded_samples(path)
    assert info.header_s is None


def test_fragmented_m4a_without_edit_list_keeps_the_encoder_delay(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    audio.make_m4a(path, SAMPLES, fragmented=True)
    assert samples(probed(path)) == SAMPLES + 1024


def test_amr_counts_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.amr"
    audio.make_amr(path, 50)
    info = probed(path)
    assert (info.codec, info.media_s, info.flags) == ("amr_nb", 1.0, ())


def test_rf64_takes_its_size_from_ds64(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    data = audio.tone(SAMPLES).tobytes()
    header = audio.wav_header(0xFFFFFFFF, rf64=(len(data) + 72, len(data)), riff_size=0xFFFFFFFF)
    path.write_bytes(header + data)
    info = probed(path)
    assert samples(info) == SAMPLES
    assert info.header_s == info.media_s


def test_wav_header_of_the_last_flush_loses_against_the_bytes_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(audio.wav_header(audio.RATE * 2) + audio.tone(SAMPLES).tobytes())
    info = probed(path)
    assert samples(info) == SAMPLES
    assert info.header_s == 1.0
    assert info.flags == ("duration_mismatch",)


def test_chained_ogg_is_the_sum_of_its_links(opus: Path, tmp_path: Path) -> None:
    other, path = tmp_path / "vorbis.ogg", tmp_path / "chain.ogg"
    audio.make_ogg_vorbis(other, SAMPLES)
    audio.chain(path, opus, other, opus)
    info = probed(path)
    assert samples(info) == 3 * SAMPLES
    assert info.flags == ("chained",)


def test_ogg_joined_under_way_does_not_count_what_was_before(opus: Path, tmp_path: Path) -> None:
    path = tmp_path / "joined.ogg"
    path.write_bytes(_shifted(opus.read_bytes(), 3600 * audio.RATE))
    info = probed(path)
    assert samples(info) == SAMPLES
    assert info.span_s == info.media_s


def test_ogg_page_with_a_flipped_bit_is_missing_from_the_samples_as_in_a_decoder(opus: Path) -> None:
    raw = bytearray(opus.read_bytes())
    raw[len(raw) // 2] ^= 1
    opus.write_bytes(raw)
    info = probed(opus)
    assert samples(info) == audio.decoded_samples(opus) < SAMPLES
    assert round(info.span_s * audio.RATE) == SAMPLES
    assert info.flags == ("damaged", "gaps")


def test_lost_cluster_in_webm_shows_as_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    audio.make_webm(path, 12 * audio.RATE, options={"cluster_time_limit": "1000"})
    clusters = path.read_bytes().split(b"\x1f\x43\xb6\x75")
    assert len(clusters) > 6
    path.write_bytes(b"\x1f\x43\xb6\x75".join(clusters[:4] + clusters[5:]))
    info = probed(path)
    assert samples(info) == audio.decoded_samples(path) < 12 * audio.RATE
    assert info.span_s == pytest.approx(12.0, abs=0.005)
    assert info.flags == ("gaps",)


@pytest.mark.parametrize(
    "kind", ["ogg opus", "webm as a browser streams it", "mp3 cbr", "m4a index in front", "flac", "wav"]
)
def test_file_cut_short_is_as_long_as_what_can_be_decoded(kind: str, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole", tmp_path / "cut"
    MAKERS[kind](whole)
    audio.cut(path, whole, 0.61)
    info = probed(path)
    assert samples(info) == audio.decoded_samples(path)
    assert 0 < samples(info) < 0.8 * SAMPLES
    if info.header_s is not None:
        assert info.header_s == pytest.approx(SAMPLES / audio.RATE, abs=0.02)
        assert "duration_mismatch" in info.flags
    if info.container not in {"webm", "mp3"}:
        assert "truncated" in info.flags


def test_ogg_that_its_recorder_never_closed_says_so(opus: Path) -> None:
    raw = opus.read_bytes()
    opus.write_bytes(raw[: raw.rindex(b"OggS")])
    info = probed(opus)
    assert info.flags == ("no_end",)
    assert samples(info) == audio.decoded_samples(opus)


def test_absurd_granule_does_not_become_a_time(opus: Path, tmp_path: Path) -> None:
    raw = opus.read_bytes()
    last = raw.rindex(b"OggS")
    path = tmp_path / "absurd.ogg"
    path.write_bytes(raw[:last] + _shifted(raw[last:], 1 << 61))
    info = probed(path)
    assert info.span_s == info.media_s
    assert "clock_jump" in info.flags


def test_container_clock_is_the_start(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    audio.encode(path, SAMPLES, container="mp4", codec="aac", metadata={"creation_time": "2025-10-29T06:48:24.000000Z"})
    start = probed(path).start_at
    assert start is not None
    assert start.isoformat() == "2025-10-29T06:48:24+00:00"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"hello", "unknown container"),
        (b"FORM\0\0\0\0AIFF", "AIFF"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
        (b"RIFF\0\0\0\0AVI ", "unknown container"),
        (b"OggS" + bytes(40), "no whole page"),
        (b"fLaC" + bytes(40), "flac"),
        (b"\x1a\x45\xdf\xa3" + bytes(40), "matroska"),
        (b"\0\0\0\x18ftypisom" + bytes(30), "mp4"),
        (audio.wav_header(4, tag=0x83) + bytes(4), "G.729"),
        (audio.wav_header(4, rate=0) + bytes(4), "sample rate"),
        (b"RIFF\0\0\0\0WAVEfmt ", "WAV"),
        (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", "unknown container"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "unknown container"),
    ],
)
def test_what_is_no_audio_is_refused_by_kind(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "number-_918655048643-1761635651.ogg"
    path.write_bytes(content)
    with pytest.raises(AudioUnreadable) as refused:
        probed(path)
    assert reason in refused.value.reason
    assert "8655048643" not in refused.value.reason


def test_headers_without_a_sample_are_understood_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    audio.make_wav(path, 0)
    assert probed(path).flags == ("no_audio",)


def _shifted(raw: bytes, by: int) -> bytes:
    """The Ogg pages with every granule above 0 moved and the CRCs made right again."""
    out, at = bytearray(raw), 0
    while at < len(out):
        segments = out[at + 26]
        size = 27 + segments + sum(out[at + 27 : at + 27 + segments])
        granule = struct.unpack_from("<q", out, at + 6)[0]
        if granule > 0:
            struct.pack_into("<q", out, at + 6, granule + by)
        struct.pack_into("<I", out, at + 22, 0)
        struct.pack_into("<I", out, at + 22, page_crc(bytes(out[at : at + size])))
        at += size
    return bytes(out)

import numpy as np
import pytest
import soundfile

from trio_bridge.client.sound import WIRE_RATE, SoundError, read_sound, write_pcm16

TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16_000)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_width_and_any_channels(tmp_path, subtype, channels):
    """Half a second of a tone is the same tone at 24 kHz, whatever it was stored as."""
    path = tmp_path / "tone.wav"
    soundfile.write(path, np.stack([TONE] * channels, axis=1), 16_000, subtype=subtype)
    samples = read_sound(path)
    assert samples.dtype == np.float32
    assert samples.shape == (12_000,)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(12_000) / WIRE_RATE)
    assert np.abs(samples - expected)[500:-500].max() < (0.02 if subtype == "PCM_U8" else 0.001)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_any_rate(tmp_path, rate):
    """The length in seconds stays."""
    path = tmp_path / "tone.wav"
    soundfile.write(path, np.zeros(rate), rate)
    assert len(read_sound(path)) == WIRE_RATE


def test_channels_are_averaged(tmp_path):
    """Opposite channels cancel: neither is simply dropped."""
    path = tmp_path / "tone.wav"
    soundfile.write(path, np.stack([TONE, -TONE], axis=1), 24_000)
    assert np.abs(read_sound(path)).max() < 1e-3


def test_what_is_no_sound(tmp_path):
    """Each case has its own words."""
    with pytest.raises(SoundError, match="no such file"):
        read_sound(tmp_path / "none.wav")
    text = tmp_path / "text.wav"
    text.write_text("hello")
    with pytest.raises(SoundError, match="not a sound file"):
        read_sound(text)
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0), 16_000)
    with pytest.raises(SoundError, match="no sound"):
        read_sound(empty)


def test_what_is_written_can_be_read(tmp_path):
    """Mono PCM16 at 24 kHz; a directory that is not there is an error in words."""
    path = tmp_path / "reply.wav"
    write_pcm16(path, np.arange(0, 1000, dtype="<i2").tobytes())
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == WIRE_RATE
    assert samples.tolist() == list(range(1000))
    with pytest.raises(SoundError, match="No such file"):
        write_pcm16(tmp_path / "none" / "reply.wav", b"")

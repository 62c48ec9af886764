"""Videos: what is kept of them, what a kill costs, and what is said of those that are damaged."""

import os
import signal
import subprocess
import sys
import weakref
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

av = pytest.importorskip("av", reason='needs "arcsr-lightning[video]"')

from arcsr_lightning.data import video as files  # noqa: E402
from arcsr_lightning.data import video_writing as writing  # noqa: E402
from arcsr_lightning.data.video import frames_of, look_of  # noqa: E402
from arcsr_lightning.data.video_writing import SEGMENT  # noqa: E402
from arcsr_lightning.errors import InputError  # noqa: E402
from arcsr_lightning.networks.restoration import Restoration  # noqa: E402
from arcsr_lightning.videos import restore_video  # noqa: E402

REAL = Path(__file__).parents[2] / "shared" / "data" / "videos" / "gpmf-parser_max-heromode.mp4"
TICK = Fraction(1, 90000)
FRAMES = 2 * SEGMENT + 5
TIMES = [900 + 3003 * number for number in range(FRAMES)]  # not from 0 on
SIZE = (24, 32)


def pixels(number, size=SIZE):
    """A flat colour with a brighter field that wanders."""
    picture = np.full((*size, 3), (200 - 2 * number, 60, 3 * number), np.uint8)
    picture[4:12, (number % 8) * 2 : (number % 8) * 2 + 8] = (40, 220, 120)
    return picture


def write_clip(
    path, count=FRAMES, rotation=0, sound=None, look=None, times=TIMES, coding=None, options=None, metadata=()
):
    """A clip, with B-frames unless ``coding`` says otherwise, and with a tone if wanted."""
    look = {"color_range": 1, "colorspace": 1, "color_primaries": 1, "color_trc": 1} | (look or {})
    deep = look.pop("deep", False)
    with av.open(str(path), "w", options={"movie_timescale": "90000"} if options is None else options) as out:
        out.metadata.update(metadata)
        stream = out.add_stream("libx264", rate=Fraction(30000, 1001), options=coding or {"crf": "4", "g": "12"})
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p10le" if deep else "yuv420p"
        stream.codec_context.time_base = stream.time_base = TICK
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for name, value in look.items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(rotation)
        tone = None
        if sound:
            tone = out.add_stream(sound, rate=48000)
            tone.codec_context.layout = "mono"
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(pixels(number), format="rgb24")
            frame = frame.reformat(
                format=stream.pix_fmt, dst_colorspace=look["colorspace"], dst_color_range=look["color_range"]
            )
            frame.pts, frame.time_base, frame.duration = times[number], TICK, 3003
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if tone is not None:
            for number in range(48000 * times[count - 1] // 90000 // 1024):
                wave = np.sin(np.arange(1024 * number, 1024 * (number + 1)) / 20)[None].astype(np.float32)
                samples = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                samples.rate, samples.pts = 48000, 1024 * number
                out.mux(tone.encode(samples))
            out.mux(tone.encode(None))
    return path


def read(path):
    """The pictures of a video and when each is shown, in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [f.to_ndarray(format="rgb24") for f in frames], [frame.pts * frame.time_base for frame in frames]


def packets(path):
    with av.open(str(path)) as container:
        return [
            (packet.pts * packet.time_base, bytes(packet))
            for packet in container.demux(audio=0)
            if packet.dts is not None
        ]


def doubled(lr):
    """A "restoration" whose kernels are a line across where the picture is bright, a point elsewhere."""
    bright = (lr[:, 1:2] > 0.5).float()
    point, line = (torch.zeros(1, 25, 1, 1) for _ in range(2))
    point[:, 12], line[:, 10:15] = 1, 0.2
    return Restoration(F.interpolate(lr, scale_factor=2), bright * line + (1 - bright) * point)


def restore(source, target, kernels=None, restoration=doubled, job=None, **more):
    return restore_video(source, target, kernels, restoration, 2, job or {"weights": "a"}, **more)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", sound="aac", rotation=90)


def yuv_of(rgb, red, blue, full):
    """8-bit Y, U and V of a colour in [0, 1], as ITU-R BT.601 and BT.709 write them with their weights."""
    luma = red * rgb[0] + (1 - red - blue) * rgb[1] + blue * rgb[2]
    u, v = (rgb[2] - luma) / (2 - 2 * blue), (rgb[0] - luma) / (2 - 2 * red)
    return (255 * luma, 128 + 255 * u, 128 + 255 * v) if full else (16 + 219 * luma, 128 + 224 * u, 128 + 224 * v)


@pytest.mark.parametrize(("coding", "warns"), [(None, False), ({"crf": "4", "flags": "+ildct+ilme"}, True)])
def test_an_interlaced_video_is_warned_of_with_a_cure(tmp_path, caplog, coding, warns):
    path = write_clip(tmp_path / "clip.mp4", 3, coding=coding)
    look_of(path)
    assert [line.endswith(f"first: ffmpeg -i {path} -vf bwdif progressive.mp4") for line in caplog.messages] == (
        [True] * warns
    )


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("matrix", "red", "blue"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114)])
def test_colours_are_read_without_a_bias(matrix, red, blue, full):
    look = SimpleNamespace(matrix=matrix, deep=False)
    errors = []
    for colour in np.random.default_rng(0).uniform(0.1, 0.9, (40, 3)):
        frame = av.VideoFrame(32, 32, "yuv420p")
        frame.color_range = 2 if full else 1
        for plane, value in zip(frame.planes, yuv_of(colour, red, blue, full), strict=True):
            plane.update(bytes([round(value)]) * plane.buffer_size)
        errors.append(255 * (files.picture_of(frame, look)[:, 16, 16].numpy() - colour))
    assert np.abs(np.mean(errors, 0)).max() < 0.35  # it was up to 1.5; values are rounded to 8 bits twice


def test_colours_are_written_without_a_bias(tmp_path):
    errors = []
    for number, colour in enumerate(np.random.default_rng(0).integers(30, 225, (8, 3), dtype=np.uint8)):
        path = tmp_path / f"{number}.mp4"
        look = files.Look(32, 32, 1, Fraction(25), Fraction(1, 25), Fraction(1), 0, False, 1, 1, 1, 1)
        with writing.encoder(path, look, 32, 32) as encode:
            encode(np.full((32, 32, 3), colour), files.Frame(None, 0, 1))
        with av.open(str(path)) as container:
            (frame,) = container.decode(video=0)
        planes = [
            np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : plane.width] for plane in frame.planes
        ]
        errors.append(np.array([plane.mean() for plane in planes]) - yuv_of(colour / 255, 0.2126, 0.0722, False))
    assert np.abs(np.mean(errors, 0)).max() < 0.4


def test_frames_times_sound_colours_rotation_and_aspect_are_kept(clip, tmp_path):
    target, kernels = tmp_path / "out" / "restored.mp4", tmp_path / "out" / "kernels.mp4"
    assert restore(clip, target, kernels) is None
    before, after, drawn = read(clip), read(target), read(kernels)
    assert after[1:] == before[1:] == drawn[1:]
    assert before[1] == [time * TICK for time in TIMES]
    for old, new in zip(before[0], after[0], strict=True):
        assert new.shape == (2 * SIZE[0], 2 * SIZE[1], 3)
        assert np.abs(new[::2, ::2].astype(int) - old).mean() < 3
    assert packets(target) == packets(clip) != []
    with av.open(str(clip)) as old, av.open(str(target)) as new, av.open(str(kernels)) as field:
        assert old.duration == new.duration
        assert not field.streams.audio
        for one in (new, field):
            assert one.streams.video[0].duration == old.streams.video[0].duration
            assert one.streams.video[0].average_rate == old.streams.video[0].average_rate
            assert one.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
            assert next(one.decode(video=0)).rotation == next(old.decode(video=0)).rotation == 90
    assert {path.name for path in target.parent.iterdir()} == {"restored.mp4", "kernels.mp4"}


def test_a_rate_that_varies_is_kept(tmp_path):
    times = [1000 + 3003 * number + 700 * (number % 3) for number in range(FRAMES)]
    clip = write_clip(tmp_path / "clip.mp4", times=times, coding={"bf": "0"})
    restore(clip, tmp_path / "restored.mp4")
    assert read(tmp_path / "restored.mp4")[1] == [time * TICK for time in times]


def test_the_second_video_shows_the_kernels(clip, tmp_path):
    restore(clip, tmp_path / "restored.mp4", tmp_path / "kernels.mp4")
    for number, shown in enumerate(read(tmp_path / "kernels.mp4")[0][:8]):
        left = 2 * number
        assert shown.shape == (*SIZE, 3)
        assert shown[5:11, left + 1 : left + 7, 0].mean() > 200  # a line across is red, and bright
        assert shown[14:].max() < 30  # no blur is black


@pytest.mark.parametrize(
    ("look", "deep"),
    [
        ({"color_range": 1, "colorspace": 1, "color_primaries": 1, "color_trc": 1}, False),
        ({"color_range": 2, "colorspace": 6, "color_primaries": 6, "color_trc": 6}, False),
        ({"color_range": 1, "colorspace": 9, "color_primaries": 9, "color_trc": 16}, True),
    ],
    ids=["HD", "full range", "HDR"],
)
def test_colours_keep_their_description_and_their_values(tmp_path, look, deep):
    source = write_clip(tmp_path / "clip.mp4", count=3, look={**look, "deep": deep})
    restore(source, tmp_path / "restored.mp4")
    with av.open(str(source)) as old, av.open(str(tmp_path / "restored.mp4")) as new:
        for before, after in zip(old.decode(video=0), new.decode(video=0), strict=True):
            for name, value in look.items():
                assert getattr(before, name) == getattr(after, name) == value, name
            assert after.format.components[0].bits == (10 if deep else 8)
            luma = [frame.to_ndarray()[18:22, :4].mean() for frame in (before,)]
            larger = after.to_ndarray()[36:44, :8].mean()
            assert abs(luma[0] - larger) < (4 if deep else 1.5)


def test_a_video_that_does_not_say_keeps_the_colours_that_players_show(tmp_path):
    unsaid = {"color_range": 1, "colorspace": 6, "color_primaries": 2, "color_trc": 2}
    source = write_clip(tmp_path / "said.mp4", count=2, look=unsaid)
    assert look_of(source).matrix == 6
    frame = av.VideoFrame(64, 480, "yuv420p")
    frame.colorspace = 2
    assert files.matrix_of(frame) == files.BT601
    frame = av.VideoFrame(64, 720, "yuv420p")
    frame.colorspace = 2
    assert files.matrix_of(frame) == files.BT709


@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
def test_other_containers_hold_the_same(clip, tmp_path, suffix):
    target = tmp_path / f"restored{suffix}"
    restore(clip, target)
    sound, copied = packets(clip), packets(target)
    assert [data for _, data in copied] == [data for _, data in sound]
    # Matroska counts milliseconds, from the first of all packets on, which is one of sound.
    shift, allowed = (-sound[0][0], Fraction(1, 1000)) if suffix == ".mkv" else (0, 0)
    for before, after in zip(read(clip)[1], read(target)[1], strict=True):
        assert abs(before + shift - after) <= allowed


def test_sides_that_are_odd_are_kept(tmp_path):
    class Odd:
        def __call__(self, lr):
            return Restoration(lr[..., :-1, :-1])

    source = write_clip(tmp_path / "clip.mp4", count=2)
    restore_video(source, tmp_path / "restored.mp4", None, Odd(), 1, {})
    assert read(tmp_path / "restored.mp4")[0][0].shape == (SIZE[0] - 1, SIZE[1] - 1, 3)


def test_few_frames_are_in_memory_at_any_time(clip, tmp_path):
    alive, most = weakref.WeakSet(), 0

    def watched(lr):
        nonlocal most
        restored = doubled(lr)
        alive.add(restored.sr)
        alive.add(lr)
        most = max(most, len(alive))
        return restored

    restore(clip, tmp_path / "restored.mp4", restoration=watched)
    assert 2 < most <= 8  # of 53: two that are waiting, one that is written, one that is restored


# --- going on after a kill

KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from test_videos import *
done = 0
def slow(lr):
    global done
    done += 1
    print(done, flush=True)
    if done > SEGMENT + 4:
        time.sleep(60)
    return doubled(lr)
restore(Path({source!r}), Path({target!r}), Path({kernels!r}), slow)
"""


def test_the_encoder_writes_the_same_frames_alike_each_time(clip, tmp_path):
    """With mbtree, x264 did not, in some of a hundred segments; its settings stand in the stream."""
    restore(clip, tmp_path / "restored.mp4")
    assert b" mbtree=0 " in (tmp_path / "restored.mp4").read_bytes()


def test_a_killed_command_goes_on_and_ends_in_the_same_frames(clip, tmp_path):
    whole, target = tmp_path / "whole.mp4", tmp_path / "restored.mp4"
    kernels = [path.with_name(f"{path.stem}_kernels.mp4") for path in (whole, target)]
    restore(clip, whole, kernels[0])
    names = {"tests": str(Path(__file__).parent), "source": str(clip), "target": str(target)}
    code = KILLED.format(**names, kernels=str(kernels[1]))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) > SEGMENT + 4:
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    folder = tmp_path / "restored.mp4.segments"
    assert not target.exists() and (folder / "restored" / "000000.mp4").is_file()
    calls = []

    def counted(lr):
        calls.append(1)
        return doubled(lr)

    restore(clip, target, kernels[1], counted)
    assert len(calls) == FRAMES - SEGMENT
    for first, second in ((whole, target), kernels):
        assert read(first)[1:] == read(second)[1:]
        assert all(np.array_equal(*pair) for pair in zip(read(first)[0], read(second)[0], strict=True))
    assert not folder.exists()


class StoppedError(Exception):
    pass


def stop_after(count):
    calls = []

    def restoration(lr):
        calls.append(1)
        if len(calls) > count:
            raise StoppedError
        return doubled(lr)

    return restoration


def test_another_job_is_refused_and_removes_nothing_unless_it_is_told_to(tmp_path):
    source, target = write_clip(tmp_path / "clip.mp4"), tmp_path / "restored.mp4"
    with pytest.raises(StoppedError):
        restore(source, target, restoration=stop_after(SEGMENT + 2))
    segment = tmp_path / "restored.mp4.segments" / "restored" / "000000.mp4"
    held = segment.read_bytes()
    other = {"weights": "b"}
    with pytest.raises(InputError, match=r"restored.mp4.segments holds what a command with another weights began"):
        restore(source, target, job=other)
    assert segment.read_bytes() == held
    os.utime(source, (1, 1))
    with pytest.raises(InputError, match=r"a command with another source began"):
        restore(source, target)
    with pytest.raises(StoppedError):
        restore(source, target, job=other, restoration=stop_after(1), start_anew=True)
    assert not segment.exists()


def test_segments_without_a_note_of_whose_they_are_are_not_taken_up(clip, tmp_path):
    with pytest.raises(StoppedError):
        restore(clip, tmp_path / "restored.mp4", restoration=stop_after(SEGMENT + 2))
    (tmp_path / "restored.mp4.segments" / "job.json").unlink()
    calls = []
    restore(
        clip, tmp_path / "restored.mp4", job={"weights": "b"}, restoration=lambda lr: calls.append(1) or doubled(lr)
    )
    assert len(calls) == FRAMES


def test_a_damaged_note_of_whose_segments_they_are_gets_one_line(clip, tmp_path):
    with pytest.raises(StoppedError):
        restore(clip, tmp_path / "restored.mp4", restoration=stop_after(SEGMENT + 2))
    (tmp_path / "restored.mp4.segments" / "job.json").write_text('{"source"')
    with pytest.raises(InputError, match=r"job.json: damaged \(.*\); overwrite=true starts the video anew"):
        restore(clip, tmp_path / "restored.mp4")
    calls = []
    restore(clip, tmp_path / "restored.mp4", restoration=lambda lr: calls.append(1) or doubled(lr), start_anew=True)
    assert len(calls) == FRAMES


def test_segments_are_taken_up_with_leave_to_overwrite_too(clip, tmp_path):
    with pytest.raises(StoppedError):
        restore(clip, tmp_path / "restored.mp4", restoration=stop_after(SEGMENT + 2))
    calls = []
    restore(clip, tmp_path / "restored.mp4", restoration=lambda lr: calls.append(1) or doubled(lr), start_anew=True)
    assert len(calls) == FRAMES - SEGMENT


def test_two_at_once_are_refused(clip, tmp_path):
    target = tmp_path / "restored.mp4"

    def meanwhile(lr):
        with pytest.raises(InputError, match="another process is restoring this video"):
            restore(clip, target)
        raise StoppedError

    with pytest.raises(StoppedError):
        restore(clip, target, restoration=meanwhile)


# --- what is unusual


def test_recordings_that_were_appended_to_each_other_have_sound_that_never_steps_back(tmp_path):
    """As it does where the second begins."""
    parts = [write_clip(tmp_path / f"{number}.ts", sound="aac", options={}) for number in range(2)]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    restore(both, tmp_path / "restored.mp4")
    times = [time for time, _ in packets(tmp_path / "restored.mp4")]
    assert times and times == sorted(set(times))


def test_what_cannot_be_joined_names_the_file(clip, tmp_path, monkeypatch):
    def refused(*_):
        raise av.error.ArgumentError(22, "Invalid argument")
        yield

    monkeypatch.setattr(writing, "packets_of_sound", refused)
    with pytest.raises(InputError, match=r"restored.mp4 cannot be written \(Invalid argument\)"):
        restore(clip, tmp_path / "restored.mp4")
    assert not (tmp_path / "restored.mp4").exists()


def test_a_matroska_file_that_begins_late_is_whole(tmp_path):
    late = [180_000 + time for time in TIMES]
    source = write_clip(tmp_path / "late.mkv", times=late, sound="aac")
    assert len(list(frames_of(source, look_of(source)))) == FRAMES


def test_packets_without_a_duration_last_a_frame(tmp_path):
    """Those of ASF, whose pictures here are two seconds apart."""
    source = tmp_path / "slow.wmv"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("wmv2", rate=Fraction(1, 2))
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(4):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels(number), format="rgb24")))
        out.mux(stream.encode(None))
    assert len(list(frames_of(source, look_of(source)))) == 4


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_phone_s_place_and_date_are_kept(tmp_path, suffix):
    said = {"com.apple.quicktime.location.ISO6709": "+48.1374+011.5755/", "com.apple.quicktime.creationdate": "2026"}
    source = write_clip(tmp_path / "clip.mov", count=2, options={"movflags": "use_metadata_tags"}, metadata=said)
    restore(source, tmp_path / f"restored{suffix}")
    with av.open(str(tmp_path / f"restored{suffix}")) as restored:
        kept = {key.lower(): text for key, text in restored.metadata.items()}
    assert (kept["location"], kept["date"]) == ("+48.1374+011.5755/", "2026")


# --- what is damaged


def test_a_file_that_was_cut_is_restored_up_to_there(tmp_path):
    whole = write_clip(
        tmp_path / "whole.mp4", sound="aac", options={"movflags": "faststart", "movie_timescale": "90000"}
    )
    cut = tmp_path / "cut.mp4"
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) * 6 // 10])
    damage = restore(cut, tmp_path / "restored.mp4")
    pictures, times = read(tmp_path / "restored.mp4")
    assert 3 < len(times) < FRAMES
    assert str(damage).startswith(f"{cut} is damaged after frame {len(times)}: ")
    assert times == [time * TICK for time in TIMES[: len(times)]]
    for old, new in zip(read(whole)[0], pictures, strict=False):
        assert np.abs(new[::2, ::2].astype(int) - old).mean() < 3
    assert packets(tmp_path / "restored.mp4")[-1][0] <= times[-1] + Fraction(3003, 90000)


def test_a_cut_is_seen_in_matroska_too_which_counts_no_frames(tmp_path):
    whole, cut = write_clip(tmp_path / "whole.mkv"), tmp_path / "cut.mkv"
    assert len(list(frames_of(whole, look_of(whole)))) == FRAMES
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(files.DamagedError, match="is damaged after frame"):
        list(frames_of(cut, look_of(cut)))


def test_bytes_that_were_lost_in_the_middle_end_it_there(clip, tmp_path):
    with av.open(str(clip)) as container:
        middle = [packet.pos for packet in container.demux(video=0) if packet.pts is not None][FRAMES // 2]
    data = bytearray(clip.read_bytes())
    data[middle : middle + 60] = bytes(60)
    hurt = tmp_path / "hurt.mp4"
    hurt.write_bytes(data)
    assert "is damaged after frame" in str(restore(hurt, tmp_path / "restored.mp4"))
    assert FRAMES // 2 - 6 <= len(read(tmp_path / "restored.mp4")[1]) <= FRAMES // 2 + 3


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("none.mp4", None, "none.mp4 is missing"),
        ("empty.mp4", b"", "empty.mp4 is truncated, damaged or not a video"),
        ("text.mp4", b"hello" * 1000, "text.mp4 is truncated, damaged or not a video"),
    ],
)
def test_what_is_no_video_is_one_line(tmp_path, name, data, words):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        restore(tmp_path / name, tmp_path / "restored.mp4")
    assert not list(tmp_path.glob("restored*"))


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "tone.mp4"), "w") as out:
        tone = out.add_stream("aac", rate=48000)
        samples = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        samples.rate = 48000
        out.mux(tone.encode(samples))
        out.mux(tone.encode(None))
    with pytest.raises(InputError, match=r"tone.mp4 holds no video"):
        restore(tmp_path / "tone.mp4", tmp_path / "restored.mp4")


def test_an_output_that_cannot_hold_it_is_refused_before_the_first_frame(clip, tmp_path):
    source = write_clip(tmp_path / "clip.mkv", sound="wavpack")
    with pytest.raises(InputError, match=r"restored.mp4 cannot hold the sound of .*clip.mkv \(wavpack\); name a .mkv"):
        restore(source, tmp_path / "restored.mp4")
    with pytest.raises(InputError, match=r"restored.png has no video format of ours; name a file ending in .mp4"):
        restore(clip, tmp_path / "restored.png")
    with pytest.raises(InputError, match=r"would be 32000x24000, and a video holds 16384 a side"):
        restore_video(clip, tmp_path / "restored.mp4", None, doubled, 1000, {})
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mkv"}


@pytest.mark.skipif(not REAL.is_file(), reason="needs the data beside the checkout")
def test_a_real_clip_is_read_whole():
    look = look_of(REAL)
    frames = list(frames_of(REAL, look, start=300))
    assert (look.width, look.height, look.rate, look.frames) == (848, 480, Fraction(30000, 1001), 315)
    assert look.color_range == files.FULL_RANGE
    assert [frame.time for frame in frames] == [3003 * number for number in range(300, 315)]

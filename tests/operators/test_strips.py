from hypothesis import given
from hypothesis import strategies as st

from arcsr_lightning.operators.strips import lines_per_strip, split_into_bands

splits = st.tuples(
    st.integers(1, 6),  # samples
    st.integers(1, 70),  # lines of an image
    st.integers(1, 20),  # bytes of a line
    st.integers(1, 400),  # bytes of a strip
    st.integers(1, 5),  # threads
)


def strip_lines(band):
    return (band.lines.stop - band.lines.start) / band.strips


@given(splits)
def test_the_bands_cover_every_line_of_every_sample_once(split):
    batch, height, *_ = split
    seen = [
        (sample, line)
        for band in split_into_bands(*split)
        for sample in range(batch)[band.samples]
        for line in range(height)[band.lines]
    ]
    assert sorted(seen) == [(sample, line) for sample in range(batch) for line in range(height)]


@given(splits)
def test_strips_are_whole_lines_and_keep_to_their_bytes_unless_one_line_does_not(split):
    _, _, line_bytes, strip_bytes, _ = split
    for band in split_into_bands(*split):
        assert strip_lines(band) == 1 or strip_lines(band) * line_bytes <= strip_bytes
        assert strip_lines(band).is_integer()


@given(splits)
def test_a_band_keeps_to_the_strips_of_all_threads_and_the_first_is_the_largest(split):
    _, _, line_bytes, strip_bytes, threads = split
    sizes = [
        (band.samples.stop - band.samples.start) * (band.lines.stop - band.lines.start) * line_bytes
        for band in split_into_bands(*split)
    ]
    assert sizes[0] == max(sizes)
    assert sizes[0] <= threads * max(strip_bytes, line_bytes)


@given(splits)
def test_every_thread_has_a_strip_as_long_as_there_are_lines_or_samples_for_all(split):
    batch, height, line_bytes, strip_bytes, threads = split
    for band in split_into_bands(*split):
        if height * line_bytes <= strip_bytes and batch >= threads:  # whole images
            assert len(range(batch)[band.samples]) >= min(threads, batch - band.samples.start)
        else:
            assert band.strips == min(threads, height - band.lines.start)


def test_strips_of_an_image_are_about_equally_high():
    """48 lines of which 10 fit: not 10, 10 and 4 in each of two threads, but 8 in all of them."""
    assert lines_per_strip(48, line_bytes=1, strip_bytes=10, threads=2) == 8
    assert [strip_lines(band) for band in split_into_bands(1, 48, 1, 10, 2)] == [8, 8, 8]


def test_lines_that_do_not_divide_among_the_threads_come_last():
    bands = split_into_bands(1, 11, 1, 2, 3)
    assert [(band.lines.start, band.lines.stop, band.strips) for band in bands] == [(0, 6, 3), (6, 9, 3), (9, 11, 2)]


def test_small_images_are_taken_together_and_as_many_as_the_strips_of_all_threads_hold():
    bands = split_into_bands(7, 4, 1, 6, 2)
    assert [band.samples for band in bands] == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert all(band.lines == slice(0, 4) and band.strips == 1 for band in bands)

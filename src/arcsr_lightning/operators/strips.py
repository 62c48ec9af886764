"""How an operator splits batch and image, so that what it computes on the way stays small: plain integers."""

from typing import NamedTuple

from arcsr_lightning.integers import ceil_div


class Band(NamedTuple):
    """What is computed at once: some lines of one image in strips of equal height, or several images, a strip each."""

    samples: slice
    lines: slice
    strips: int  # of each sample


def split_into_bands(batch: int, height: int, line_bytes: int, strip_bytes: int, threads: int) -> list[Band]:
    """Split batch and image into bands that have one strip for each thread.

    A matrix product of several strips gives each thread one of them, whose products that thread has just made.

    Args:
        batch: samples of the batch.
        height: lines of an image.
        line_bytes: what one line of an image takes on the way.
        strip_bytes: what a strip takes at most, unless it is a single line.
        threads: strips that are computed at once.

    Returns:
        Bands that cover every line of every sample once. Images so small that one strip holds each are not cut; a band
        then takes as many of them as the strips of all threads would hold. The first band is the largest; the last may
        have fewer strips.
    """
    image_bytes = height * line_bytes
    if image_bytes <= strip_bytes and batch >= threads:
        samples = threads * strip_bytes // image_bytes
        return [
            Band(slice(first, min(first + samples, batch)), slice(0, height), strips=1)
            for first in range(0, batch, samples)
        ]
    most = lines_per_strip(height, line_bytes, strip_bytes, threads)
    return [
        Band(slice(sample, sample + 1), slice(top, top + strips * lines), strips)
        for sample in range(batch)
        for top, lines, strips in _cut(height, most, threads)
    ]


def lines_per_strip(height: int, line_bytes: int, strip_bytes: int, threads: int) -> int:
    """Return as many lines as the bytes of a strip hold, fewer where all strips of an image then are equally high.

    Args:
        height: lines of the image.
        line_bytes: what one of them takes.
        strip_bytes: what a strip takes at most, unless it is a single line.
        threads: strips that are computed at once.
    """
    most = max(1, min(strip_bytes // line_bytes, ceil_div(height, threads)))
    bands = ceil_div(height, most * threads)
    return ceil_div(height, bands * threads)


def _cut(height: int, most: int, threads: int) -> list[tuple[int, int, int]]:
    """(first line, lines of a strip, strips) of each band of an image, from top to bottom."""
    cuts, top = [], 0
    while top < height:
        strips = min(threads, height - top)
        lines = min(most, (height - top) // strips)
        cuts.append((top, lines, strips))
        top += lines * strips
    return cuts

"""Dead leaves: random pictures with the statistics of photographs, to train on without any file."""

from collections.abc import Sequence

import cv2
import numpy as np

LAYERS = 4.0  # as much paint as covers a large picture so often; of small ones it leaves more ground, up to a tenth
FRACTION = 4  # OpenCV draws at 2**-4 of a pixel
# Lightness, yellow against blue, red against green: the axes along which the colours of photographs are uncorrelated
# (Ruderman, Cronin and Chiao, "Statistics of cone responses to natural images", JOSA A 1998).
OPPONENT = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])


def dead_leaves(
    rng: np.random.Generator,
    height: int,
    width: int,
    smallest: Sequence[float] = (2.0, 8.0),
    largest: float = 200.0,
) -> np.ndarray:
    """Paint leaves over leaves, each of one colour and texture, as things hide each other in a photograph.

    The density of radii falls with their third power: a picture then looks alike at every scale, and its power
    spectrum falls about with the square of the frequency, as that of photographs does (Lee, Mumford and Huang,
    "Occlusion models for natural images", IJCV 2001). Half of the leaves are ellipses, half are boxes, for edges that
    are round and edges that are straight and end in corners.

    Args:
        rng: source of the picture.
        height, width: of the picture, in pixels.
        smallest: (lowest, highest) of the picture's smallest radius, log-uniform in between: from pictures full of
            detail to pictures of few large things, in pixels.
        largest: radius, in pixels.

    Returns:
        RGB uint8 (height, width, 3).
    """
    least = float(np.exp(rng.uniform(*np.log(smallest))))
    mean_area = 2 * np.pi * np.log(largest / least) / (least**-2 - largest**-2)
    count = 1 + round(LAYERS * height * width / mean_area)
    # The inverse of the distribution function of a density that falls with the third power, cut at both ends.
    radii = (least**-2 - rng.random(count) * (least**-2 - largest**-2)) ** -0.5
    paints = np.rint(255 * np.c_[_colours(rng, count), rng.exponential(0.03, count).clip(0, 0.2)]).astype(int)
    painted = np.empty((height, width, 4), np.uint8)  # RGB and the strength of the texture, in levels
    painted[:] = paints[0]
    _paint(painted, rng, radii, paints)
    texture = painted[..., 3:] * _pink_noise(rng, height, width)[..., None]
    return np.rint(painted[..., :3] + texture).clip(0, 255).astype(np.uint8)


def _paint(canvas: np.ndarray, rng: np.random.Generator, radii: np.ndarray, paints: np.ndarray) -> None:
    """Paint one leaf after the other, each at a random place, turned and stretched at random."""
    count, (height, width) = len(radii), canvas.shape[:2]
    stretch = np.sqrt(rng.uniform(0.4, 1.0, count))
    axes = np.stack([radii / stretch, radii * stretch], 1)  # (count, 2), half the length and half the width
    reach = axes[:, :1]  # a leaf whose middle lies beyond the border reaches into the picture, too
    middles = rng.uniform(-reach, np.array([width, height]) + reach)  # (count, 2) as (x, y)
    angles = rng.uniform(0, np.pi, count)
    ahead = np.stack([np.cos(angles), np.sin(angles)], 1) * axes[:, :1]
    aside = np.stack([-np.sin(angles), np.cos(angles)], 1) * axes[:, 1:]
    box = np.sqrt(np.pi) / 2  # of the area of the ellipse with these axes
    corners = np.stack([middles + box * (i * ahead + j * aside) for i, j in ((1, 1), (1, -1), (-1, -1), (-1, 1))], 1)
    middles, axes, corners = (np.rint(a * 2**FRACTION).astype(np.int32) for a in (middles, axes, corners))
    degrees = np.rad2deg(angles)
    round_ones = rng.random(count) < 0.5
    for i, paint in enumerate(paints.tolist()):
        if round_ones[i]:
            cv2.ellipse(
                canvas, middles[i].tolist(), axes[i].tolist(), degrees[i], 0, 360, paint, -1, cv2.LINE_AA, FRACTION
            )
        else:
            cv2.fillConvexPoly(canvas, corners[i], paint, cv2.LINE_AA, FRACTION)


def _colours(rng: np.random.Generator, count: int) -> np.ndarray:
    """The colours of one picture, (count, 3), RGB in [0, 1].

    Means and deviations are about those of photographs: lightness varies most, chroma less and with heavy tails, most
    of it between yellow and blue. A picture has a cast of its own, towards yellow and red more often than not.
    """
    mean = rng.normal((0.75, 0.05, 0.03), (0.15, 0.08, 0.05))
    deviation = rng.uniform((0.3, 0.05, 0.03), (0.55, 0.18, 0.15))
    drawn = np.c_[rng.standard_normal(count), rng.laplace(0, np.sqrt(0.5), (count, 2))]  # each of deviation one
    return ((mean + deviation * drawn) @ OPPONENT).clip(0, 1)


def _pink_noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise of deviation about one whose power falls with the square of the frequency: octaves of equal strength."""
    octaves = []
    for size in (1, 2, 4, 8):  # pixels
        shape = (height // size + 2, width // size + 2)
        coarse = rng.standard_normal(shape, dtype=np.float32)
        octaves.append(cv2.resize(coarse, None, fx=size, fy=size, interpolation=cv2.INTER_CUBIC)[:height, :width])
    return np.mean(octaves, axis=0) * 2

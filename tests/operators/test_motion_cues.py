import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from arcsr_lightning.degradation import SYMMETRIES, motion_kernel, turn
from arcsr_lightning.operators import count_cues, local_contrast_normalised, motion_cues
from arcsr_lightning.operators.motion_cues import shifts


def picture(height: int = 16, width: int = 12, seed: int = 0) -> torch.Tensor:
    """Texture of about the contrast of a photograph, (1, 3, H, W)."""
    return 0.3 + 0.4 * torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def by_loops(image: torch.Tensor, cell: int, window: int, reach: int) -> torch.Tensor:
    """The cues of a grey image (H, W) for one window, pixel by pixel, (channels, H/cell, W/cell)."""
    height, width = image.shape

    def gradient(y, x, direction):
        """None where it needs a pixel beyond the image."""
        dy, dx = ((0, 1), (1, 0))[direction]
        if not (dy <= y < height - dy and dx <= x < width - dx and 0 <= y < height and 0 <= x < width):
            return None
        return float(image[y + dy, x + dx] - image[y - dy, x - dx]) / 2

    out = torch.empty(2 * len(shifts(reach)) + 1, height // cell, width // cell)
    for row in range(height // cell):
        for column in range(width // cell):
            around = window // 2
            ys = range(max(0, (row - around) * cell), min(height, (row + around + 1) * cell))
            xs = range(max(0, (column - around) * cell), min(width, (column + around + 1) * cell))
            means = []
            for dy, dx in shifts(reach):
                for d in range(2):
                    pairs = [
                        (gradient(y, x, d), gradient(y + sign * dy, x + sign * dx, d))
                        for y in ys
                        for x in xs
                        for sign in (1, -1)
                    ]
                    products = [here * there for here, there in pairs if None not in (here, there)]
                    means.append(sum(products) / len(products) if products else 0.0)
            energy = means[0] + means[1] + (0.2 / 255) ** 2
            out[:, row, column] = torch.tensor([*(mean / energy for mean in means), math.log(energy)])
    return out


@pytest.mark.parametrize(("window", "place"), [(1, 0), (3, 1)])
def test_cues_agree_with_loops_over_pixels(window, place):
    lr = picture(8, 12)
    cues = motion_cues(lr, cell=4, windows=(1, 3), reach=2)[0]
    brightness = lr[0].mean(dim=0)
    smooth = torch.from_numpy(correlate(brightness.numpy(), np.outer([1, 2, 1], [1, 2, 1]) / 16, mode="nearest"))
    normalised, smooth = (0.1 * local_contrast_normalised(x[None, None])[0, 0] for x in (brightness, smooth))
    for group, image in zip(cues.chunk(3), (brightness, normalised, smooth), strict=True):
        expected = by_loops(image, cell=4, window=window, reach=2)
        torch.testing.assert_close(group.chunk(2)[place], expected, rtol=1e-4, atol=1e-4)


def test_brightness_changes_no_cue_and_contrast_the_energy_of_the_image_alone():
    lr = picture()
    cues = motion_cues(lr)
    torch.testing.assert_close(motion_cues(lr + 0.2), cues, rtol=1e-3, atol=1e-3)
    changed = motion_cues(0.5 * lr) - cues
    energies = torch.arange(count_cues() // 12 - 1, count_cues() // 3, count_cues() // 12)  # of the image, per window
    expected = torch.zeros_like(changed)
    expected[:, energies] = math.log(0.25)
    torch.testing.assert_close(changed, expected, rtol=0, atol=0.1)


@pytest.mark.parametrize("symmetry", SYMMETRIES, ids=str)
def test_turning_the_image_turns_the_cues(symmetry):
    lr, reach = picture(), 2
    cues = motion_cues(lr, windows=(1, 3), reach=reach)
    # What becomes of a shift is what becomes of a pixel of a (5, 5) image around its centre.
    numbers = turn(torch.arange((2 * reach + 1) ** 2).view(2 * reach + 1, -1), symmetry)
    swapped = symmetry.quarter_turns % 2  # a quarter turn makes of horizontal differences vertical ones
    known = shifts(reach)
    order = []
    for dy, dx in known:
        before = divmod(int(numbers[dy + reach, dx + reach]), 2 * reach + 1)
        shift = (before[0] - reach, before[1] - reach)
        place = known.index(shift if shift in known else (-shift[0], -shift[1]))
        order += [2 * place + swapped, 2 * place + 1 - swapped]
    order.append(2 * len(known))  # the energy
    groups = [group[:, order] for group in cues.chunk(6, dim=1)]  # three pictures, two windows
    turned = motion_cues(turn(lr, symmetry), windows=(1, 3), reach=reach)
    torch.testing.assert_close(turned, turn(torch.cat(groups, dim=1), symmetry), rtol=1e-3, atol=1e-4)


def test_a_streak_is_seen_along_its_direction():
    noise = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    path = torch.stack([torch.zeros(50), torch.linspace(-3, 3, 50)], dim=1).numpy()  # horizontal
    blurred = torch.nn.functional.conv2d(noise, motion_kernel(path, 7)[None, None], padding="same").expand(
        -1, 3, -1, -1
    )
    cues = motion_cues(blurred, windows=(13,))[0, :, 8, 8]
    along, across = (
        cues[2 * shifts(4).index(shift) + 1] / cues[1] for shift in ((0, 2), (2, 0))
    )  # vertical differences
    assert along > 0.6
    assert across < 0.1


def test_a_flat_image_has_no_cues():
    cues = motion_cues(torch.full((1, 3, 8, 8), 0.5), windows=(1,))
    ratios = cues.unflatten(1, (3, -1))[:, :, :-1]
    assert ratios.abs().max() < 1e-6


def test_cues_have_the_right_gradient():
    lr = picture(4, 8).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: motion_cues(x, windows=(1, 3), reach=1), lr)


def test_sides_that_hold_no_whole_cells_are_refused():
    with pytest.raises(ValueError, match="multiples of the cell, 4"):
        motion_cues(torch.rand(1, 3, 8, 10))

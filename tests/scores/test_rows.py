"""The rows of single images: what they say of the image besides its scores."""

import math

import pytest
import torch

from arcsr_lightning.networks import Restoration
from arcsr_lightning.scores.rows import mean_scores, rows_of


def batch(**more):
    """Two images of 48 x 48, LR 12 x 12."""
    return {"hr": torch.rand(2, 3, 48, 48), "name": ["a_0", "a_1"], "noise_level": torch.tensor([0.0, 0.0])} | more


def half_blurred() -> torch.Tensor:
    """(2, 25, 12, 12): the upper half under a streak of 5 taps, whose variance is 2, the lower half sharp."""
    kernel = torch.zeros(2, 5, 5, 12, 12)
    kernel[:, 2, :, :6] = 0.2
    kernel[:, 2, 2, 6:] = 1
    return kernel.flatten(1, 2)


def test_a_row_says_how_strongly_its_image_is_blurred_where_that_is_known():
    data = batch(kernel=half_blurred(), group=["a", "a"])
    rows = rows_of("net", Restoration(data["hr"]), data, border=4)
    assert [row["blur_amount"] for row in rows] == pytest.approx([math.sqrt(2) / 2] * 2)
    sure = torch.ones(2, 1, 12, 12)
    sure[1, :, :6] = 0.25  # a fifth of the confidence is in the blurred half
    rows = rows_of("net", Restoration(data["hr"]), data | {"confidence": sure}, border=4)
    assert [row["blur_amount"] for row in rows] == pytest.approx([math.sqrt(2) / 2, math.sqrt(2) / 5])
    assert [row["group"] for row in rows] == ["a", "a"]
    assert not {"blur_amount", "group"} & mean_scores(rows).keys()


def test_an_image_of_no_known_group_is_its_own_and_of_no_known_blur_has_none():
    data = batch()
    rows = rows_of("net", Restoration(data["hr"]), data, border=4)
    assert [row["group"] for row in rows] == ["a_0", "a_1"]
    assert all("blur_amount" not in row for row in rows)

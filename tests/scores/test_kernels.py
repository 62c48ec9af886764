"""Figures over all pixels of all images, from rows that are kept of single ones."""

import pytest
import torch

from arcsr_lightning.networks import Restoration
from arcsr_lightning.scores.kernels import kernel_row, kernel_rows, kernel_scores
from arcsr_lightning.scores.metrics import (
    best_constant_kernel,
    blur_amount,
    blur_direction,
    kernel_error,
)
from tests.scores.correlations import field_correlation


def fields(seed: int, *sizes: tuple[int, int]) -> list[torch.Tensor]:
    """Kernels (1, 25, H, W) that differ from image to image more than within one."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.softmax(
            2 * torch.randn(1, 25, 1, 1, generator=generator) + torch.randn(1, 25, *size, generator=generator), 1
        )
        for size in sizes
    ]


def rows(estimates, truths, confidences=(None, None)):
    parts = zip(estimates, truths, confidences, strict=True)
    return [kernel_row(0, estimate[0], truth[0], confidence) for estimate, truth, confidence in parts]


def test_correlations_are_those_of_all_pixels_together():
    truths = fields(0, (6, 9), (5, 4))
    estimates = [(x + 2 * y) / 3 for x, y in zip(fields(1, (6, 9), (5, 4)), truths, strict=True)]
    scores = kernel_scores(rows(estimates, truths))
    for name, measure in (("kernel_amount", blur_amount), ("kernel_direction", blur_direction)):
        expected = field_correlation([measure(x) for x in estimates], [measure(x) for x in truths])
        assert 0.1 < expected < 0.99
        assert scores[name] == pytest.approx(expected, abs=1e-6)


def test_skill_is_against_the_best_kernel_for_all_images():
    truths = fields(0, (8, 8), (4, 4))  # few enough pixels that all are sampled
    estimates = [(x + 3 * y) / 4 for x, y in zip(fields(1, (8, 8), (4, 4)), truths, strict=True)]
    pixels = torch.cat([truth.flatten(2) for truth in truths], 2)[..., None]
    constant = best_constant_kernel(pixels)[None, :, None, None]
    ours, its = (
        sum(kernel_error(x, y).item() for x, y in zip(xs, truths, strict=True)) for xs in (estimates, [constant] * 2)
    )
    assert kernel_scores(rows(estimates, truths))["kernel_skill"] == pytest.approx(1 - ours / its, abs=1e-3)


def test_one_kernel_for_all_is_without_skill_and_the_truth_is_all_of_it():
    truths = fields(0, (8, 8), (4, 4))
    pixels = torch.cat([truth.flatten(2) for truth in truths], 2)[..., None]
    constant = best_constant_kernel(pixels)[None, :, None, None]
    scores = kernel_scores(rows([constant.expand_as(truth) for truth in truths], truths))
    assert scores == pytest.approx({"kernel_skill": 0, "kernel_amount": 0, "kernel_direction": 0}, abs=1e-3)
    assert kernel_scores(rows(truths, truths)) == pytest.approx(
        {"kernel_skill": 1, "kernel_amount": 1, "kernel_direction": 1}
    )


def test_of_a_large_image_pixels_from_all_over_it_find_the_best_kernel():
    """Of its 64 columns 20 have another kernel, as have 5 of the 16 that are sampled."""
    left, rest = torch.eye(25)[:2, None, :, None, None]
    truth = torch.where(torch.arange(64) < 20, left, rest).expand(1, 25, 40, 64)
    skill = kernel_scores(rows([left.expand_as(truth)], [truth], [None]))["kernel_skill"]
    assert skill == pytest.approx(1 - 44 / 20)


def test_pixels_without_confidence_do_not_count():
    truths, others = fields(0, (8, 8), (4, 4)), fields(1, (8, 8), (4, 4))
    left = torch.zeros(1, 8, 8)
    left[..., :4] = 1
    estimates = [torch.where(left.bool(), (truths[0] + others[0]) / 2, others[0]), (truths[1] + others[1]) / 2]
    cut = [x[..., :4] if x.shape[-1] == 8 else x for x in (*estimates, *truths)]
    weighted = kernel_scores(rows(estimates, truths, (left, None)))
    assert weighted == pytest.approx(kernel_scores(rows(cut[:2], cut[2:])), abs=1e-5)


def test_a_batch_gives_a_row_per_image_where_kernels_are_known():
    (truth,) = fields(0, (6, 5))
    truth = torch.cat([truth, truth.flip(1)])
    batch = {"kernel": truth, "noise_level": torch.tensor([0.0, 10.0]), "confidence": torch.rand(2, 1, 6, 5)}
    sr = torch.zeros(2, 3, 24, 20)
    found = kernel_rows(Restoration(sr, truth.flip(0)), batch)
    assert [row.noise_level for row in found] == [0, 10]
    weight = batch["confidence"][1]
    distance = (truth[0] - truth[1]).abs().sum(0, keepdim=True)
    assert found[1].error == pytest.approx(float((weight * distance).sum() / weight.sum()))
    assert torch.equal(found[1].weight, weight.flatten())
    assert kernel_rows(Restoration(sr), batch) == kernel_rows(Restoration(sr, truth[:, :9]), batch) == []
    assert kernel_scores([]) == {}

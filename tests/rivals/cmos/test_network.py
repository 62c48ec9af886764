import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from arcsr_lightning.errors import InputError
from arcsr_lightning.rivals.cmos import CMOS, BlurMaps, MapEstimate, MapEstimator, MapRestorer
from arcsr_lightning.rivals.cmos.attention import (
    GIA,
    ChannelPart,
    SpatialPart,
    from_windows,
    group_affinity,
    mirror_to_multiple,
    to_windows,
    warp,
    weighted_affinity,
)
from arcsr_lightning.scores.cost import parameters


def small(scale: int = 2, classes: int = 1) -> CMOS:
    torch.manual_seed(0)
    estimator = MapEstimator(scale, classes, width=3, stem=4, modules=(1, 1, 1), groups=(1, 2, 3, 4), window=(4, 5))
    return CMOS(estimator, MapRestorer(scale, width=4, blocks=1, code=4, groups=2, window=(4, 5)))


def published_gmacs(module: nn.Module, *inputs: torch.Tensor) -> float:
    """Counted, and the tables of positions that the publication makes and sums where ours are summed first."""
    tables = 0

    def count(part: SpatialPart, streams: tuple[list[torch.Tensor]], _: object) -> None:
        nonlocal tables
        batch, channels, height, width = streams[0][0].shape
        rows, columns = part.window
        windows = batch * math.ceil(height / rows) * math.ceil(width / columns)
        tables += windows * (rows * columns) ** 2 * (channels + 2)

    hooks = [part.register_forward_hook(count) for part in module.modules() if isinstance(part, SpatialPart)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(*inputs)
    for hook in hooks:
        hook.remove()
    return (counter.get_total_flops() / 2 + tables) / 1e9


def test_parameter_counts_are_the_publication_s():
    with torch.device("meta"):
        estimator, estimator40 = MapEstimator(classes=19), MapEstimator(classes=40)
        restorer, windows8 = MapRestorer(), MapEstimator(classes=19, window=(8, 8))
    assert parameters(estimator.backbone) == 3_860_720
    assert parameters(estimator) == 15_969_776
    assert parameters(estimator40) == 15_975_866
    assert parameters(windows8) == 15_963_640
    assert parameters(restorer) == 8_960_592
    assert parameters(CMOS(estimator, restorer)) == 24_930_368
    assert parameters(CMOS(estimator40, restorer)) == 24_936_458


@pytest.mark.slow
def test_macs_are_the_publication_s():
    with torch.device("meta"):
        network, windows8 = CMOS(MapEstimator(classes=19), MapRestorer()), MapEstimator(classes=19, window=(8, 8))
        square, wide = torch.empty(1, 3, 64, 64), torch.empty(1, 3, 64, 88)
        maps = BlurMaps(torch.empty(1, 1, 256, 256), torch.empty(1, 256, 256))
    assert published_gmacs(network.estimator, wide) == pytest.approx(8.60, rel=0.01)
    assert published_gmacs(network, wide) == pytest.approx(109.03, rel=0.01)
    assert published_gmacs(network.restorer, square, maps) == pytest.approx(72.99, rel=0.01)
    assert published_gmacs(windows8, square) == pytest.approx(5.54, rel=0.01)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (9, 13), (57, 81), (64, 64)])
def test_any_lr_size_at_batch_one(size):
    """The published windows fail on 64x64 and on all that is smaller than 57x81."""
    height, width = size
    network, lr = small().eval(), torch.rand(1, 3, *size)
    with torch.no_grad():
        sr, kernel = network(lr)
        maps = network.estimator(lr).maps()
    assert sr.shape == (1, 3, 2 * height, 2 * width)
    assert sr.isfinite().all()
    assert kernel is None
    assert maps.blur.shape == (1, 1, 2 * height, 2 * width)
    assert maps.classes.shape == (1, 2 * height, 2 * width)


def test_branches_halve_the_lr_size():
    features = small().estimator.backbone(torch.rand(2, 3, 9, 13))
    assert [x.shape[1:] for x in features] == [(3, 9, 13), (6, 5, 7), (12, 3, 4), (24, 2, 2)]


def test_the_backbone_sees_normalised_colours():
    network, seen = small(), []
    network.estimator.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    network((mean + std)[:, None, None].expand(2, 3, 8, 8))
    torch.testing.assert_close(seen[0], torch.ones(2, 3, 8, 8))


def test_a_single_class_makes_a_class_map_of_zeros():
    network, lr = small(classes=1).eval(), torch.rand(1, 3, 8, 9)
    expected = network(lr).sr
    assert not network.estimator(lr).maps().classes.any()
    nn.init.normal_(network.estimator.heads[1][-1].bias, mean=5)
    assert torch.equal(network(lr).sr, expected)


def test_the_class_with_the_largest_logit_enters_as_its_number():
    network, lr = small(classes=3).eval(), torch.rand(1, 3, 8, 9)
    logits = torch.zeros(1, 3, 16, 18)
    logits[:, 2] = 1
    estimate = MapEstimate(torch.rand(1, 1, 16, 18), logits)
    assert (estimate.maps().classes == 2).all()
    with_number = network.restorer(lr, BlurMaps(estimate.blur, torch.full((1, 16, 18), 2.0)))
    assert torch.equal(network(lr, estimate.maps()).sr, with_number)
    assert not torch.allclose(with_number, network(lr, BlurMaps(estimate.blur, torch.zeros(1, 16, 18))).sr)


def test_given_maps_replace_the_estimate():
    network, lr = small().eval(), torch.rand(1, 3, 8, 9)
    maps = network.estimator(lr).maps()
    assert torch.equal(network(lr, maps).sr, network(lr).sr)
    network.estimator.forward = None  # would fail if it were called
    assert not torch.allclose(network(lr, maps._replace(blur=maps.blur + 1)).sr, network(lr, maps).sr)


def streams(size: int = 8) -> list[torch.Tensor]:
    return [torch.randn(2, 4, size, size), torch.randn(2, 4, size, size)]


@pytest.mark.parametrize("build", [lambda: ChannelPart(4, groups=2), lambda: SpatialPart(4, window=(4, 4))])
def test_fresh_gates_do_not_interact_and_others_do(build):
    torch.manual_seed(0)
    part, (first, second) = build().eval(), streams()
    alone = part([first, torch.zeros_like(second)])[0], part([torch.zeros_like(first), second])[1]
    assert all(torch.equal(a, b) for a, b in zip(part([first, second]), alone, strict=True))
    nn.init.ones_(part.strength)
    assert not any(torch.allclose(a, b) for a, b in zip(part([first, second]), alone, strict=True))


def test_a_fresh_gia_leaves_the_second_stream_to_itself():
    torch.manual_seed(0)
    attention, (first, second) = GIA(4, groups=2, window=(4, 4)).eval(), streams()
    expected = attention(torch.zeros_like(first), second)[1]
    assert torch.equal(attention(first, second)[1], expected)
    nn.init.ones_(attention.spatial_part.strength)
    assert not torch.allclose(attention(first, second)[1], expected)


def test_positions_meet_within_their_window():
    torch.manual_seed(0)
    part, (first, second) = SpatialPart(4, window=(4, 4)).eval(), streams()
    nn.init.constant_(part.strength, 10)
    changed = second.clone()
    changed[..., 0, 0] += 1
    difference = (part([first, changed])[0] - part([first, second])[0]).abs().sum((0, 1))  # (8, 8)
    assert difference[:4, :4].min() > 0  # all of the window
    assert difference[5:].max() == difference[:, 5:].max() == 0  # the convolution after it reaches one further


def test_group_affinity_is_a_table_of_products():
    first, second = torch.randn(2, 6), torch.randn(2, 6)
    affinity = group_affinity(first, second, groups=3)
    for b, i, j in np.ndindex(2, 3, 3):
        expected = first[b, 2 * i : 2 * i + 2] @ second[b, 2 * j : 2 * j + 2]
        torch.testing.assert_close(affinity[b, i, j], expected)


def test_weighted_affinity_is_a_linear_layer_on_the_table_of_products():
    first, second, layer = torch.randn(2, 3, 5), torch.randn(2, 3, 5), nn.Linear(5, 1)
    found = weighted_affinity(first, second, layer.weight, layer.bias)
    torch.testing.assert_close(found, layer(first.mT @ second).mT)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 15, 16, 31])
def test_padding_reflects_as_often_as_it_takes(length):
    x = torch.arange(length)[None]
    padded = mirror_to_multiple(x, 1, 15)
    assert padded.shape[1] % 15 == 0 and padded.shape[1] - length < 15
    expected = np.pad(x[0].numpy(), (0, padded.shape[1] - length), mode="reflect")
    assert padded[0].tolist() == expected.tolist()


def test_windows_are_cut_row_by_row_and_put_back():
    x = torch.rand(2, 3, 7, 11)
    windows = to_windows(x, (4, 5))
    assert windows.shape == (2 * 6, 3, 4, 5)
    assert torch.equal(windows[1], x[0, :, :4, 5:10])
    assert torch.equal(windows[6], x[1, :, :4, :5])
    assert torch.equal(from_windows(windows, 7, 11), x)


def test_warp_without_flow_stretches_and_with_flow_shifts():
    x = torch.rand(1, 2, 3, 5)
    stretched = F.interpolate(x, size=(6, 9), mode="bilinear", align_corners=True)
    torch.testing.assert_close(warp(x, torch.zeros(1, 2, 6, 9)), stretched)
    right = torch.tensor([2.0 * 5 / 4, 0.0]).view(1, 2, 1, 1).expand(1, 2, 3, 5)  # one of four steps between corners
    torch.testing.assert_close(warp(x, right), F.pad(x[..., 1:], (0, 1)))


def test_every_parameter_learns():
    network = small(classes=3)
    for module in network.modules():
        if hasattr(module, "strength"):
            nn.init.ones_(module.strength)
        if isinstance(module, nn.Linear):  # few units, of which none may be dead
            nn.init.ones_(module.bias)
    lr = torch.rand(2, 3, 16, 24)
    early, final = network.estimator.estimates(lr)
    sr = network(lr, BlurMaps(final.blur, final.logits.argmax(1))).sr
    (sr.square().sum() + sum(x.square().sum() for x in (*early, *final))).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_training_on_single_images_is_refused():
    network = small()
    with pytest.raises(InputError, match=r"needs two images.*data\.batch_size=2"):
        network(torch.rand(1, 3, 8, 8))
    network.estimator.eval()
    with pytest.raises(InputError, match=r"data\.batch_size=2"):
        network(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MapEstimator(width=4, stem=4), "8 channels do not divide into 6 groups"),
        (lambda: MapEstimator(width=6, stem=4, groups=(3, 6)), "one entry for each of the 4 scales"),
        (lambda: MapRestorer(width=4, blocks=1, code=6), "6 channels do not divide into 8 groups"),
    ],
)
def test_impossible_networks_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()

import torch
from torch import nn

from arcsr_lightning.rivals.rrdb.sft import SFT


def test_features_are_scaled_below_one_and_shifted():
    torch.manual_seed(0)
    sft, features, code_map = SFT(4, 3), torch.rand(2, 4, 5, 6), torch.rand(2, 3, 5, 6)
    both = torch.cat([features, code_map], 1)
    expected = features * torch.sigmoid(sft.multiplier(both)) + sft.addend(both)
    torch.testing.assert_close(sft(features, code_map), expected)


def test_another_code_at_one_pixel_changes_only_its_surroundings():
    torch.manual_seed(0)
    sft, features, code_map = SFT(4, 3), torch.rand(1, 4, 9, 9), torch.rand(1, 3, 9, 9)
    changed = code_map.clone()
    changed[..., 4, 4] += 1
    moved = (sft(features, changed) - sft(features, code_map)).abs().sum(1)[0] > 0
    assert moved[2:7, 2:7].any()
    moved[2:7, 2:7] = False
    assert not moved.any()


def test_half_as_wide_within():
    widths = [(layer.in_channels, layer.out_channels) for layer in SFT(64, 15).addend if isinstance(layer, nn.Conv2d)]
    assert widths == [(79, 32), (32, 64)]

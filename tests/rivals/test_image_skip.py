import pytest
import torch
from torch import nn

from arcsr_lightning.degradation import upsample
from arcsr_lightning.errors import InputError
from arcsr_lightning.rivals.image_skip import ImageSkip, skip_added


@pytest.mark.parametrize("scale", [1, 4])
def test_it_adds_the_enlarged_image_in_whatever_units_that_is(scale):
    skip = ImageSkip("bicubic", nn.Conv2d(1, 3, 1), scale)
    seen = torch.rand(2, 3, 5, 6)
    made = torch.rand(2, 3, 5 * scale, 6 * scale)
    expected = made + (seen if scale == 1 else upsample(seen, scale))
    torch.testing.assert_close(skip(made, seen), expected)
    # (255 * lr - mean) in, and back: the sum is that of images in [0, 1].
    torch.testing.assert_close((skip(255 * made, 255 * seen - 100) + 100) / 255, expected)


def test_the_last_convolution_starts_nearly_at_zero_only_with_a_skip():
    last = nn.Conv2d(8, 3, 3)
    before = last.weight.clone()
    none = ImageSkip(None, last, 4)
    assert torch.equal(last.weight, before)
    image = torch.rand(1, 3, 8, 8)
    assert none(image, torch.rand(1, 3, 2, 2)) is image
    ImageSkip("bicubic", last, 4)
    assert 0 < last.weight.abs().max() < 0.01
    assert not last.bias.any()


def test_whether_one_was_added_can_be_seen():
    for kind in (None, "bicubic"):
        assert skip_added(nn.ModuleDict({"part": ImageSkip(kind, nn.Conv2d(1, 3, 1), 2)})) == kind


def test_an_unknown_skip_is_refused():
    with pytest.raises(InputError, match="skip must be null or bicubic, got 'bilinear'"):
        ImageSkip("bilinear", nn.Conv2d(1, 3, 1), 2)

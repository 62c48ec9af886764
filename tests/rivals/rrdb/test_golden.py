"""RRDBNet is the published function, of images in [0, 1] and in [-1, 1]."""

import pytest
import torch

from arcsr_lightning.rivals.rrdb import RRDBNet
from tests.rivals.golden_files import assert_golden


def plain_and_signed(network, lr):
    plain = network(lr).sr
    network.signed = True
    return {"sr": plain, "sr_signed": network(lr).sr}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_network_is_the_published_function(dtype):
    with torch.no_grad():
        assert_golden("rrdb_x4", RRDBNet(4, 24, 2, 12), plain_and_signed, dtype)

"""ReDegNet's parts are the published functions."""

import pytest
import torch

from arcsr_lightning.rivals.redegnet import (
    ConditionalDiscriminator,
    ContentEncoder,
    DegNet,
    Generator,
    UNetDiscriminator,
)
from arcsr_lightning.rivals.redegnet.content_encoder import ResidualBlock
from tests.rivals.golden_files import assert_golden, read

PARTS = {
    "redegnet_degnet": (lambda: DegNet(64, 8, 16, 16), lambda net, hq, lq: {"code": net(hq, lq)}),
    "redegnet_content_encoder": (
        lambda: ContentEncoder(64, 8, 16),
        lambda net, hq: {f"map{i}": features for i, features in enumerate(net(hq))},
    ),
    "redegnet_residual_block": (lambda: ResidualBlock(12, 12), lambda net, x: {"y": net(x)}),
    "redegnet_conditional_discriminator": (
        lambda: ConditionalDiscriminator(64, 4, 16, 16),
        lambda net, lq, hq, code: {"logits": net(lq, hq, code)},
        lambda weights: {name.replace("verdict.2", "verdict.1"): w for name, w in weights.items()},
    ),
    "redegnet_unet_discriminator": (lambda: UNetDiscriminator(8), lambda net, image: {"logits": net(image)}),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_the_published_function(part, dtype):
    build, run, *rename = PARTS[part]
    with torch.no_grad():
        assert_golden(part, build(), run, dtype, *rename)


def stored(weights):
    """As this generator stores them.

    The arrays have the modulated convolutions' weights as they act, a factor of the content in every first layer, and
    one in the second layers that nothing reads.
    """
    kept = {name: w for name, w in weights.items() if not name.endswith(".factor")}
    modulated = [name for name in kept if name.endswith(".weight") and name.count(".") == 2]
    parameters = {name: kept[name] * kept[name][0].numel() ** 0.5 for name in modulated}
    return kept | parameters | {"strength": torch.cat([weights[f"firsts.{level}.factor"] for level in range(5)])}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_generator_is_the_published_function(dtype):
    """Of an image's content and of the mirrored content."""

    def generate(generator, code):
        _, _, maps = read("redegnet_content_encoder")
        content = [torch.cat([maps[f"map{i}"], maps[f"map{i}"].flip(-1)]).to(code) for i in range(len(maps))]
        return {"image": generator(content, code)}

    with torch.no_grad():
        assert_golden("redegnet_generator", Generator(64, 8, 16, 16, 3), generate, dtype, stored)

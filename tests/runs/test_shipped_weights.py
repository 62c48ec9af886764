"""The weights that come with the package are worth having."""

import pytest
import torch
from hydra.utils import instantiate

from arcsr_lightning import compose, load_model
from arcsr_lightning.degradation import upsample
from arcsr_lightning.scores.metrics import blur_direction, score


@pytest.mark.parametrize("noise_level", [0, 10])
def test_they_restore_a_photograph_they_never_saw_and_find_where_its_blur_goes(noise_level):
    data = compose(["experiment=quickstart"]).data
    sample = instantiate(data.test, noise_level=noise_level)[5]  # coffee, its second blur
    lr, hr, truth = (sample[key][None] for key in ("lr", "hr", "kernel"))
    with torch.no_grad():
        sr, kernel = load_model("arcsr_small")(lr)
    gain = score(sr, hr, border=4)["psnr_rgb"] - score(upsample(lr, 4), hr, border=4)["psnr_rgb"]
    assert gain > 0.8
    found, true = blur_direction(kernel).flatten(), blur_direction(truth).flatten()
    assert torch.cosine_similarity(found, true, dim=0) > 0.7

"""JPEG coding against the codecs that write the files."""

import subprocess
import sys
from io import BytesIO

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from arcsr_lightning.data import read_image, sample_photos
from arcsr_lightning.data.images import to_tensor, to_uint8
from arcsr_lightning.degradation import code_as_jpeg


@pytest.fixture(scope="module")
def photo():
    """A part of a photograph, (3, 83, 117): no side a multiple of 16, or of 8."""
    return to_tensor(read_image(sample_photos("test")[0])[100:183, 150:267])


def psnr(x, y):
    return float(-10 * torch.log10(((x - y) ** 2).mean()))


def by_pillow(photo, quality):
    file = BytesIO()
    Image.fromarray(to_uint8(photo)).save(file, "jpeg", quality=quality, subsampling="4:2:0")
    return to_tensor(np.asarray(Image.open(file)))


def by_opencv(photo, quality):
    _, file = cv2.imencode(".jpg", to_uint8(photo)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return to_tensor(cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1].copy())


@pytest.mark.parametrize("encode", [by_pillow, by_opencv])
@pytest.mark.parametrize("quality", [10, 30, 60, 90])
def test_it_loses_what_a_file_of_that_quality_loses(photo, quality, encode):
    ours, theirs = code_as_jpeg(photo[None], torch.tensor([float(quality)]))[0], encode(photo, quality)
    assert psnr(ours, theirs) > psnr(theirs, photo) + 8  # nearer to the file than the file is to the photograph
    assert psnr(ours, photo) == pytest.approx(psnr(theirs, photo), abs=1)  # softly rounded: a little less is lost


def test_the_best_quality_is_nearly_the_identity():
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 3, 3), (40, 56), mode="bicubic").clamp(0, 1)
    assert psnr(code_as_jpeg(smooth, torch.tensor([100.0])), smooth) > 40


def test_every_image_of_a_batch_has_its_own_quality(photo):
    qualities = torch.tensor([10.0, 50.0, 90.0])
    batch = code_as_jpeg(photo.expand(3, -1, -1, -1), qualities)
    alone = [code_as_jpeg(photo[None], quality[None])[0] for quality in qualities]
    torch.testing.assert_close(batch, torch.stack(alone), atol=1e-5, rtol=0)


def test_values_beyond_those_of_a_file_are_clamped_first(photo):
    loud = photo * 3 - 1
    quality = torch.tensor([50.0])
    assert torch.equal(code_as_jpeg(loud[None], quality), code_as_jpeg(loud.clamp(0, 1)[None], quality))


def test_kornia_is_imported_when_it_is_used():
    code = """
import sys
import arcsr_lightning.degradation
print("kornia" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"

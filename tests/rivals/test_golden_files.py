import pytest
import torch
from torch import nn

from tests.rivals.golden_files import FOLDER, assert_golden, read


def test_a_part_that_differs_is_named_with_the_amount():
    _, _, outputs = read("udke_steps")
    off = outputs | {"kernel3": outputs["kernel3"] + 0.5 * outputs["kernel3"].abs().max()}
    off["image2"] = off["image2"][:1]
    with pytest.raises(AssertionError) as error:
        assert_golden("udke_steps", nn.Identity(), lambda *_, **__: off, torch.float64)
    (line,) = str(error.value).splitlines()[:1]
    assert line.startswith("udke_steps in torch.float64")
    assert "kernel3 by 5.0e-01" in line
    assert "image2 [1, 3, 20, 24] for [2, 3, 20, 24]" in line
    assert "image4" not in line


def test_the_arrays_are_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000

"""Kernels that are read from files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from arcsr_lightning.degradation import FileKernels
from arcsr_lightning.errors import InputError

REAL_KERNELS = Path(__file__).parents[2] / "../shared/data/kernels"


def test_kernels_of_a_file_are_normalised_and_padded_about_their_centres(kernel_file):
    kernels = FileKernels(kernel_file).kernels
    assert kernels.shape == (4, 7, 7)
    torch.testing.assert_close(kernels[0, 2:5, 2:5], torch.eye(3) / 3)
    torch.testing.assert_close(kernels[1, 1:5, :6], torch.full((4, 6), 1 / 24))
    torch.testing.assert_close(kernels[3, 1:6, 1:6], torch.full((5, 5), 1 / 25))
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(4))


def test_every_kernel_of_a_file_is_drawn(kernel_file):
    blur, rng = FileKernels(kernel_file), np.random.default_rng(0)
    drawn = {tuple(blur(rng, 2, 2).kernels.flatten().tolist()) for _ in range(50)}
    assert len(drawn) == 3  # the two of the stack are equal


def test_formats_agree(tmp_path):
    kernel = np.random.default_rng(0).integers(0, 256, (5, 5)).astype(np.uint8)
    np.savez(tmp_path / "k.npz", kernel)
    savemat(tmp_path / "k.mat", {"kernels": np.array([[kernel, None]], dtype=object)[:, :1]})
    (tmp_path / "folder").mkdir()
    Image.fromarray(kernel).save(tmp_path / "folder/k.png")
    Image.fromarray(np.dstack([kernel] * 3)).save(tmp_path / "colour.png")
    Image.fromarray(np.dstack([kernel] * 3 + [np.full_like(kernel, 255)])).save(tmp_path / "alpha.png")
    Image.fromarray(np.dstack([kernel, np.full_like(kernel, 255)])).save(tmp_path / "grey_alpha.png")
    palette = Image.fromarray(255 - kernel, "P")  # of brightest first
    palette.putpalette([level for entry in range(256) for level in [255 - entry] * 3])
    palette.save(tmp_path / "palette.png")
    expected = torch.from_numpy(kernel / kernel.sum()).float()[None]
    pictures = ("folder/k.png", "colour.png", "alpha.png", "grey_alpha.png", "palette.png")
    for name in ("k.npz", "k.mat", "folder", *pictures):
        torch.testing.assert_close(FileKernels(tmp_path / name).kernels, expected)


def test_what_interpolation_leaves_below_zero_is_zero(tmp_path):
    np.savez(tmp_path / "k.npz", np.diag([1.0, 3.0, -0.01]))
    torch.testing.assert_close(FileKernels(tmp_path / "k.npz").kernels[0], torch.diag(torch.tensor([0.25, 0.75, 0])))


def test_a_negative_kernel_is_refused(tmp_path):
    np.savez(tmp_path / "k.npz", np.diag([1.0, 3.0, -0.04]))
    with pytest.raises(InputError, match=r"k\.npz holds a kernel with a tap of -0\.04 beside its largest, 3;"):
        FileKernels(tmp_path / "k.npz")


@pytest.mark.parametrize("name", ["bad.npz", "bad.mat", "bad.png", "missing.npz", "empty", "zero.npz", "vector.npz"])
def test_a_path_without_usable_kernels_is_named(tmp_path, name):
    for bad in ("bad.npz", "bad.mat", "bad.png"):
        (tmp_path / bad).write_bytes(b"not a kernel")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "zero.npz", np.zeros((3, 3)))
    np.savez(tmp_path / "vector.npz", np.ones(3))
    with pytest.raises(InputError, match=name) as caught:
        FileKernels(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not REAL_KERNELS.is_dir(), reason="the folder of measured kernels is not beside the repository")
@pytest.mark.parametrize(("name", "shape"), [("levin09.npz", (8, 27, 27)), ("kernels_12.npz", (12, 25, 25))])
def test_published_kernels_load(name, shape):
    kernels = FileKernels(REAL_KERNELS / name).kernels
    assert kernels.shape == shape
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(len(kernels)))
    copy = (REAL_KERNELS / name).with_suffix(".mat")
    if name == "kernels_12.npz":
        assert torch.equal(FileKernels(copy).kernels, kernels)


@pytest.mark.skipif(not REAL_KERNELS.is_dir(), reason="the folder of measured kernels is not beside the repository")
def test_a_folder_of_pictures_of_kernels_loads_and_matlab_7_3_says_what_to_do():
    assert FileKernels(REAL_KERNELS).kernels.shape == (2, 71, 71)
    with pytest.raises(InputError, match=r"Levin09\.mat is a MATLAB v7\.3 file; save it with -v7 or as \.npz"):
        FileKernels(REAL_KERNELS / "Levin09.mat")

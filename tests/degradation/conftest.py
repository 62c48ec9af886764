"""A file of kernels for its reader and for the sampler that draws from it."""

import numpy as np
import pytest


@pytest.fixture
def kernel_file(tmp_path):
    np.savez(tmp_path / "kernels.npz", a=np.eye(3), b=np.ones((4, 6)), c=np.ones((2, 5, 5)))
    return tmp_path / "kernels.npz"

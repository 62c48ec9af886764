"""How exactly float32 is multiplied."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.backends import cudnn


@contextmanager
def exact_float32() -> Iterator[None]:
    """Multiply float32 as float32 within the block, or the function that this decorates, whatever is set outside.

    For images, kernels and scores: TF32, which cuDNN uses unless told otherwise, keeps 10 bits of a number, too few for
    an image with noise of 0.2 levels of 255 or for the third digit of SSIM; bfloat16, to which autocast would turn its
    products, keeps 8. What is set holds for all threads of the process: for none beside which a network is at work.
    """
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False), _without_tf32():
        yield


@contextmanager
def _without_tf32() -> Iterator[None]:
    if hasattr(cudnn, "conv"):  # PyTorch 2.9: where somebody used these names, reading the old ones fails
        backends = torch.backends
        parts = (cudnn.conv, backends.cuda.matmul, backends.mkldnn.conv, backends.mkldnn.matmul)
        kept = [part.fp32_precision for part in parts]
        for part in parts:
            part.fp32_precision = "ieee"
        try:
            yield
        finally:
            for part, precision in zip(parts, kept, strict=True):
                part.fp32_precision = precision
    else:
        convolution, matmul = cudnn.allow_tf32, torch.get_float32_matmul_precision()
        cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            cudnn.allow_tf32 = convolution
            torch.set_float32_matmul_precision(matmul)

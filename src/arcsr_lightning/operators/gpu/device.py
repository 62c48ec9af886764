"""Whether Triton serves a device: tried once, as it needs a compiler, Python's headers and a driver that fit."""

import logging
from functools import cache

import torch
from torch import Tensor

from arcsr_lightning.errors import first_line
from arcsr_lightning.operators.tracing import constant_when_compiled

log = logging.getLogger(__name__)


def takes(x: Tensor) -> bool:
    """Tell whether there are Triton kernels for the device and the dtype of x."""
    return x.is_cuda and x.dtype in (torch.float32, torch.bfloat16, torch.float16) and _supports(x.device.index)


@constant_when_compiled
def _supports(device: int) -> bool:
    return _works(device)


@cache
def _works(device: int) -> bool:
    try:
        if torch.version.cuda is None:
            raise RuntimeError("ROCm, whose tensors call themselves CUDA's")
        if (capability := torch.cuda.get_device_capability(device)) < (8, 0):  # Triton on these lacks bfloat16
            raise RuntimeError(f"compute capability {capability[0]}.{capability[1]}, 8.0 is needed")
        _try(device)
    except Exception as error:  # ours, of the import, of Triton, of the compiler that it calls, or of the driver
        log.warning("Triton does not work here (%s): PyTorch computes both operators, slower", first_line(error))
        return False
    return True


def _try(device: int) -> None:
    from arcsr_lightning.operators.gpu import deform_conv, kernel_guided_conv  # noqa: F401 - whether they can be
    from arcsr_lightning.operators.gpu.tiles import nothing

    with torch.cuda.device(device):
        nothing[(1,)](torch.empty(1, device="cuda"))

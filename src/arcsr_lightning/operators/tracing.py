"""What the operators know of torch.compile, which traces them."""

from collections.abc import Callable

import torch
from torch import Tensor


def is_traced(x: Tensor) -> bool:
    """Tell whether an operator has to appear as one: it is traced by torch.compile, or asked for its shapes alone."""
    return x.is_meta or torch.compiler.is_compiling()


def constant_when_compiled(function: Callable[..., bool]) -> Callable[..., bool]:
    """Let torch.compile call ``function`` once, and take its answer for good.

    As ``torch.compiler.assume_constant_result``, which imports the compiler: as long again as PyTorch itself.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function

"""What torch.compile is not to look into."""

from collections.abc import Callable


def constant_when_compiled(function: Callable[..., bool]) -> Callable[..., bool]:
    """Let torch.compile call ``function`` once, and take its answer for good.

    As ``torch.compiler.assume_constant_result``, which imports the compiler: as long again as PyTorch itself.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function

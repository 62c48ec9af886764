"""An optimiser whose steps are as large in every direction: what teaches kernels from motion cues."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from arcsr_lightning.precision import exact_float32

# Of the odd polynomial a x + b x^3 + c x^5, which drives singular values up to one towards one (Jordan et al., 2024).
_A, _B, _C = 3.4445, -4.7750, 2.0315
_EPS = 1e-7  # as published: a gradient of next to nothing is no direction


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, for matrices (Jordan et al., 2024); Adam for all else.

    The thousand cues of a cell say nearly the same, so that their gradients lie in few directions, and Adam, which
    looks at every weight by itself, learns last what the others say. Here every direction of a matrix is stepped along
    as far, to within a third. Weights of convolutions are matrices (out, in * taps). A step of a matrix changes what it
    gives by about ``lr`` times the length of its input at most; tall matrices, whose outputs are longer, take longer
    ones.

    Args:
        params: what is to be trained, or groups of it.
        lr: the rate of matrices and of all else.
        momentum: of matrices, Nesterov's.
        betas: of Adam.

    Raises:
        ValueError: a setting is out of its range.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 4e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        if lr < 0 or not all(0 <= share < 1 for share in (momentum, *betas)):
            raise ValueError(
                f"lr must be at least 0, momentum and betas in [0, 1), got lr={lr}, momentum={momentum}, betas={betas}"
            )
        super().__init__(params, {"lr": lr, "momentum": momentum, "betas": tuple(betas)})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if _is_matrix(weight):
                    change = _muon(state, weight.grad, group["momentum"])
                else:
                    change = _adam(state, weight.grad, *group["betas"])
                weight.sub_(change, alpha=group["lr"])
        return loss


@exact_float32()  # the iteration squares what it made before, and would multiply what TF32 rounds
def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """Bring all singular values near one, and leave the singular vectors.

    Args:
        matrix: (rows, columns).
        steps: of the iteration; after five, values from a hundredth of the matrix's norm on are within a third of one.

    Returns:
        (rows, columns).
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalised(matrix.T, steps).T
    matrix = matrix / (matrix.norm() + _EPS)
    one = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    # All of it happens in the smaller square: X <- p(X X') X is a product of polynomials of the first X X', and X.
    squares, product = matrix @ matrix.T, one
    for _ in range(steps):
        polynomial = _A * one + _B * squares + _C * squares @ squares
        squares, product = polynomial @ polynomial @ squares, polynomial @ product
    return product @ matrix


def _is_matrix(weight: Tensor) -> bool:
    return weight.ndim > 1 and min(weight.flatten(1).shape) > 1


def _muon(state: dict[str, Tensor], gradient: Tensor, momentum: float) -> Tensor:
    if not state:
        state["momentum"] = torch.zeros_like(gradient)
    mean = state["momentum"].lerp_(gradient, 1 - momentum)
    step = orthogonalised(gradient.lerp(mean, momentum).flatten(1))
    return step.view_as(gradient) * max(1, step.shape[0] / step.shape[1]) ** 0.5


def _adam(state: dict[str, Tensor], gradient: Tensor, beta1: float, beta2: float) -> Tensor:
    if not state:
        state |= {
            "step": torch.zeros((), device="cpu"),
            "mean": torch.zeros_like(gradient),
            "square": torch.zeros_like(gradient),
        }
    state["step"] += 1
    number = state["step"].item()  # on the CPU: no device is waited for
    mean = state["mean"].lerp_(gradient, 1 - beta1) / (1 - beta1**number)
    square = state["square"].lerp_(gradient.square(), 1 - beta2) / (1 - beta2**number)
    return mean / (square.sqrt() + 1e-8)

"""Compare a part of a rival with what the published function gave for equal weights and inputs (golden/README.md)."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "golden"
TOLERANCES = {torch.float64: 1e-5, torch.float32: 3e-5}  # of an output's largest magnitude


def assert_golden(
    part: str,
    module: nn.Module,
    run: Callable[..., dict[str, Tensor]],
    dtype: torch.dtype,
    rename: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
    tolerance: float | None = None,
) -> None:
    """Give ``module`` the part's weights and compare ``run(module, **inputs)``, in eval mode unless ``run`` changes it.

    ``rename`` takes the file's weights to those of ``module``.
    """
    weights, inputs, outputs = read(part)
    module.load_state_dict(rename(dict(weights)))
    given = {name: x.to(dtype) if x.is_floating_point() else x for name, x in inputs.items()}
    found = run(module.eval().to(dtype), **given)
    differences = [difference(found[name], golden, name) for name, golden in outputs.items()]
    tolerance = TOLERANCES[dtype] if tolerance is None else tolerance
    wrong = [f"{name} by {amount:.1e}" for name, amount in differences if not amount <= tolerance]
    assert not wrong, f"{part} in {dtype} differs, in largest golden values: {', '.join(wrong)}; allowed {tolerance}"


def difference(ours: Tensor, golden: Tensor, name: str) -> tuple[str, float]:
    """The name and max |ours - golden| / max |golden|; infinite where the shapes differ."""
    if ours.shape != golden.shape:
        return f"{name} {[*ours.shape]} for {[*golden.shape]}", float("inf")
    ours, golden = ours.detach().double(), golden.double()
    return name, ((ours - golden).abs().max() / golden.abs().max()).item()


@lru_cache(maxsize=1)
def read(part: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Weights by their rule, inputs and outputs of a file, by name."""
    with np.load(FOLDER / f"{part}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    weights = draw(json.loads(str(arrays.pop("spec", "[]"))))
    named = {key: torch.from_numpy(array) for key, array in arrays.items()}
    inputs, outputs = (
        {key.removeprefix(start): x for key, x in named.items() if key.startswith(start)} for start in ("in/", "out/")
    )
    return weights, inputs, outputs


def draw(rows: list[list]) -> dict[str, Tensor]:
    """The weights of a state dict.

    Row n is (name, shape, low, high): uniform in [low, high), drawn with the seed n. Or (name, shape, "u" or "v", m):
    the left or right singular vector, to the largest singular value, of the weights of row m, as a matrix of one row
    for every output channel.
    """
    weights = {}
    for seed, (name, shape, low, high) in enumerate(rows):
        if low in ("u", "v"):
            weights[name] = singular_vectors(uniform(high, *rows[high][1:]))[low].float()
        else:
            weights[name] = uniform(seed, shape, low, high)
    return weights


def uniform(seed: int, shape: list[int], low: float, high: float) -> Tensor:
    # NumPy keeps the stream of this generator for good, which it promises of no other.
    drawn = np.random.RandomState(seed).uniform(low, high, shape)
    return torch.from_numpy(np.asarray(drawn, np.float32))


def singular_vectors(weight: Tensor) -> dict[str, Tensor]:
    """By fifty steps of the power iteration from a vector of ones: as far as the arrays' makers went."""
    matrix = weight.double().flatten(1)
    left = torch.ones(len(matrix), dtype=torch.double)
    for _ in range(50):
        right = nn.functional.normalize(matrix.T @ left, dim=0)
        left = nn.functional.normalize(matrix @ right, dim=0)
    return {"u": left, "v": right}

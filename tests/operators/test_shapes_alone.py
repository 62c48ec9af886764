"""On the meta device, where there are shapes alone, either operator has a result and gradients."""

import pytest
import torch

from arcsr_lightning.operators import deform_conv2d, kernel_guided_conv2d


@pytest.mark.parametrize(
    ("operator", "guide", "expected"),
    [(deform_conv2d, (2, 18, 4, 5), (2, 3, 4, 5)), (kernel_guided_conv2d, (2, 9, 6, 7), (2, 3, 6, 7))],
)
def test_shapes_alone_have_gradients(operator, guide, expected):
    shapes = ((2, 4, 6, 7), guide, (3, 4, 3, 3), (3,))
    inputs = [torch.empty(shape, device="meta", requires_grad=True) for shape in shapes]
    out = operator(*inputs)
    assert out.shape == expected
    gradients = torch.autograd.grad(out, inputs, torch.empty_like(out))
    assert [gradient.shape for gradient in gradients] == [one.shape for one in inputs]

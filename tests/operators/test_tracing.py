import torch

from arcsr_lightning.operators.tracing import constant_when_compiled


def test_a_function_is_marked_as_torch_marks_it():
    marked, by_torch = (mark(lambda: True) for mark in (constant_when_compiled, torch.compiler.assume_constant_result))
    assert vars(marked) == vars(by_torch) != {}

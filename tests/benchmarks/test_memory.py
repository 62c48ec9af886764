from functools import partial

import pytest
import torch

from benchmarks.memory import peak, peaks

MIB = 2**20


def test_a_process_of_its_own_sees_known_allocations_to_the_byte():
    functions = [partial(torch.ones, 2 * MIB), partial(torch.ones, MIB)]  # float32
    assert peaks(partial(list, functions), threads=1) == ([8 * MIB], [4 * MIB])


def test_what_is_freed_before_the_end_counts_while_it_is_held():
    x = torch.ones(MIB)  # not counted: there before the call
    assert peak(lambda: ((x * 2) * 3).sum()) == pytest.approx(8 * MIB, rel=1e-4)  # numbers take bytes
    assert peak(lambda: [(x * 2).sum() for _ in range(3)]) == pytest.approx(4 * MIB, rel=1e-4)


def test_a_failure_says_why():
    with pytest.raises(RuntimeError, match="invalid literal for int"):
        peaks(partial(int, "none"), threads=1)

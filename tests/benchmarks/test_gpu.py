"""What a GPU will be asked, asked of a CPU: small, and right there."""

import pytest
import torch

from benchmarks import __main__ as bench
from benchmarks import gpu
from benchmarks.cases import BOTH, FORWARD, Case, measure


@pytest.mark.parametrize("layout", gpu.LAYOUTS)
@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-6), ("TF32", 1e-6), ("bfloat16", 2**-7)])
def test_errors_are_those_of_rounding(layout, precision, most):
    ours, unfolded = gpu.guided_errors(1, 5, 4, 3, 6, 7, precision, layout)
    deformed, _ = gpu.deformed_errors(3, 5, precision)
    assert all(0 < error() < most for error in (ours, unfolded, deformed))


def test_errors_are_measured_with_the_first_tiles_and_times_with_all():
    pytest.importorskip("triton")
    lists = [kernel.configs for kernel in gpu.tuned_kernels()]
    assert len(lists) == 5 and all(len(configs) > 1 for configs in lists)
    with gpu.first_tiles():
        assert [kernel.configs for kernel in gpu.tuned_kernels()] == [configs[:1] for configs in lists]
    assert [kernel.configs for kernel in gpu.tuned_kernels()] == lists


def test_an_operator_that_is_wrong_has_an_error():
    inputs = [torch.randn(1, 2, 4, 4), torch.randn(2, 2, 3, 3)]
    wrong, right = gpu.errors((lambda x, w: 2 * convolved(x, w), convolved), inputs, torch.ones(1, 2, 2, 2), "float32")
    assert wrong() == pytest.approx(1, abs=1e-5)
    assert right() < 1e-6


def convolved(x, weight):
    return torch.nn.functional.conv2d(x, weight)


def test_a_cpu_s_scores_are_a_cpu_s():
    difference, most = gpu.score_errors(64, 64, "channels-last")
    assert (difference(), most()) == (0, 1e-5)


def test_every_case_of_a_gpu_runs_small():
    convolutions = [gpu.guided(passes, 3, 4, 6, 2, "bfloat16", 2) for passes in (FORWARD, BOTH)]
    for ours, theirs in (*convolutions, gpu.deformed(4, 6, 2, "TF32", 2), gpu.steps(1, 8, compiled=False, width=4)):
        ours()
        theirs()
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    assert before == ("highest", True)  # what a case allows ends with it


def test_errors_are_figures_and_their_ratio_is_judged():
    case = Case("x", "y", "error", "z", lambda: (lambda: 2.0, lambda: 4.0), gpu.Goal(2))
    assert measure(case) == ([2.0], [4.0])
    row = bench.report.row_of(case, measure(case))
    assert (row["ratio"], row["reached"]) == (0.5, "yes")


def test_the_cases_of_a_gpu_are_listed_without_one_and_errors_come_first(run, capsys):
    run(bench, "--list", "--device", "cuda")
    lines = capsys.readouterr().out.splitlines()
    kinds = [line.split(":")[0] for line in lines]
    assert len(set(lines)) == len(lines)
    assert kinds == sorted(kinds, key=lambda kind: kind != "error")
    assert {"error", "time", "memory"} == set(kinds)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(run):
    with pytest.raises(SystemExit, match="error: --device cuda: torch finds no GPU here"):
        run(bench, "--device", "cuda")

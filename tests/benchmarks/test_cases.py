from itertools import product

import pytest
import torch

from benchmarks import cases
from benchmarks.cases import BOTH, CONV, DEFORM, FORWARD, KG, REFERENCE


def test_every_goal_is_measured_with_one_thread_and_with_two():
    goals = {(case.subject, case.measure, case.against, str(case.goal)) for case in cases.suite()}
    assert goals >= {
        (f"{KG}, {FORWARD}", "time", CONV, "≤ 1.4"),
        (f"{KG}, {BOTH}", "time", CONV, "≤ 1.5"),
        (f"{KG}, {BOTH}", "memory", CONV, "≤ 1.5"),
        (f"{KG}, {BOTH}", "time", REFERENCE, "≥ 4"),
        (f"{KG}, {BOTH}", "memory", REFERENCE, "≥ 10"),
        *((f"{DEFORM}, {BOTH}", "time", CONV, goal) for goal in ("≤ 3.5", "≤ 2.5")),
        ("quickstart, training step (steps/s)", "time", "with ARCSR_NATIVE=0", "≥ 1.7"),
        (f"{DEFORM}, {BOTH}", "memory", CONV, "≤ 4"),
        ("ArcSR, training step (images/s)", "time", "ArcSR on the reference", "≥ 3"),
        ("ArcSR, inference", "time", "MANet", "≤ 1"),
        ("synthesis of a batch", "time", "its training step", "≤ 0.1"),
        ("samples from a store (crops/s)", "time", "PNG frames", "≥ 10"),
    }
    timed = [case for case in cases.suite() if case.measure == "time" and case.goal and "store" not in case.subject]
    one, two = ([case._replace(threads=0, build=None) for case in timed if case.threads == n] for n in (1, 2))
    assert sorted(one, key=str) == sorted(two, key=str)


def test_a_sample_from_the_store_is_that_of_the_frames():
    (_, stored), (_, decoded) = (sample() for sample in cases.crops())
    assert stored["number"] == decoded["number"] == 0
    assert torch.equal(stored["lr"], decoded["lr"])
    assert torch.equal(stored["hr"], decoded["hr"])


@pytest.mark.parametrize("full", [False, True])
def test_the_corners_of_the_goals_are_measured_and_nothing_twice(full):
    names = [case.name for case in cases.suite(full)]
    assert len(names) == len(set(names))
    for ks, channels, side, threads, passes in product((3, 11), (16, 128), (32, 256), (1, 2), (FORWARD, BOTH)):
        assert cases.against_conv(passes, ks, channels, side, 1, threads).name in names
    assert cases.against_conv(BOTH, 11, 64, 64, 6, 2).name in names


def test_ours_and_the_reference_compute_the_same():
    ours, theirs = cases.kernel_guided(REFERENCE, BOTH, 3, 4, 6)
    (out, gradients), (expected, expected_gradients) = ours(), theirs()
    assert len(gradients) == 4
    for own, other in zip((out, *gradients), (expected, *expected_gradients), strict=True):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-4)


def test_conv2d_gets_the_same_tensors_and_derives_by_those_it_has():
    for build, given in (
        (cases.kernel_guided(CONV, BOTH, 3, 4, 6), 3),
        (cases.kernel_guided(CONV, BOTH, 3, 4, 6, kernel_gradient=False), 3),
        (cases.deform(3, 4, 6), 3),
    ):
        (out, _), (expected, gradients) = (function() for function in build)
        assert out.shape == expected.shape == (1, 4, 6, 6)
        assert len(gradients) == given
    own = cases.kernel_guided(CONV, BOTH, 3, 4, 6, kernel_gradient=False)[0]()[1]
    assert [gradient.shape for gradient in own] == [gradient.shape for gradient in gradients]


def test_forward_alone_keeps_nothing_for_gradients():
    ours, theirs = cases.kernel_guided(CONV, FORWARD, 3, 4, 6)
    assert not ours().requires_grad
    assert not theirs().requires_grad


def test_the_reference_network_gives_what_arcsr_gives():
    torch.manual_seed(0)
    x, guide = torch.randn(1, 4, 6, 6), torch.rand(1, 9, 6, 6)
    own, reference = cases.KGConv(4, 3), cases.ReferenceKGConv(4, 3)
    reference.load_state_dict(own.state_dict())
    torch.testing.assert_close(own(x, guide), reference(x, guide), atol=1e-5, rtol=1e-5)


def test_every_batch_of_the_quickstart_is_another_one():
    make_batch, _ = cases.quickstart()
    first, second = make_batch(), make_batch()
    assert first["lr"].shape == (4, 3, 48, 48)
    assert not set(first["number"].tolist()) & set(second["number"].tolist())

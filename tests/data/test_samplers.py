import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcsr_lightning.data import StepSampler
from arcsr_lightning.errors import InputError


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 6))
def test_the_shares_of_all_processes_together_count_through_the_samples(share, world_size, steps):
    ranks = [StepSampler(share * world_size, steps, rank=rank, world_size=world_size) for rank in range(world_size)]
    numbers = [number for step in zip(*ranks, strict=True) for batch in step for number in batch]
    assert numbers == list(range(share * world_size * steps))


def test_a_resumed_pass_is_the_rest_of_an_uninterrupted_one_and_has_its_length():
    whole, rest = StepSampler(4, 5, rank=1, world_size=2), StepSampler(4, 5, lambda: 3, rank=1, world_size=2)
    assert list(rest) == list(whole)[3:]
    assert len(rest) == len(whole) == 5


def test_a_pass_begins_after_the_samples_of_those_before_it():
    before, after = StepSampler(4, 5, rank=1, world_size=2), StepSampler(4, 3, rank=1, world_size=2, offset=2)
    assert list(after) == list(before)[2:]
    assert list(StepSampler(4, 3, lambda: 1, rank=1, world_size=2, offset=2)) == list(before)[3:]


def test_every_pass_asks_anew_where_to_start():
    position = [0]
    sampler = StepSampler(1, 3, lambda: position[0])
    assert list(sampler) == [[0], [1], [2]]
    position[0] = 2
    assert list(sampler) == [[2]]


@pytest.mark.parametrize("batch_size", [0, 3])
def test_a_batch_that_cannot_be_shared_is_refused(batch_size):
    with pytest.raises(InputError, match=f"data.batch_size .* multiple of 2, got {batch_size}"):
        StepSampler(batch_size, 1, world_size=2)

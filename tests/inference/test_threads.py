"""Reading ahead and writing behind: at the same time, in order, and only one at a time."""

import threading

import pytest

from arcsr_lightning.inference import ahead, behind

PATIENCE = 20  # seconds until a thread that does not come is missed


def test_the_next_item_is_made_while_one_is_used_and_none_after_it():
    started = [threading.Event() for _ in range(4)]

    def items():
        for number, event in enumerate(started):
            event.set()
            yield number

    for number in ahead(items()):
        assert all(event.wait(PATIENCE) for event in started[: number + 2])  # in a plain loop the last never is set
        assert not any(event.is_set() for event in started[number + 2 :])


def test_a_call_is_made_while_the_next_one_is_prepared_and_they_keep_their_order():
    prepared, done = [threading.Event() for _ in range(4)], []

    def save(number):
        assert prepared[min(number + 1, 3)].wait(PATIENCE)  # in a plain loop it is prepared only after this
        done.append(number)
        return number * 10

    def calls():
        for number in range(4):
            prepared[number].set()
            assert len(done) >= number - 1  # no more than one waits
            yield lambda number=number: save(number)

    assert list(behind(calls())) == [0, 10, 20, 30]
    assert done == [0, 1, 2, 3]


def test_an_error_is_raised_in_its_place():
    def items():
        yield 1
        raise OSError("gone")

    read = ahead(items())
    assert next(read) == 1
    with pytest.raises(OSError, match="gone"):
        next(read)

    def fail():
        raise OSError("full")

    written = behind([lambda: 1, fail, lambda: 2])
    assert next(written) == 1
    with pytest.raises(OSError, match="full"):
        next(written)


def test_nothing_is_read_or_written_of_nothing():
    assert list(ahead([])) == list(behind([])) == []

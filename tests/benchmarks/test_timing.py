import gc

import pytest

from benchmarks import timing


class Clock:
    """Time that passes only inside the functions that are timed."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 0.0, []
        monkeypatch.setattr(timing, "perf_counter", lambda: self.now)

    def taking(self, name, *durations):
        """A function of that name whose calls take these seconds, the last of them ever after."""
        durations = list(durations)

        def function():
            self.calls.append(name)
            self.now += durations.pop(0) if len(durations) > 1 else durations[0]

        return function


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_functions_take_turns_and_the_first_pair_does_not_count(clock):
    samples = timing.interleave(clock.taking("a", 1.5, 0.5), clock.taking("b", 0.5, 0.25), least_pairs=3)
    assert samples == ([0.5] * 3, [0.25] * 3)
    assert clock.calls == ["a", "b"] * 4


def test_quick_functions_are_timed_until_the_time_is_over_or_pairs_are_enough(clock):
    assert len(timing.interleave(clock.taking("a", 2**-4), clock.taking("b", 2**-4)).ours) == 6  # 0.7 s, 0.125 a pair
    assert len(timing.interleave(clock.taking("a", 2**-9), clock.taking("b", 2**-9)).ours) == timing.MOST_PAIRS


def test_a_long_first_pair_counts(clock):
    samples = timing.interleave(clock.taking("a", 20), clock.taking("b", 10), least_pairs=1)
    assert samples == ([20], [10])


def test_garbage_is_not_collected_meanwhile_but_again_after_an_error():
    def fails():
        assert not gc.isenabled()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        timing.interleave(fails, fails)
    assert gc.isenabled()

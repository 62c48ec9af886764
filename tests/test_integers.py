from fractions import Fraction
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from arcsr_lightning.integers import ceil_div


@given(st.integers(-(10**20), 10**20), st.integers(1, 10**9))
def test_ceil_div_is_the_exact_quotient_rounded_up(number, divisor):
    assert ceil_div(number, divisor) == ceil(Fraction(number, divisor))

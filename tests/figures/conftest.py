import numpy as np
import pytest


@pytest.fixture
def pictures():
    """``pictures(figure)``: what a figure shows, by the title of the axes."""

    def by_title(figure):
        return {axis.get_title(): np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images}

    return by_title

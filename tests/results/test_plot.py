"""Tables' pictures leave room for what they show."""

import warnings

from arcsr_lightning.results import compare


def test_a_name_of_any_length_leaves_room_for_the_figure(job, tmp_path):
    for letter in "ab":
        job("arcsr", 0, overrides=[f"data.root={letter * 190}"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # axes that collapse are one
        compare(tmp_path)
    assert (tmp_path / "results.png").stat().st_size > 0

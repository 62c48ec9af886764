import pytest

from benchmarks import report
from benchmarks.cases import Case, Goal
from benchmarks.timing import Samples


def case(goal=None, subject="filter", x=None):
    return Case(subject, "size", "time", "conv2d", None, goal, x=x)


def test_the_ratio_is_the_median_of_the_pairs_not_the_ratio_of_medians():
    row = report.row_of(case(Goal(2)), Samples([1, 2, 30], [1, 4, 10]))
    assert (row["ratio"], row["ours"], row["theirs"], row["pairs"]) == (1, 2, 4, 3)
    assert (row["low"], row["high"]) == pytest.approx((0.6, 2.6))  # of 0.5, 1, 3
    assert (row["goal"], row["reached"]) == ("≤ 2", "yes")


def test_a_least_is_met_by_how_many_times_theirs_is_ours():
    samples = Samples([1, 2], [5, 6])
    assert report.row_of(case(Goal(4, at_least=True)), samples)["ratio"] == 4
    assert report.row_of(case(Goal(4, at_least=True)), samples)["reached"] == "yes"
    assert report.row_of(case(Goal(4.5, at_least=True)), samples)["reached"] == "no"


def test_a_goal_is_judged_by_its_rows_and_shows_the_worst():
    most = [report.row_of(case(Goal(1.5)), Samples([ours], [1])) for ours in (1, 2, 1.25)]
    least = [report.row_of(case(Goal(4, at_least=True)), Samples([1], [theirs])) for theirs in (8, 4)]
    _, first, second = report.goal_cells(most + least)
    assert first[3:6] == ["≤ 1.5", "2 of 3", "2.00"]
    assert second[3:6] == ["≥ 4", "all", "4.00"]


def test_power_laws_are_found_and_drawn(tmp_path):
    points = [(x, 7 * x**1.5, 3 * x) for x in (10, 100, 1000)]
    rows = [report.row_of(case(None, "growth of time with x", x), Samples([a], [b])) for x, a, b in points]
    assert report.exponents(rows) == {"growth of time with x": pytest.approx((1.5, 1))}
    assert "| growth of time with x | 1.50 | 1.00 | ≤ 1.1 | no |" in report.markdown(rows, 3)
    report.draw_growth(tmp_path / "growth.png", rows)
    assert (tmp_path / "growth.png").stat().st_size > 1000


def test_two_points_tell_no_growth():
    rows = [report.row_of(case(None, "growth of time with x", x), Samples([x], [x])) for x in (1, 2)]
    assert report.exponents(rows) == {}


def test_an_unfinished_table_says_so():
    rows = [report.row_of(case(), Samples([1], [1]))]
    assert "Unfinished: 1 of 2 cases" in report.markdown(rows, 2)
    assert "Unfinished" not in report.markdown(rows, 1)

import csv

import pytest

from benchmarks import __main__ as bench
from benchmarks.cases import smallest
from benchmarks.timing import Samples


def test_the_smallest_case_leaves_a_table_that_follows_from_its_raw_numbers(run, tmp_path, capsys):
    run(bench, "--quick", "--output", tmp_path)
    with (tmp_path / "benchmarks.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert [row["measure"] for row in rows] == ["time", "time", "memory"]
    for row in rows:
        ratio = float(row["ratio"])
        spread = f"{float(row['low']):.2f}-{float(row['high']):.2f}" if int(row["pairs"]) > 1 else "-"
        reached = "yes" if ratio <= float(row["goal"].removeprefix("≤ ")) else "no"
        where = f"{row['subject']} | {row['size']} | {row['threads']} | {row['measure']} | {row['against']}"
        assert f"| {where} | {ratio:.2f} | {spread} | {row['pairs']} | {row['goal']} | {reached} |" in table
    memory = rows[-1]
    assert float(memory["ratio"]) == pytest.approx(float(memory["ours"]) / float(memory["theirs"]))
    assert "Unfinished" not in table
    assert "| worst |" in capsys.readouterr().out


def test_what_was_measured_before_an_end_is_kept(tmp_path, monkeypatch):
    measured = iter([Samples([1.0], [2.0])])
    monkeypatch.setattr(bench, "measure", lambda case: next(measured))
    with pytest.raises(StopIteration):
        bench.bench(smallest(), tmp_path)
    assert len((tmp_path / "benchmarks.csv").read_text().splitlines()) == 2
    assert "Unfinished: 1 of 3" in (tmp_path / "benchmarks.md").read_text()


def test_cases_are_chosen_by_name(run, capsys):
    run(bench, "--list", "--only", "GMACs|images/s.*threads 2")
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["GMACs", "time"]


@pytest.mark.parametrize(("pattern", "message"), [("nothing", "matches no case"), ("(", "no regular expression")])
def test_a_wrong_pattern_is_one_line(run, capsys, pattern, message):
    with pytest.raises(SystemExit) as end:
        run(bench, "--only", pattern)
    assert message in f"{end.value} {capsys.readouterr().err}"

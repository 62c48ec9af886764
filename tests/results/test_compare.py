"""results.md and the CSV files say what the runs say, and leave nothing blank."""

import csv
import json

import cv2
import numpy as np
import pytest

from arcsr_lightning.results import compare
from arcsr_lightning.results.runs import read_study
from arcsr_lightning.results.sections import percent, study_sections


def lines(table: list[list[str]]) -> dict[str, list[str]]:
    return {cells[0]: cells[1:] for cells in table[2:]}


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def study(job, tmp_path):
    """Two data sets, three methods, two seeds; failed, interrupted and missing jobs among them."""
    for data in ("gopro", "reds"):
        for method in ("bicubic", "dasr", "arcsr"):
            for seed in (0, 1):
                lost = {("dasr", 1): "failed", ("bicubic", 1): "killed"}.get((method, seed), "finished")
                job(method, seed, data, "failed" if (method, data) == ("dasr", "reds") else lost)
    planned = [
        [f"model={method}", f"data={data}", f"seed={seed}"]
        for data in ("gopro", "reds")
        for method in ("bicubic", "dasr", "arcsr")
        for seed in (0, 1, 2)
        if (data, method, seed) != ("gopro", "arcsr", 2)
    ]
    (tmp_path / "jobs.json").write_text(json.dumps({"jobs": planned}))
    return tmp_path


def test_a_table_has_a_line_per_method_bicubic_first_and_no_blank(study, tables):
    found = tables(compare(study).read_text())
    assert [[cells[0] for cells in table] for table in found] == [["method", "---", "bicubic", "dasr", "arcsr"]] * 6
    for table in found:
        assert {len(cells) for cells in table} == {len(table[0])}
        assert all(cell.strip() for cells in table for cell in cells)


def test_scores_stand_beside_the_papers_with_spread_and_difference(study, tables):
    gopro, _, _, reds, _, _ = map(lines, tables(compare(study).read_text()))
    (section, _) = study_sections(read_study(study))
    arcsr = next(entry for entry in section.entries if entry.label == "arcsr").scores[0.0]
    assert gopro["arcsr"][:6] == ["2", f"{arcsr.psnr.mean:.2f} ± 0.07", "24.33", "0.7050 ± 0.0071", "0.73", "-"]
    assert gopro["dasr"][0] == "1 of 3"
    assert gopro["dasr"][2] == "23.27" and gopro["dasr"][4] == "0.72"
    assert gopro["dasr"][5].startswith("-0.50 [-0.")  # of the seed that both have
    assert gopro["bicubic"][0] == "-" and "±" not in gopro["bicubic"][1]
    assert reds["dasr"] == ["0 of 3", *["failed", "23.86", "failed", "0.65", "failed"], *["failed", "23.36", "failed", "0.61", "failed"]]  # fmt: skip  # noqa: E501


def test_what_it_cost_is_said(study, tables):
    _, costs, _, _, failed, _ = map(lines, tables(compare(study).read_text()))
    assert costs["arcsr"] == ["15.90 M", "31.60", *"----", "11.5 ± 0.7", "-", "cpu, threads 2"]
    assert costs["bicubic"] == ["0.00 M", "0.00", *"-------"]
    assert failed["dasr"] == ["failed"] * 9


def test_by_what_it_was_trained_and_how_far_is_said(study, job, tables):
    _, _, training, _, _, failed = map(lines, tables(compare(study).read_text()))
    seconds = [16 * 400 / speed for speed in (11, 12)]  # images by images/s
    spread = f"{np.mean(seconds):.0f} ± {np.std(seconds, ddof=1):.0f} s"
    assert training["arcsr"] == ["pairs", "400", spread, "40 %", "0.04", "0.999", "RandomRotate90"]
    assert training["bicubic"] == ["nothing", "none", "-", "-", "-", "-", "-"]
    assert [percent(share) for share in (0.004, 0.00012, 0.996, 0.1)] == ["0.4 %", "0.012 %", "100 %", "10 %"]
    assert failed["dasr"] == ["failed"] * 7

    def staged(report):
        stages = [{"stage": "first", "steps": 100, "lr_sum": 0.25}, {"stage": "second", "steps": 300, "lr_sum": 1.5}]
        report["method"] |= {"schedule": stages, "published_steps": None, "ema": None, "augmentation": []}

    job("udke_lite", edit=staged)
    _, _, training, *_ = map(lines, tables(compare(study).read_text()))
    steps, rates = "first 100 + second 300", "first 0.25 + second 1.5"
    assert training["udke_lite"] == ["pairs", steps, "-", "-", rates, "-", "none"]


def test_the_two_protocols_have_tables_of_their_own(job, tmp_path, tables):
    for protocol in ("paper", "published"):
        for method in ("dasr", "arcsr"):
            job(method, protocol=protocol)
    text = compare(tmp_path).read_text()
    titles = [line for line in text.splitlines() if line.startswith("## gopro")]
    assert [title.split(", ×4")[0] for title in titles] == [f"## gopro, protocol={p}" for p in ("paper", "published")]
    found = tables(text)
    assert [[cells[0] for cells in table[2:]] for table in found] == [["bicubic", "arcsr", "dasr"]] * 6
    assert all(cells[1] in ("-", "1") for table in (found[0], found[3]) for cells in table[2:])
    for protocol in ("paper", "published"):
        assert text.count(f"- protocol={protocol}: ") == 1
        assert f"- **dasr, protocol={protocol}**: A publication" in text
    rows = read(tmp_path / "results.csv")
    assert {(row["method"], row["protocol"]) for row in rows} == {
        (method, protocol) for method in ("dasr", "arcsr") for protocol in ("paper", "published")
    }


def test_runs_that_say_no_protocol_have_a_table_of_their_own(job, tmp_path):
    """Of methods that were trained elsewhere."""
    job("dasr", protocol=None)
    job("arcsr")
    text = compare(tmp_path).read_text()
    assert "## gopro, ×4" in text and "## gopro, protocol=paper, ×4" in text


def test_every_job_without_figures_is_listed_with_its_reason(study):
    text = compare(study).read_text()
    listed = text.split("## Not finished\n\n")[1].split("\n\n")[0].splitlines()
    assert len(listed) == 2 + 1 + 2 + 5  # interrupted, failed on gopro, failed on reds, never begun
    assert "- `model=dasr data=gopro seed=1`: failed: the loss is nan at step 7" in listed
    assert "- `model=bicubic data=reds seed=1`: not finished: interrupted, or still running" in listed
    assert "- `model=arcsr data=reds seed=2`: not started" in listed


def test_a_finished_study_lists_nothing_as_unfinished(job, tmp_path):
    job("arcsr")
    assert "Not finished" not in compare(tmp_path).read_text()


def test_a_study_that_has_only_begun_has_a_table_too(job, tmp_path, tables):
    job("arcsr", state="killed")
    text = compare(tmp_path).read_text()
    assert tables(text) == [[["method", "seeds"], ["---", "---"], ["arcsr", "0 of 1"]]]
    assert "No run is finished" in text and "interrupted, or still running" in text
    assert not (tmp_path / "results.png").exists()


def test_a_plan_of_which_nothing_has_begun_is_a_list(tmp_path):
    (tmp_path / "jobs.json").write_text(json.dumps({"jobs": [["seed=0"], ["seed=1"]]}))
    assert compare(tmp_path).read_text().count("not started") == 2


def test_an_ablation_is_compared_with_table_1(job, tmp_path, tables):
    job("arcsr")
    job("arcsr_no_kernel")
    text = compare(tmp_path).read_text()
    scores = lines(tables(text)[0])
    assert scores["arcsr"][4] == "0.72" and scores["arcsr_no_kernel"][4] == "-"
    assert scores["arcsr"][7] == "23.47"  # with noise Table 2 alone has a figure
    assert "Paper: its Table 1, and Table 2 where that has no figure" in text


def test_data_that_the_paper_does_not_know_has_no_column_for_it(job, tmp_path, tables):
    job("arcsr", data="sample")
    text = compare(tmp_path).read_text()
    assert "paper" not in tables(text)[0][0]
    assert "The paper has no figures for sample." in text


def test_the_csv_has_a_row_per_run_and_noise_level_and_one_for_what_is_missing(study):
    compare(study)
    rows = read(study / "results.csv")
    finished = [row for row in rows if row["state"] == "finished"]
    assert len(finished) == 2 * (1 + 1 + 2 + 1 + 2)
    assert len(rows) == len(finished) + 2 + 1 + 2 + 5
    (row,) = (
        row
        for row in finished
        if (row["data"], row["method"], row["seed"], row["noise_level"]) == ("gopro", "arcsr", "1", "10.0")
    )
    report = json.loads((study / "model-arcsr_data-gopro_seed-1" / "metrics.json").read_text())
    assert float(row["psnr_rgb"]) == report["rows"][3]["psnr_rgb"]
    assert (row["paper_psnr"], row["images_per_s"], row["device"]) == ("23.47", "12.0", "cpu")


def test_the_csv_of_means_has_the_ends_of_the_intervals(study):
    compare(study)
    rows = {(row["data"], row["method"], row["noise_level"]): row for row in read(study / "results_means.csv")}
    dasr = rows["gopro", "dasr", "10.0"]
    low, mean, high = (float(dasr[key]) for key in ("low", "difference", "high"))
    assert low < mean < high and mean == pytest.approx(-0.5)
    assert (dasr["reference"], dasr["seeds"], dasr["planned"]) == ("arcsr", "1", "3")
    assert rows["reds", "dasr", ""]["state"] == "failed"


def test_each_method_is_explained_once(study):
    text = compare(study).read_text()
    assert text.count("- **arcsr**: A publication. Represents one blur kernel per LR pixel. Unlike the") == 1


def test_a_method_that_is_not_comparable_says_so(job, tmp_path):
    job("dasr", edit=lambda report: report["method"].update(comparable=False))
    assert "| dasr, not comparable |" in compare(tmp_path).read_text()


def test_an_added_skip_is_said_in_the_row_and_in_the_note(tmp_path, job):
    job("arcsr")
    job("dasr", edit=lambda report: report["method"].update(skip="bicubic"))
    text = compare(tmp_path).read_text()
    assert "| dasr, skip=bicubic |" in text
    assert "| dasr |" not in text  # in no table
    assert "Its output is added to the bicubic enlargement of its input (skip=bicubic)" in text


def test_the_title_says_whether_all_saw_the_same_samples_whatever_their_seeds(job, tmp_path):
    job("arcsr", 0)
    job("arcsr", 1)
    assert "All were trained on the same samples, 16 a step" in compare(tmp_path).read_text()
    job("dasr", 0, edit=lambda report: report["config"]["data"].update(batch_size=8))
    assert "Not all were trained on the same samples" in compare(tmp_path).read_text()


@pytest.mark.parametrize("own", [{"accumulate_grad_batches": 2}, {"max_time": "00:00:01:00"}])
def test_the_title_counts_accumulated_batches_and_what_was_done_in_time(job, tmp_path, own):
    job("arcsr", 0)
    job("dasr", 0, edit=lambda report: report["config"]["trainer"].update(own))
    assert "Not all were trained on the same samples" in compare(tmp_path).read_text()


def test_the_strength_of_blur_has_a_table_and_a_picture_where_it_is_known(job, tmp_path, tables, psnr):
    job("arcsr", 0, blurred=True)
    job("dasr", 0, blurred=True)
    text = compare(tmp_path).read_text()
    (header, _, *rows) = tables(text)[1]
    assert header == ["noise", "method"] + [
        cell
        for blur in ("weak blur, 0.00 to 0.75 px", "medium blur, 1.00 to 1.75 px", "strong blur, 2.00 to 2.75 px")
        for cell in (blur, "PSNR − arcsr")
    ]
    assert [row[:2] for row in rows] == [[n, m] for n in ("0", "10") for m in ("bicubic", "arcsr", "dasr")]
    weakest = psnr("dasr", 0, 10.0)[[0, 5, 10, 3]].mean()
    (dasr,) = (row for row in rows if row[:2] == ["10", "dasr"])
    assert dasr[2] == f"{weakest:.2f}" and "[" in dasr[3]
    (row,) = (r for r in read(tmp_path / "results_means.csv") if (r["method"], r["noise_level"]) == ("dasr", "10.0"))
    assert float(row["weak_psnr"]) == pytest.approx(weakest) and row["weak_up_to_px"] == "0.75"
    assert float(row["strong_low"]) < float(row["strong_difference"]) < float(row["strong_high"])
    assert "12 test images in 3 groups" in text and "(results_blur.png)" in text
    assert cv2.imread(f"{tmp_path}/results_blur.png").shape[1] > 500


def test_without_known_blur_there_is_neither(study):
    text = compare(study).read_text()
    assert "strong" not in text and "results_blur" not in text and "12 test images\n" in text
    assert not (study / "results_blur.png").exists()


def test_every_table_says_how_long_and_at_what_size_its_networks_were_trained(job, tmp_path):
    job("arcsr", 0)
    assert "Trained for 400 steps (40 % of the published or less) at a size of 15.90 M" in compare(tmp_path).read_text()
    longer = {"schedule": [{"stage": None, "steps": 1000}], "parameters": 20_000}
    job("dasr", 0, edit=lambda report: report["method"].update(longer))
    assert (
        "\n\nTrained for 400 to 1000 steps at a size of 0.02 to 15.90 M parameters.\n" in compare(tmp_path).read_text()
    )


def test_the_picture_is_small_and_grows_with_the_study(study, job):
    compare(study)
    small = cv2.imread(f"{study}/results.png")
    assert (study / "results.png").stat().st_size < 200_000
    job("udke_lite")
    job("arcsr_no_kernel")
    compare(study)
    assert cv2.imread(f"{study}/results.png").shape[0] > small.shape[0]


def scored_perceptually(lpips, missing=None, latency=None):
    """An edit of a report that was asked for LPIPS, of which ``missing`` says why it is not there, and for ARNIQA."""

    def edit(report):
        for number, row in enumerate(report["rows"]):
            own = {} if missing else {"lpips": lpips + number / 16}
            row.update(own | {"arniqa": 0.5, "arniqa_hr": 0.75})
        asked = [("lpips", "lower", missing), ("arniqa", "higher", None)]
        report["perceptual"] = [dict(zip(("name", "better", "missing"), one, strict=True)) for one in asked]
        report["method"]["latency_s"] = latency

    return edit


def test_perceptual_scores_and_latencies_are_tabulated_beside_runs_that_have_none(job, tmp_path, tables):
    job("arcsr", 0, edit=scored_perceptually(0.25, latency=0.5))
    job("arcsr", 1, edit=scored_perceptually(0.5, latency=1.5))
    job("dasr", 0, edit=scored_perceptually(0, missing="put URL into FOLDER"))
    job("udke_lite", 0)  # of a version that knew neither
    text = compare(tmp_path).read_text()
    _, scores, costs, _ = tables(text)
    assert scores[0] == ["method", "lpips ↓, noise 0", "arniqa ↑, noise 0", "lpips ↓, noise 10", "arniqa ↑, noise 10"]
    assert lines(scores) == {
        "ground truth": ["-", "0.7500", "-", "0.7500"],
        "bicubic": ["0.2500", "0.5000", "0.3750", "0.5000"],
        "arcsr": ["0.4375 ± 0.1768", "0.5000 ± 0.0000", "0.5625 ± 0.1768", "0.5000 ± 0.0000"],
        "dasr": ["missing", "0.5000", "missing", "0.5000"],
        "udke_lite": ["-"] * 4,
    }
    assert "\n\n- lpips is missing: put URL into FOLDER\n\n" in text
    assert "↓ lower is better, ↑ higher is better." in text
    assert [costs[0][7:], lines(costs)["arcsr"][6:]] == [
        ["training, images/s", "latency, s", "on"],
        ["11.5 ± 0.7", "1 ± 0.707", "cpu, threads 2"],
    ]
    (row,) = (
        r for r in read(tmp_path / "results.csv") if (r["method"], r["seed"], r["noise_level"])[1:] == ("1", "0.0")
    )
    assert (row["lpips"], row["latency_s"], row["images_per_s"]) == ("0.5625", "1.5", "12.0")
    means = {(row["method"], row["noise_level"]): row for row in read(tmp_path / "results_means.csv")}
    assert (means["arcsr", "0.0"]["lpips"], means["arcsr", "0.0"]["latency_s"]) == ("0.4375", "1.0")
    assert means["dasr", "0.0"]["lpips"] == means["udke_lite", "0.0"]["latency_s"] == ""


def test_without_perceptual_scores_there_is_no_word_of_them(study):
    text = compare(study).read_text()
    assert "LPIPS" not in text and "lpips" not in text and "missing" not in text

"""``arcsr-results`` as it is typed, and a real sweep from its start to its table."""

import os
import shutil

import pytest

from arcsr_lightning import compare as results
from arcsr_lightning import train
from tests.conftest import WITHOUT_PICTURES


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sweep(job, tmp_path):
    """``sweep(name)``: the folder of a sweep of ``study`` with one run."""

    def make(name):
        folder = tmp_path / "logs" / "study" / "multiruns" / name
        folder.mkdir(parents=True)
        shutil.move(job("dasr"), folder)
        return folder

    return make


def test_the_newest_sweep_of_a_study_is_tabulated_and_printed(sweep, run, capsys):
    older, newer = sweep("2026-01-02_03-04-05"), sweep("2026-01-10_03-04-05")
    run(results, "study")
    printed = capsys.readouterr().out
    assert "| dasr | 1 | " in printed and "Represents" not in printed
    assert printed.endswith(f"results: {newer.relative_to(newer.parents[3])}/results.md\n")
    assert not (older / "results.md").exists()


def test_the_newest_sweep_is_the_last_that_was_planned_whatever_its_name(sweep, run):
    """SLURM's jobs, and those that were named by hand, have no date in their names."""
    newer, older = sweep("slurm-10.0"), sweep("slurm-9.0")
    for second, folder in enumerate((older, newer)):
        (folder / "jobs.json").write_text('{"typed": [], "jobs": []}')
        os.utime(folder / "jobs.json", (second, second))
    run(results, "study")
    assert [(folder / "results.md").exists() for folder in (newer, older)] == [True, False]


def test_tables_need_no_torch_and_only_pictures_matplotlib(sweep, job, loaded, tmp_path):
    tabulate = """
import sys
from arcsr_lightning.compare import main
sys.argv = ["arcsr-results", {!r}]
main()
"""
    (tmp_path / "begun").mkdir()
    shutil.move(job("arcsr", state="killed"), tmp_path / "begun")
    assert loaded(tabulate.format("begun"), "torch", "PIL") == []
    assert loaded(tabulate.format(str(sweep("2026-01-02_03-04-05"))), "torch") == ["matplotlib"]


def test_a_folder_is_a_study_too(sweep, run):
    folder = sweep("2026-01-02_03-04-05")
    run(results, folder)
    assert (folder / "results.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stduy"], ["stduy: no such study and no such folder", "studies below logs: study"]),
        (["study", "--logs", "elsewhere"], ["study: no such study", "there are no studies below elsewhere"]),
        (["study", "--reference", "arcsr"], ["reference=arcsr: no method of this study; it has bicubic, dasr"]),
        (["logs"], ["logs: holds no runs of a sweep"]),
        (["study", "figures"], ["figures: after the study comes nothing, or figure"]),
        (["study", "figure", "image=a"], ["image=a: a figure takes images=NAME,NAME and noise=LEVEL"]),
        (["study", "figure", "images=,"], ["images=,: a figure takes images=NAME,NAME"]),
        (["study", "figure", "noise=much"], ["noise=much: noise is a level"]),
        (["study", "--reference", "dasr", "figure", "noise=much"], ["noise=much: noise is a level"]),
    ],
)
def test_bad_input_is_one_line(arguments, words, sweep, run):
    sweep("2026-01-02_03-04-05")
    with pytest.raises(SystemExit) as end:
        run(results, *arguments)
    assert str(end.value.code).startswith("error: ") and "\n" not in str(end.value.code)
    for word in words:
        assert word in str(end.value.code)


def test_a_study_is_all_that_is_wanted(run, capsys):
    with pytest.raises(SystemExit):
        run(results)
    assert capsys.readouterr().err.endswith("error: the following arguments are required: study\n")


def test_a_sweep_over_methods_and_seeds_ends_in_its_table(photos, run, tables, capsys, tmp_path):
    arcsr = ["size=tiny", "arcsr.estimator_width=4", "arcsr.estimator_levels=2", "arcsr.width=4", "arcsr.blocks=1"]
    data = ["data=folder", f"data.root={photos}", f"data.val_root={photos}", "data.batch_size=2", "data.num_workers=0"]
    small = [
        "kernel_size=3",
        "data.noise_levels=[10]",
        "degradation.blur.kernel_size=5",
        "degradation.blur.max_length=4",
    ]
    steps = ["trainer.max_steps=2", "trainer.val_check_interval=2", "trainer.log_every_n_steps=1"]
    quiet = ["callbacks.progress=null", "callbacks.summary=null", *WITHOUT_PICTURES, "print_config=false"]
    common = ["trainer=cpu", "data.train.patch_size=32", *arcsr, *data, *small, *steps, *quiet]
    with pytest.raises(SystemExit):  # a queue of five does not fit batches of two; the others go on
        run(train, "-m", *common, "model=dasr,arcsr", "seed=0,1", "dasr.queue_size=5")
    typed = capsys.readouterr()
    (sweep,) = tmp_path.glob("logs/train/multiruns/*")
    text = (sweep / "results.md").read_text()
    assert "dasr.queue_size must be a multiple of data.batch_size" in typed.err
    assert "results.md" in typed.err
    scores, blur, costs, training = ({line[0]: line[1:] for line in table[2:]} for table in tables(text))
    assert list(scores) == ["bicubic", "dasr", "arcsr"]
    assert list(blur) == ["10"]  # the noise level: three photographs, of three blurs
    assert scores["dasr"] == ["0 of 2", *["failed"] * 3]
    assert scores["arcsr"][0] == "2" and " ± " in scores["arcsr"][1]
    assert scores["bicubic"][3].count(", ") == 1  # an interval
    assert "cpu, threads" in costs["arcsr"][8] and training["arcsr"][1] == "2"
    assert text.count(": failed: dasr.queue_size must be") == 2
    assert "All were trained on the same samples, 2 a step" in text
    run(results, "train", "--reference", "bicubic")
    assert "PSNR − bicubic" in capsys.readouterr().out


@pytest.mark.parametrize("study", ["", ".", "*", "study/", "\0"])
def test_what_names_no_study_is_one_line(sweep, run, study):
    sweep("2026-01-02_03-04-05")
    with pytest.raises(SystemExit) as end:
        run(results, study)
    assert str(end.value.code).startswith("error: ") and "\n" not in str(end.value.code)


def test_a_damaged_run_is_named_and_the_others_are_tabulated(sweep, job, run, capsys):
    folder = sweep("2026-01-02_03-04-05")
    shutil.move(job("arcsr"), folder)
    broken = next(folder.glob("*arcsr*/metrics.json"))
    broken.write_text("{")
    with pytest.raises(SystemExit) as end:
        run(results, folder)
    assert str(end.value.code).startswith(f"error: {broken}: damaged") and "\n" not in str(end.value.code)
    assert "| dasr | 1 | " in capsys.readouterr().out

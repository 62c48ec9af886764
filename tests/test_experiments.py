"""Every experiment runs a batch of everything, and every debug mode does what its name says."""

import csv
import json

import pytest

from arcsr_lightning import CONF_DIR, compose
from arcsr_lightning.prepare import prepare
from arcsr_lightning.train import train
from tests.conftest import some

EXPERIMENTS = sorted(path.stem for path in (CONF_DIR / "experiment").glob("*.yaml"))
MEASURED = {
    "arcsr_gopro_measured": "gopro",
    "arcsr_reds_measured": "reds",
    "arcsr_small": "mixed",
    "table1_small": "mixed",
    "table2_small": "mixed",
}
OF_EVERY_KIND = ("quickstart", "arcsr_reds_measured", "arcsr_small", "table1_cpu", "table2", "table2_small")
SYNTHETIC = ("quickstart", "table1_cpu", "table2_cpu")
SIZES = ("arcsr.estimator_width=4", "arcsr.estimator_levels=2", "arcsr.width=4", "arcsr.blocks=1", "print_config=false")


@pytest.fixture
def run(gopro_tree, reds_tree, tmp_path):
    """``run(experiment, *overrides)``: its metrics, on miniature data."""
    trees = {"gopro": gopro_tree, "reds": reds_tree}
    places = {name: [f"data.root={tree}"] for name, tree in trees.items()}
    places["mixed"] = [f"data.{key}={gopro_tree}/test" for key in ("root", "val_root")]
    places["mixed"] += [f"data.{name}={tree}" for name, tree in trees.items()]
    measured = ["data.train.patch_size=32", f"data.store={tmp_path}/store"]
    roots = {
        **{name: [*places[data], *measured] for name, data in MEASURED.items()},
        "arcsr_gopro": [f"data.root={gopro_tree}", "data.train.patch_size=32"],
        "arcsr_reds": [f"data.root={reds_tree}", "data.train.patch_size=32"],
        **{name: ["data.train.patch_size=64", "data.batch_size=2"] for name in SYNTHETIC},
        **{name: [f"data.root={gopro_tree}", "data.train.patch_size=32"] for name in ("table1", "table2")},
    }

    def run_it(experiment, *overrides, sizes=SIZES):
        if experiment in MEASURED:
            data, (*places, _, store) = MEASURED[experiment], roots[experiment]
            prepare(compose([f"data={data}", *places, store, "data.kernels=measured"], "prepare"))
        data = [*roots[experiment], f"paths.output_dir={tmp_path}"]
        return train(compose([f"experiment={experiment}", *sizes, *data, *overrides]))

    return run_it


def test_there_are_experiments():
    assert {"arcsr_gopro", "arcsr_reds", "quickstart", "table1", "table2"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("experiment", [some(experiment, *OF_EVERY_KIND) for experiment in EXPERIMENTS])
def test_every_experiment_runs_a_batch_of_everything(experiment, run, tmp_path):
    metrics = run(experiment, "debug=fdr")
    assert {"train/loss", "val/psnr", "test/psnr"} <= set(metrics)
    assert not (tmp_path / "checkpoints").exists()


def test_a_method_that_wants_two_crops_of_an_image_gets_them_of_mixed_data(run):
    sizes = ("dasr.width=8", "dasr.groups=1", "dasr.blocks=1", "dasr.queue_size=4", "print_config=false")
    assert "train/loss" in run("table2_small", "model=dasr", "debug=fdr", sizes=sizes)


def test_limit_goes_the_whole_way_on_few_batches(run, tmp_path):
    run("arcsr_gopro", "debug=limit")
    rows = json.loads((tmp_path / "metrics.json").read_text())["rows"]
    assert [(row["method"], row["images"]) for row in rows] == [("bicubic", 1), ("arcsr", 1)] * 2
    assert (tmp_path / "model.safetensors").is_file()


def test_overfit_lowers_the_loss_of_its_few_samples(run, tmp_path):
    steps = ("trainer.max_steps=40", "trainer.val_check_interval=40")
    run("arcsr_gopro", "debug=overfit", *steps, "optimizer.lr=1e-2")
    with next(tmp_path.glob("csv/*/metrics.csv")).open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]
    assert len(losses) == 40
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])


def test_profiler_says_where_the_time_goes(run, caplog):
    with caplog.at_level("INFO"):
        run("arcsr_gopro", "debug=profiler", "trainer.max_steps=2", "trainer.val_check_interval=2")
    assert "run_training_batch" in caplog.text

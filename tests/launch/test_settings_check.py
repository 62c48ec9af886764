"""What is outside of its range is refused in one line, before anything is written."""

import pytest

from arcsr_lightning import evaluate, predict, prepare, train
from arcsr_lightning.launch.settings_check import check_settings
from tests.launch.conftest import overridden


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("predict", "input"),
        ("predict", "weights"),
        ("train", "weights"),
        ("train", "ckpt_path"),
        ("prepare", "data.root"),
    ],
)
def test_an_empty_value_does_not_mean_everything_here(refusal, command, key):
    assert refusal(command, f"{key}=''").startswith(f"{key}=(nothing): must be a path")


def test_a_value_of_several_lines_is_answered_in_one(refusal):
    assert refusal("train", "test='a\nb'") == r"test=a\nb: must be true or false"


def test_a_stage_has_the_ranges_of_the_run(refusal):
    assert refusal("train", "stages.one.share=0") == "stages.one.share=0: must be a number above 0"
    assert refusal("train", "stages.one.trains=restorer").startswith(
        "stages.one.trains=restorer: must be a list, each text"
    )


def test_the_setting_that_others_refer_to_is_blamed(refusal):
    assert refusal("train", "scale=5") == "scale=5: must be 2, 3 or 4"


def test_a_tile_holds_twice_its_overlap(refusal):
    assert refusal("demo", "tile=32") == refusal("predict", "tile=32")
    assert refusal("predict", "tile=32") == "overlap=32: must be at most half of tile=32; set overlap=16"


def test_a_restorer_that_needs_kernels_has_an_estimator(refusal):
    assert "model/restorer=plain" in refusal("train", "model.estimator=null")


def test_a_class_from_elsewhere_is_left_to_itself(composed):
    own = ["model._target_=mylab.nets.Net", "model.width=wide", "data.train._target_=mylab.Data", "data.train.leaves=9"]
    check_settings("train", overridden(composed["train"], *own))


@pytest.mark.parametrize(
    ("command", "typed"),
    [
        (predict, ["input=a.png", "output=keep.png", "weights=w.ckpt", "overwrite=no"]),
        (train, ["data=sample", "task_name=../../evil"]),
        (train, ["data=sample", "scale=5"]),
        (train, ["-m", "data=sample", "seed=0,1", "optimizer.lr=fast"]),
        (evaluate, ["weights="]),
        (prepare, ["data=folder", "data.root=.", "data.val_root=.", "num_workers=0"]),
    ],
)
def test_nothing_is_written_before_the_settings_are_right(run, tmp_path, monkeypatch, capsys, command, typed):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "keep.png").write_text("precious")
    with pytest.raises(SystemExit) as ended:
        run(command, *typed)
    assert ended.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["here", "keep.png"]
    assert (tmp_path / "here" / "keep.png").read_text() == "precious"

"""Every setting has a type and a range: what is outside of them is refused in one line, before anything is written."""

import math

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from arcsr_lightning import evaluate, predict, prepare, train
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import compose
from arcsr_lightning.launch.schema import TABLES, check_settings, kind_of, settings_in

HOSTILE = (
    None,
    "",
    " ",
    "abc",
    "no",
    "off",
    -1,
    0,
    1.5,
    math.nan,
    math.inf,
    2**40,
    True,
    [],
    [None],
    ["a", 1],
    [[0, 1]],
)


@pytest.fixture(scope="module")
def composed():
    data = ["data=sample"]
    return {
        "train": compose([*data, "stages={one:{share:1}}"]),
        "evaluate": compose(data, "evaluate"),
        "predict": compose(["input=a.png", "output=b.png"], "predict"),
        "export": compose(["weights=w.ckpt", "output=b.onnx"], "export"),
        "demo": compose([], "demo"),
        "prepare": compose(["data=folder", "data.root=a", "data.val_root=b"], "prepare"),
    }


def overridden(cfg, *typed):
    cfg = cfg.copy()
    for override in OverridesParser.create().parse_overrides(list(typed)):
        OmegaConf.update(cfg, override.key_or_group, override.value(), force_add=True)
    return cfg


@pytest.fixture
def refusal(composed):
    """``refusal(command, "key=value")``: the line that is said against such a setting."""

    def line(command, typed):
        with pytest.raises(InputError) as caught:
            check_settings(command, overridden(composed[command], typed))
        return str(caught.value)

    return line


@pytest.mark.parametrize("command", TABLES)
def test_every_setting_of_a_command_has_a_kind(composed, command):
    settings = [(name, value) for name, value, _ in settings_in(composed[command])]
    assert settings
    assert not [
        name for name, value in settings if kind_of(command, name) is None and not isinstance(value, DictConfig)
    ]


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_a_kind_takes_any_value_or_refuses_it(value):
    for table in {id(table): table for tables in TABLES.values() for table in tables}.values():
        for kind in table.values():
            assert kind.fits(value) in (True, False) and kind.words


@pytest.mark.parametrize(
    ("command", "typed", "words"),
    [
        ("predict", "overwrite=no", "true or false"),
        ("predict", "kernels=abc", "true or false"),
        ("predict", "tile=1", "a whole number of 2 or more, or auto, or null"),
        ("predict", "ensemble=4", "1 or 8"),
        ("predict", "precision=16", "32 or bf16"),
        ("predict", "overlap=0", "a whole number of 1 or more"),
        ("predict", "input=5", "a path (quoted where it looks like a number)"),
        ("predict", "input=null", "a path"),
        ("predict", "device=tpu", "auto, cpu or cuda"),
        ("demo", "port=70000", "a whole number from 1 to 65535, or null"),
        ("demo", "weights=[]", "a path (quoted where it looks like a number), or a list of 1 or more"),
        ("evaluate", "weights=null", "a path"),
        ("evaluate", "scale=5", "2, 3 or 4, or null"),
        ("evaluate", "seed=7", "null"),
        ("evaluate", "ckpt_path=best.ckpt", "last, or null"),
        ("prepare", "seed=7", "null"),
        ("evaluate", "perceptual=[lpip]", "a list, all different, each lpips, dists or arniqa"),
        ("prepare", "num_workers=0", "a whole number of 1 or more, or null"),
        ("prepare", "verify=off", "true or false"),
        ("train", "test=yes", "true or false"),
        ("train", "allow_config_change=no", "true or false"),
        ("train", "kernel_size=6", "an odd whole number, so that a kernel has a centre"),
        ("train", "seed=-1", "a whole number from 0 to 4294967295"),
        ("train", "seed=null", "a whole number from 0"),
        ("train", "task_name=../../evil", "the name of one folder"),
        ("train", "task_name=' '", "the name of one folder"),
        ("train", "scale=2.0", "2, 3 or 4"),
        ("train", "data.augment.transforms.turn._target_=5", "a class path"),
        ("train", "optimized_metric=foo", "the name of a metric, such as val/psnr, or null"),
        ("train", "precision=32-ture", "32-true, bf16-mixed"),
        ("train", "trainer.max_steps=1e3", "a whole number of 1 or more"),
        ("train", "trainer.max_time=10", "a time as DD:HH:MM:SS, or null"),
        ("train", "trainer.limit_train_batches=0", "a whole number of 1 or more, or a number above 0 and of 1 or less"),
        ("train", "optimizer.lr=nan", "a number of 0 or more"),
        ("train", "optimizer.betas=[0.9]", "a list of 2, each a number of 0 or more and below 1"),
        ("train", "scheduler.milestones=abc", "a list, each a whole number of 1 or more"),
        ("train", "data.noise_levels=[1,1]", "a list of 1 or more, all different, each a number of 0 or more"),
        ("train", "data.noise_levels=[]", "a list of 1 or more"),
        ("train", "data.train.noise_level=[2,1]", "[lowest,highest], numbers of 0 or more"),
        ("train", "data.val=null", "a section"),
        ("train", "degradation.blur.max_length=inf", "a number of 0 or more"),
        ("train", "callbacks.ema.decay=2", "a number of 0 or more and of 1 or less"),
        ("train", "card=null", "a section"),
        ("train", "arcsr.width=0", "a whole number of 1 or more"),
        ("train", "model._target_=no.path.", "a class path such as mylab.nets.Net"),
    ],
)
def test_a_value_outside_its_range_is_answered_with_the_range(refusal, command, typed, words):
    given = typed.replace("1e3", "1000.0").replace("'", "")
    assert refusal(command, typed).startswith(f"{given}: must be {words}")


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

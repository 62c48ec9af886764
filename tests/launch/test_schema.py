"""Every setting of every command has a type and a range."""

import math

import pytest
from omegaconf import DictConfig

from arcsr_lightning.launch import compose
from arcsr_lightning.launch.schema import TABLES
from arcsr_lightning.launch.settings_check import kind_of, settings_in

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


@pytest.mark.parametrize("command", TABLES)
def test_every_setting_of_a_command_has_a_kind(composed, command):
    settings = [(name, value) for name, value, _ in settings_in(composed[command])]
    assert settings
    assert not [
        name for name, value in settings if kind_of(command, name) is None and not isinstance(value, DictConfig)
    ]


def test_every_setting_of_a_publication_s_schedule_has_a_kind():
    settings = settings_in(compose(["data=sample", "model=rdn", "protocol=published"]))
    schedule = [name for name, value, _ in settings if ".scheduler." in name and not isinstance(value, DictConfig)]
    assert "stages.restore.scheduler.step_size" in schedule
    assert not [name for name in schedule if kind_of("train", name) is None]


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
        ("predict", "input=5", "a path (quoted where it looks like a number, in full where ~ begins it)"),
        ("predict", "input='~/a.png'", "a path (quoted where it looks like a number, in full where ~ begins it)"),
        ("predict", "input=null", "a path"),
        ("predict", "device=tpu", "auto, cpu or cuda"),
        ("demo", "port=70000", "a whole number from 1 to 65535, or null"),
        ("demo", "weights=[]", "a path (quoted where it looks like a number, in full where ~ begins it), or a list"),
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
        ("train", "+trainer.callbacks=[]", "null, as the groups callbacks and logger decide"),
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
    given = typed.lstrip("+").replace("1e3", "1000.0").replace("'", "")
    assert refusal(command, typed).startswith(f"{given}: must be {words}")

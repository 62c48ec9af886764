"""Settings: what was typed is read by some stage, or refused with the place where it is to be set."""

import pytest
from omegaconf import OmegaConf

from arcsr_lightning import CONF_DIR, compose
from arcsr_lightning.errors import InputError
from arcsr_lightning.runs.settings import check_read
from arcsr_lightning.runs.stages import OWN, stages_of
from tests.conftest import some

STAGES = (
    ("paper", "bicubic"),
    ("paper", "rrdb"),
    ("paper", "arcsr_staged"),
    ("published", "dasr"),
    ("published", "cmos"),
)
TRAINED = [
    *(some(("paper", path.stem), *STAGES) for path in sorted(CONF_DIR.glob("model/*.yaml"))),
    *(some(("published", path.stem), *STAGES) for path in sorted(CONF_DIR.glob("stages/published/*.yaml"))),
]
DASR = ["data=sample", "model=dasr", "protocol=published"]  # in two stages with rates of their own
TYPED = {
    "optimizer.lr": 0.125,
    "optimizer.betas": [0.5, 0.5],
    "scheduler": None,
    "loss.kernel_weight": 0.5,
    "trains": [],
}


def typed(key, value):
    return f"{key}={'none' if key == 'scheduler' else value}"


def outcome(*overrides):
    """The values that the stages have under a dotted name, as a function of it, or what is said against it."""
    try:
        stages = stages_of(compose(["data=sample", *overrides]))
    except InputError as error:
        return str(error)
    return lambda key: [OmegaConf.select(stage.config, key) for stage in stages]


@pytest.mark.parametrize("key", TYPED)
@pytest.mark.parametrize(("protocol", "method"), TRAINED)
def test_what_is_typed_is_read_by_a_stage_or_refused_with_places_that_are_read(method, protocol, key):
    """Else a sweep over it would train the same network twice."""
    value, text = TYPED[key], typed(key, TYPED[key])
    trained = (f"model={method}", f"protocol={protocol}")
    values = outcome(*trained, text)
    if callable(values):
        assert value in values(key)
        return
    assert values.startswith(f"{text}: ")
    if method == "bicubic":
        assert "trains nothing" in values
        return
    places = values.rpartition("; set ")[2].split(", ")
    for number, place in enumerate(places):
        new = "null" if value is None else value
        assert outcome(*trained, f"++{place}={new}")(key)[number] == value


def test_the_place_that_is_named_takes_effect():
    with pytest.raises(
        InputError, match=r"optimizer.lr=0.1: every stage of method=dasr has its own; set stages.encoder"
    ):
        compose([*DASR, "optimizer.lr=0.1"])
    cfg = compose([*DASR, "stages.encoder.optimizer.lr=0.1"])
    assert [stage.config.optimizer.lr for stage in stages_of(cfg)] == [0.1, 1e-4]


def test_only_the_stage_that_is_trained_counts():
    one = ["data=sample", "model=manet", "protocol=published", "scheduler.milestones=[3]", "~stages.kernels.scheduler"]
    compose([*one, "stage=kernels"])
    with pytest.raises(InputError, match="set stages.true_kernels.scheduler.milestones$"):
        compose([*one, "stage=true_kernels"])


def test_what_a_stage_takes_from_the_run_by_reference_counts_as_read():
    overrides = [*DASR, "optimizer.lr=0.1", "stages.everything.optimizer='${optimizer}'"]
    assert stages_of(compose(overrides))[1].config.optimizer.lr == 0.1


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["data=gopro", "degradation=gaussian_iso"], "degradation=gaussian_iso: no part .* reads degradation"),
        (["data=gopro", "degradation.blur.bend=0"], "degradation.blur.bend=0: no part .* reads degradation"),
        (
            ["experiment=quickstart", "model=rrdb", "arcsr.width=8"],
            "arcsr.width=8: no part .* reads arcsr .method=rrdb",
        ),
    ],
)
def test_a_section_that_nothing_refers_to_is_refused(overrides, line):
    with pytest.raises(InputError, match=line):
        compose(overrides)


def test_the_jobs_of_a_sweep_may_have_the_sizes_of_each_other_s_methods_but_no_blur_that_none_reads():
    cfg = compose(["data=gopro", "size=tiny", "model=rrdb"])
    check_read(cfg, {"arcsr.width": "arcsr.width=8"}, in_sweep=True)
    with pytest.raises(InputError, match="reads degradation"):
        check_read(cfg, {"degradation": "degradation=gaussian_iso"}, in_sweep=True)


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=gopro", "degradation=gaussian_iso", "model=manet_pairs"],  # its code is fitted to it
        ["data=sample", "degradation=gaussian_iso"],
        ["data=sample", "arcsr.width=8"],
        ["data=sample", "ablation=no_kernel", "loss=l1", "trains=[restorer]"],
        ["data=sample", "model=bicubic", "data.noise_levels=[0]"],
        ["data=sample", "optimizer.lr=1", "train=false"],  # the same command, to score once more
    ],
)
def test_what_is_read_is_not_refused(overrides):
    compose(overrides)


def test_every_node_that_a_stage_may_have_is_one_of_the_run_s():
    assert set(OWN) <= set(compose(["data=sample"]))

"""Every option of every group composes, and what it describes can be built."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from arcsr_lightning import CONF_DIR, compose
from arcsr_lightning.launch import as_plain_data, build_trainer
from arcsr_lightning.launch.settings_check import kind_of, settings_in
from arcsr_lightning.parts import OWN_MODULES, build_network

ROOTS = ["data.root=somewhere", "data.val_root=somewhere"]  # of the data sets that need one
MIXED = [*ROOTS, "data.gopro=somewhere", "data.reds=somewhere"]
PAIRS = [f"data.{split}_{side}=somewhere" for split in ("train", "val") for side in ("hr", "lr")]


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def groups() -> list[tuple[str, str]]:
    folders = [path.relative_to(CONF_DIR) for path in CONF_DIR.rglob("*") if path.is_dir()]
    return [
        (str(folder), option)
        for folder in sorted(folders)
        if str(folder) not in ("hydra", "local")
        and folder.name != "parts"  # what others share, nothing by itself
        and folder.parts[0] != "stages"  # chosen by model and protocol
        for option in options(str(folder))
    ]


def overrides_of(group: str, option: str) -> list[str]:
    one = ("gopro", "reds", "table1", "table2")
    one += tuple(f"arcsr_{data}{measured}" for data in ("gopro", "reds") for measured in ("", "_measured"))
    roots = dict.fromkeys(one, ROOTS[:1]) | {
        "folder": ROOTS,
        "mixed": MIXED,
        "arcsr_small": MIXED,
        "table1_small": MIXED,
        "table2_small": MIXED,
        "pairs": PAIRS,
    }
    extra = ["degradation.blur.path=somewhere"] if (group, option) == ("degradation", "file") else []
    data = [] if group in ("data", "experiment") else ["data=sample"]
    return [f"{group}={option}", *data, *roots.get(option, []), *extra]


@pytest.mark.parametrize(("group", "option"), groups(), ids=lambda name: name.replace("/", "-"))
def test_every_option_composes_and_resolves(group, option, monkeypatch):
    monkeypatch.setenv("ARCSR_RUN_STAMP", "now")
    cfg = compose(overrides_of(group, option))
    assert as_plain_data(cfg)["task_name"]
    leaves = [name for name, value, _ in settings_in(cfg) if not isinstance(value, DictConfig)]
    assert not [name for name in leaves if kind_of("train", name) is None]  # launch/schema.py has a line for each


@pytest.mark.parametrize("option", options("data"))
def test_weights_can_be_scored_on_every_data_set(option):
    assert compose(overrides_of("data", option), "evaluate").scale is None  # that of the weights


@pytest.mark.parametrize("group", ["model", "model/estimator", "model/restorer", "ablation"])
def test_every_model_is_built_and_holds_only_our_parts(group):
    for option in options(group):
        cfg = compose(["data=sample", f"{group}={option}", "size=tiny"])
        assert build_network(as_plain_data(cfg.model), OWN_MODULES).scale == 4


@pytest.mark.parametrize("group", ["degradation", "loss", "optimizer", "scheduler"])
def test_every_part_instantiates(group, tmp_path):
    for option in options(group):
        node = compose(overrides_of(group, option))[group]
        if option == "file":
            (tmp_path / "kernel.png").write_bytes(one_pixel_png())
            node.blur.path = str(tmp_path)
        assert node is None or callable(instantiate(node))


@pytest.mark.parametrize("group", ["trainer", "callbacks", "logger"])
def test_every_trainer_is_built_with_its_callbacks_and_loggers(group, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    for option in options(group):
        cfg = compose(
            [
                "data=sample",
                f"{group}={option}",
                "trainer.accelerator=cpu",
                "trainer.devices=1",
                f"paths.output_dir={tmp_path}",
            ]
        )
        trainer = build_trainer(cfg)
        assert len(trainer.loggers) == len(cfg.get("logger") or {})
        for name, node in (cfg.get("callbacks") or {}).items():
            if name == "learning_rate" and not trainer.loggers:  # it would refuse to start
                continue
            assert node._target_.rsplit(".", 1)[1] in [type(callback).__name__ for callback in trainer.callbacks]


def one_pixel_png() -> bytes:
    import cv2
    import numpy as np

    return cv2.imencode(".png", np.full((3, 3), 255, np.uint8))[1].tobytes()


def test_ablations_are_the_two_axes():
    """Sec. 4.3: the names are shorthands for model/estimator x model/restorer."""
    axes = {
        "full": ("dmconv", "kgconv"),
        "no_dmconv": ("conv", "kgconv"),
        "no_kgconv": ("dmconv", "concat"),
        "baseline": ("conv", "concat"),
    }
    for name, (estimator, restorer) in axes.items():
        cfg = compose(["data=sample", f"ablation={name}"])
        both = [f"model/estimator={estimator}", f"model/restorer={restorer}"]
        assert cfg.model == compose(["data=sample", *both]).model
    no_kernel = compose(["data=sample", "ablation=no_kernel"]).model
    assert no_kernel == compose(["data=sample", "model/restorer=plain"]).model
    assert no_kernel.estimator is None
    mean_kernel = compose(["data=sample", "ablation=mean_kernel"]).model
    assert mean_kernel == compose(["data=sample", "model/estimator=constant"]).model
    cues = compose(["data=sample", "ablation=cues"]).model
    assert cues == compose(["data=sample", "model=arcsr_staged"]).model
    known_kernel = compose(["data=sample", "ablation=known_kernel"])
    assert known_kernel.known_kernels
    assert known_kernel.model == mean_kernel
    assert len({compose(["data=sample", f"ablation={name}"]).method for name in options("ablation")}) == 8


def test_the_paper_s_recipe():
    """Sec. 4.2, figure by figure."""
    for experiment in ("arcsr_gopro", "arcsr_reds"):
        cfg = compose([f"experiment={experiment}", "data.root=somewhere"])
        assert cfg.optimizer._target_ == "torch.optim.Adam"
        assert cfg.optimizer.lr == 1e-4
        assert cfg.optimizer.betas[0] == 0.9
        assert cfg.trainer.max_steps == 4e5
        assert list(cfg.scheduler.milestones) == [2e4, 4e4, 8e4, 2e5]
        assert cfg.scheduler.gamma == 0.5
        assert cfg.data.train.patch_size == 256
        assert list(cfg.data.train.noise_level) == [0.2, 20]
        assert list(cfg.data.noise_levels) == [0, 10]
        assert cfg.model.restorer.blocks == 8
        assert cfg.scale == 4
        assert (cfg.loss.kernel_weight, cfg.loss.reblur_weight) == (0, 0)


@pytest.mark.parametrize("data", ["gopro", "reds"])
def test_with_measured_kernels_the_recipe_stays(data):
    recipe, measured = (compose([f"experiment=arcsr_{data}{end}", "data.root=somewhere"]) for end in ("", "_measured"))
    for part in ("model", "optimizer", "scheduler", "trainer", "callbacks"):
        assert OmegaConf.to_container(measured[part], resolve=False) == OmegaConf.to_container(
            recipe[part], resolve=False
        )
    assert (measured.data.kernels, measured.data.store) == ("measured", f"stores/{data}")
    assert measured.loss.kernel_weight > 0


def test_scale_and_kernel_size_are_one_key_everywhere():
    cfg = compose(["data=sample", "scale=2", "kernel_size=13"])
    assert cfg.model.restorer.scale == cfg.data.train.scale == cfg.data.val.scale == 2
    assert cfg.model.estimator.kernel_size == cfg.model.restorer.kernel_size == cfg.data.train.kernel_size == 13


@pytest.mark.parametrize("data", ["gopro", "reds", "folder", "pairs", "mixed"])
def test_every_data_set_can_be_prepared(data):
    cfg = as_plain_data(compose([*overrides_of("data", data)], "prepare"))
    assert cfg["data"]["store"] == f"stores/{data}"


def test_configuration_lies_beside_the_package():
    assert Path(CONF_DIR, "train.yaml").is_file()


@pytest.mark.parametrize(("typed", "on_gpu"), [((), False), (("trainer=gpu",), True), (("trainer=ddp",), True)])
def test_a_gpu_gets_what_keeps_it_busy(typed, on_gpu, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(32))
    folder = compose(["data=folder", *ROOTS, *typed])
    workers = {(): 4, ("trainer=gpu",): 12, ("trainer=ddp",): 32 // 4}[typed]
    assert (folder.data.num_workers, folder.data.degrade_on) == (workers, "device" if on_gpu else "worker")
    assert (folder.channels_last, folder.matmul_precision) == (on_gpu, "high" if on_gpu else "highest")
    assert folder.optimizer.fused == (True if on_gpu else None)
    clipped = compose(["data=gopro", ROOTS[0], *typed, "precision=bf16-mixed", "trainer.gradient_clip_val=1"])
    assert clipped.optimizer.fused is None  # Lightning would refuse to clip
    pairs = compose(["data=gopro", ROOTS[0], *typed, "precision=16-mixed"])
    assert (pairs.data.num_workers, pairs.data.get("degrade_on")) == (workers, None)
    assert pairs.optimizer.fused is None  # it would refuse to clip gradients
    assert compose([*typed], "evaluate").channels_last == on_gpu
    assert compose(["data=gopro", ROOTS[0]], "prepare").data.num_workers == 4


def test_there_are_no_more_data_workers_than_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(2))
    settings = ["data=gopro", ROOTS[0]]
    assert compose(settings).data.num_workers == 2
    assert compose([*settings, "trainer=ddp_cpu"]).data.num_workers == 1  # of each of the two processes


@pytest.mark.parametrize("devices", ["auto", "-1"])
def test_all_gpus_of_a_machine_share_its_cores(devices, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(64))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    settings = ["data=gopro", ROOTS[0], f"trainer.devices={devices}"]
    assert compose([*settings, "trainer=ddp"]).data.num_workers == 8
    assert compose([*settings, "trainer=cpu"]).data.num_workers == 4


def test_cores_that_slurm_gives_to_a_process_are_not_shared_again(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(14))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "14")
    settings = ["data=gopro", ROOTS[0], "trainer=ddp"]
    assert compose(settings).data.num_workers == 3  # in an interactive job, which starts the four processes itself
    monkeypatch.setenv("SLURM_PROCID", "0")  # in a batch script, too
    assert compose(settings).data.num_workers == 3
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert compose(settings).data.num_workers == 12
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(56))  # a site that binds no process
    assert compose(settings).data.num_workers == 12


@pytest.mark.parametrize("model", [*options("stages/published"), "redegnet"])
def test_an_optimiser_of_a_stage_takes_its_step_in_one_launch_on_a_gpu(model):
    stages = compose(["data=gopro", ROOTS[0], f"model={model}", "protocol=published", "trainer=gpu"]).stages
    own = [stage.optimizer for stage in stages.values() if stage.get("optimizer")]
    assert own
    assert all(optimizer.fused for optimizer in own)


def test_the_precision_of_products_is_that_of_the_configuration(tmp_path):
    given = ["data=sample", "trainer=cpu", f"paths.output_dir={tmp_path}"]
    try:
        build_trainer(compose([*given, "matmul_precision=medium"]))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        build_trainer(compose(given))
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("mode", sorted(path.stem for path in (CONF_DIR / "debug").glob("*.yaml")))
def test_evaluations_know_every_debug_mode_that_their_help_names(mode):
    cfg = compose([f"debug={mode}"], "evaluate")
    assert cfg.tags == ["debug"]


@pytest.mark.parametrize("command", ["train", "evaluate", "prepare", "predict", "export", "demo"])
def test_every_command_reads_the_machine_s_own_settings(command):
    defaults = OmegaConf.load(CONF_DIR / f"{command}.yaml").defaults
    assert {"optional local": "default"} in defaults

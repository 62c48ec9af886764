"""What a mistake on the command line is answered with: one line that names it and says what was probably meant."""

import sys

import pytest
import torch
from lightning_fabric.loggers import tensorboard

from arcsr_lightning import evaluate, predict, prepare, train
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import build_data, build_loss, build_module, build_network, build_trainer, compose
from arcsr_lightning.launch.messages import explain
from arcsr_lightning.launch.settings_check import check
from arcsr_lightning.launch.suggestions import nearest
from tests.conftest import slow


@pytest.fixture
def line(run, tmp_path, monkeypatch, capsys):
    """``line(command, *typed)``: the one line on standard error that the command ends with."""
    monkeypatch.chdir(tmp_path)

    def complaint(command, *typed):
        with pytest.raises(SystemExit) as ended:
            run(command, *typed)
        assert ended.value.code == 1
        (one,) = capsys.readouterr().err.strip().splitlines()
        return one

    return complaint


@pytest.mark.parametrize(
    ("command", "typed", "meant"),
    [
        (train, "trainer.max_step=4", "trainer.max_steps"),
        (train, "trainer.max_stps=4", "trainer.max_steps"),
        (train, "max_steps=4", "trainer.max_steps"),
        (train, "lr=1e-3", "optimizer.lr"),
        (train, "modell=rrdb", "model"),
        (train, "modell/estimator=conv", "model/estimator"),
        (train, "experimant=quickstart", "experiment"),
        (train, "~callbacks.pannel", "callbacks.panel"),
        (train, "hydra.sweeper.parms=null", "hydra.sweeper.params"),
        (train, "trainer.plugins.checkpoint_io.on_dsk_full=stop", "trainer.plugins.checkpoint_io.on_disk_full"),
        (evaluate, "weight=latest", "weights"),
        (predict, "inputs=a.png", "input"),
        (prepare, "num_worker=2", "num_workers"),
        (prepare, "dta=gopro", "data"),
    ],
)
def test_a_typo_is_answered_with_what_was_meant(line, command, typed, meant):
    key = typed.lstrip("~").partition("=")[0]
    assert line(command, typed) == f"error: {key}: no such setting; did you mean {meant}?"


def test_the_settings_are_those_of_the_configuration_that_was_typed(line):
    assert "did you mean rrdb.blocks?" in line(train, "model=rrdb", "rrdb.block=2")
    assert "did you mean data.train.patch_size?" in line(train, "data=sample", "data.patch_size=64")
    assert "did you mean data.root?" in line(prepare, "data=folder", "data.rot=x")
    assert "did you mean trainer.max_steps?" in line(
        train, "trainer.max_step=4", "data.bach_size=2"
    )  # the first of two
    assert "did you mean trainer.max_steps?" in line(train, "-m", "seed=0,1", "trainer.max_step=4")


@pytest.mark.parametrize(
    ("command", "typed", "said"),
    [
        (train, ["experiment=arcsr_gopro"], "paths.gopro is not set; give paths.gopro=PATH, or data.root=PATH"),
        (train, ["data=mixed", "data.root=a"], "paths.gopro is not set; give paths.gopro=PATH, or data.gopro=PATH"),
        (train, ["data=folder", "data.root=a"], "data.val_root is not set; give data.val_root=VALUE"),
        (prepare, ["data=reds"], "paths.reds is not set; give paths.reds=PATH, or data.root=PATH"),
        (predict, [], "input is not set; give input=VALUE"),
    ],
)
def test_a_setting_without_a_value_is_named_with_what_to_type(line, command, typed, said):
    assert line(command, *typed) == f"error: {said}"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("size=null", "size=null: size is one of published, small, tiny"),
        ("stages=null", "stages=null: set stages.NAME.KEY, not all at once"),
        ("~skip", "~skip: skip has no value that could be left out; leave out ~skip itself"),
    ],
)
def test_null_where_it_cannot_be_typed(line, typed, said):
    assert line(train, "experiment=quickstart", typed) == f"error: {said}"


def test_a_debug_mode_alone_says_that_data_are_missing(line):
    assert line(train, "debug=fdr").startswith("error: data is not set; type experiment=quickstart")


def test_a_name_like_no_other_is_answered_with_what_there_is(line):
    assert line(train, "optimizer.quux=1").endswith(
        "optimizer.quux: no such setting; optimizer has _partial_, _target_, betas, fused, lr; "
        "+optimizer.quux=VALUE adds it all the same"
    )
    assert line(train, "trainer.quux=1").endswith(
        "--help shows what there is, and +trainer.quux=VALUE adds it all the same"
    )
    assert line(train, "quux=1").endswith("quux: no such setting; --help shows what there is")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("epochs=3", "epochs: no such setting; did you mean trainer.max_steps?"),
        ("device=cpu", "device: no such setting; did you mean trainer=cpu or trainer=gpu?"),
        ("data.root=a", "data.root: belongs to data=folder, data=gopro, data=mixed, data=reds; type one of these"),
    ],
)
def test_what_other_programs_and_other_data_have_is_answered_with_what_is_meant(line, typed, said):
    assert line(train, "data=sample", typed) == f"error: {said}"


def test_a_logger_s_setting_without_the_logger_is_answered_with_the_logger(line):
    assert line(train, "data=sample", "logger.wandb.project=foo") == (
        "error: logger.wandb.project: belongs to logger=wandb; type that, too"
    )


@pytest.mark.parametrize(
    ("typed", "chosen"),
    [
        ("+logger.wandb.project=foo", "logger=wandb"),
        ("+callbacks.early_stopping.monitor=val/psnr", "+callbacks.early_stopping._target_=CLASS"),
    ],
)
def test_what_would_make_no_callback_and_no_logger_is_refused(line, typed, chosen):
    section = ".".join(typed.lstrip("+").split(".")[:2])
    assert line(train, "data=sample", typed) == (
        f"error: {typed}: {section} has no _target_, so that nothing is made of it; type {chosen}, too"
    )


def test_a_configuration_may_set_parts_of_callbacks_that_are_switched_off():
    check("train", cfg := compose(["experiment=quickstart", "callbacks=none"]), ["callbacks=none"])
    assert "_target_" not in cfg.callbacks.ema
    build_trainer(cfg)


def test_the_same_name_in_the_same_part_comes_first():
    settings = ["seed", "data", "data.train", "data.train.seed", "optimizer.lr"]
    assert nearest("data.seed", settings) == "data.train.seed"
    assert nearest("model.seed", settings) == "seed"
    assert nearest("optimiser.lrs", settings) == "optimizer.lr"
    assert nearest("nothing", settings) is None


def test_an_option_that_does_not_exist_is_answered_with_those_that_do(line):
    assert line(train, "model=rrdbb").startswith(
        "error: model/rrdbb: no such option; did you mean model=rrdb? model is one of arcsr, arcsr_staged, bicubic,"
    )
    assert "Config search path" not in line(train, "model=rrdbb")


@pytest.mark.parametrize(
    "ablation",
    ["full", "no_dmconv", "no_kernel", *map(slow, ("baseline", "no_kgconv", "mean_kernel", "known_kernel"))],
)
@pytest.mark.parametrize("way", [(), ("-m", "seed=0,1")])
def test_ablations_are_arcsr_s(line, ablation, way):
    said = line(train, *way, f"ablation={ablation}", "model=rrdb")
    assert said == f"error: ablation={ablation}: ablations are ArcSR's; leave out model=rrdb"


def test_parts_are_arcsr_s(line):
    assert line(train, "model/estimator=conv", "model=rrdb") == (
        "error: model/estimator: a part of ArcSR; leave out model=rrdb"
    )


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("methods=dsr", "methods=dsr: no such rows; give default or all, or a list, methods=[dsr]"),
        ("methods=dasr,rrdb", "methods=dasr,rrdb: a list is written methods=[dasr,rrdb]"),
        ("methods=[rrdbb]", "model/rrdbb: no such option; did you mean model=rrdb? model is one of arcsr,"),
        ("protocol=papr", "protocol/papr: no such option; did you mean protocol=paper? protocol is one of paper, publ"),
    ],
)
def test_rows_and_protocols_that_do_not_exist_are_named(line, typed, said):
    assert line(train, "experiment=table2_cpu", typed).startswith(f"error: {said}")


def test_a_protocol_that_mirrors_needs_images(line):
    assert "data/augment: no data is chosen" in line(train, "protocol=published", "model=rrdb")


@pytest.mark.parametrize("logger", ["tensorboard", "many"])
def test_a_missing_logger_says_what_to_install(logger, monkeypatch):
    monkeypatch.setattr(tensorboard, "_TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr(tensorboard, "_TENSORBOARDX_AVAILABLE", False, raising=False)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    cfg = compose(["data=sample", f"logger={logger}"])
    with pytest.raises(Exception, match="tensorboard") as raised:
        build_trainer(cfg)
    assert explain(raised.value) == (
        'logger=tensorboard needs more packages; pip install ".[tensorboard]" in the clone'
    )


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("+optimizer.rate=1", "optimizer"),
        ("optimizer._target_=torch.optim.Foo", "optimizer._target_=torch.optim.Foo"),
        ("scheduler=multistep +scheduler.steps=3", "scheduler"),
        ("+model.restorer.depth=3", "model.restorer"),
        ("+data.train.patches=3", "data.train"),
        ("+degradation.blur.length=0.3", "data.train.degradation.blur"),
        ("+callbacks.ema.rows=1", "callbacks.ema"),
    ],
)
def test_a_value_that_is_refused_is_named(tiny, typed, key):
    def build():
        cfg = compose([*tiny, *typed.split()])
        build_module(cfg, build_network(cfg.model), build_loss(cfg)).configure_optimizers()
        build_data(cfg).make_train()
        build_trainer(cfg)

    with pytest.raises(Exception, match=".") as raised:
        build()
    assert (explain(raised.value) or "").startswith(f"{key}: "), raised.value


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("optimizer=null", "optimizer=null: optimizer is one of adam, muon"),
        ("scheduler=3", "scheduler=3: scheduler is one of cosine, multistep, none"),
        ("=1", "=1: the name of a setting is missing before ="),
        ("foo", "foo: cannot be read; settings are typed as NAME=VALUE"),
        ("hydra.sweeper.params.seed=0,1", "with hparams_search=optuna 'optimizer.lr=interval(1e-4,1e-3)'"),
        ("task_name=my (1)", "'task_name=\"my (1)\"'"),
        ("output=caf\udce9.png", "output=caf\\xe9.png: not UTF-8; rename what is called so"),
        ("task_name=a=b", "'task_name=\"a=b\"'"),
        ("weights=~/w.ckpt", "weights=~/w.ckpt: cannot be read; no shell expands ~ there: weights=$HOME/w.ckpt"),
        ("task_name=a,b", "several values need -m, for a sweep; as one value, in quotes: 'task_name=\"a,b\"'"),
    ],
)
def test_what_cannot_be_read_is_answered_with_what_can(line, typed, words):
    assert line(train, *["-m"] * ("sweeper" in typed), "data=sample", typed).endswith(words)


def test_a_folder_of_logs_that_cannot_be_made_is_answered_with_its_setting(line, tmp_path):
    (tmp_path / "file").touch()
    said = line(predict, "input=a.png", "output=b.png", "paths.log_dir=file/logs")
    assert said.startswith("error: file/logs/") and said.endswith(": Not a directory; set paths.log_dir=PATH")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory", 2),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("x: can't allocate memory: y"),
        MemoryError(),
    ],
)
def test_lack_of_memory_is_answered_with_what_takes_less(error):
    assert explain(error) == (
        "memory does not suffice; a training takes less with precision=bf16-mixed, or a smaller data.batch_size or "
        "data.train.patch_size"
    )


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_is_exit_code_130_before_the_first_step_too(run, tmp_path, monkeypatch, capsys, stop):
    def interrupted(cfg):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            if stop is SystemExit:
                sys.exit(1)  # as Lightning does
            raise

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predict, "restore_all", interrupted)
    with pytest.raises(SystemExit) as ended:
        run(predict, "input=a.png", "output=b.png")
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_answered_with_what_is():
    with pytest.raises(
        InputError, match=r"^trainer.accelerator=gpu: PyTorch sees no CUDA device here; set trainer=cpu"
    ):
        build_trainer(compose(["data=sample", "trainer=gpu"]))

"""``arcsr-train``: train a network, stage by stage, score its best checkpoint, leave a folder that tells all."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import nn

from arcsr_lightning import launch
from arcsr_lightning.errors import InputError
from arcsr_lightning.files import remove_leftovers
from arcsr_lightning.processes import rank_zero_info, rank_zero_only
from arcsr_lightning.runs import resume
from arcsr_lightning.runs.stages import Stage, stages_of
from arcsr_lightning.runs.weights import FILE, Saved, load_weights, read_saved, write_safetensors

if TYPE_CHECKING:  # Lightning takes seconds to import, for which --help and complaints do not wait
    from collections.abc import Sequence

    import pytorch_lightning as pl

    from arcsr_lightning.data.datamodule import SRDataModule
    from arcsr_lightning.training.module import SRModule


class Workbench(NamedTuple):
    """What Lightning needs for a stage, and for the test after the last one."""

    module: SRModule
    data: SRDataModule
    trainer: pl.Trainer


def train(cfg: DictConfig) -> dict[str, float]:
    """Train, test and export as ``cfg`` says (conf/train.yaml).

    Leaves in ``cfg.paths.output_dir``: checkpoints/, csv/, images/, config.yaml, model.safetensors (the best weights of
    the method's last stage; the last ones of an earlier stage alone, or where no validation chose any) and, after the
    test, metrics.json, per_image.csv and images/panel.png.

    Returns:
        Every logged metric by name.

    Raises:
        InputError: a file or setting is at fault.
        FloatingPointError: the loss stopped being finite.
        ChildProcessError: a data worker died.
    """
    if "data" not in cfg:
        raise InputError(launch.NO_DATA)
    launch.import_lightning()  # here, so that what follows is said as it says its own
    with resume.alone_in(cfg.paths.output_dir):
        if not rank_zero_only.rank:  # another process may be early, and the first one is writing already
            remove_leftovers(cfg.paths.output_dir)
        metrics = resume.finished(cfg)
        if metrics is None:
            metrics = run(cfg)
            resume.finish(cfg, metrics)
        else:
            rank_zero_info(f"{cfg.paths.output_dir}: finished already; ckpt_path=null trains it anew")
        return metrics


def run(cfg: DictConfig) -> dict[str, float]:
    """What :func:`train` does in a folder that is its own: train what remains, then score the best."""
    seed(cfg)
    network = launch.build_network(cfg.model)
    trained = None
    if cfg.train:
        if cfg.weights:
            load_weights(network, read_saved(cfg.weights), cfg.weights)
        bench, metrics = fit(cfg, network)
    else:
        trained = resume.take_up_run(cfg, network)
        begin(cfg)
        bench, metrics = set_up(Stage(None, cfg), network), {}
    if cfg.test:
        metrics |= test(cfg, bench, trained)
    return metrics


def fit(cfg: DictConfig, network: nn.Module) -> tuple[Workbench, dict[str, float]]:
    """Train the stages that remain, and give ``network`` the best weights of the last one.

    Returns:
        The workbench of the last stage, and every metric that was logged; those of validation are of the weights kept.

    Raises:
        InputError: there is nothing to train.
    """
    if not any(True for _ in network.parameters()):
        raise InputError(f"method={cfg.method}: this model has nothing to train; set train=false to score it only")
    planned = stages_of(cfg)
    stages = [stage for stage in planned if has_what_trains(network, stage)]
    if not stages:
        raise InputError(f"stage={planned[0].name}: method={cfg.method} has nothing for it to train")
    losses = [launch.build_loss(stage.config) for stage in stages]
    launch.plan_card(cfg, stages, losses)
    first, ckpt_path = resume.resume_point(cfg, stages, network)
    begin(cfg)
    resume.forget_after(cfg, stages, first)
    metrics = metrics_of(stages[:first])
    launch.note_taken(cfg, stages, resume.taken_before(stages, first))
    for number, (stage, loss) in list(enumerate(zip(stages, losses, strict=True)))[first:]:
        seed(cfg)  # what a stage draws does not depend on whether those before it ran just now
        bench = set_up(stage, network, loss)
        metrics |= fit_stage(stage, bench, ckpt_path)
        ckpt_path = None
        launch.note_taken(cfg, stages, [launch.taken(stage, bench.trainer.global_step)], number)
        bench.module.hparams["config"] = launch.as_plain_data(stage.config)
        if stage is not stages[-1] and not bench.trainer.fast_dev_run:
            bench.trainer.save_checkpoint(stage.finished, weights_only=False)
            launch.close_loggers()  # each stage has its own
    metrics |= keep_best(stages[-1], bench, Path(cfg.paths.output_dir, FILE))
    return bench, metrics


def metrics_of(stages: Sequence[Stage]) -> dict[str, float]:
    """The metrics that stages logged which are over; none where another run did."""
    from arcsr_lightning.training.repairs import metrics_in

    finished = [stage.finished for stage in stages if stage.finished.is_file()]
    return {name: value for path in finished for name, value in metrics_in(path).items()}


def has_what_trains(network: nn.Module, stage: Stage) -> bool:
    """Whether there is something to do for a stage: a part that an ablation took out is not trained.

    The others keep their steps and their samples, so that networks with and without that part see the same.
    """
    missing = stage.missing_in(network)
    if missing:
        rank_zero_info(f"stage {stage.name}: left out, as this network has no {' and no '.join(missing)}")
    return not missing


def fit_stage(stage: Stage, bench: Workbench, ckpt_path: Path | None) -> dict[str, float]:
    """Train one stage, from its start or from its own checkpoint; returns every metric that was logged."""
    module, data, trainer = bench
    if stage.name:
        rank_zero_info(f"stage {stage.name}: {trainer.max_steps} steps")
    prepared = {} if ckpt_path else launch.prepare_network(stage.config, module.network)
    for logger in trainer.loggers if prepared else ():
        logger.log_metrics(prepared, step=0)
    with data.naming_dead_workers(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")  # frozen parts, on purpose
        trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return prepared | scalars(trainer)


def test(cfg: DictConfig, bench: Workbench, trained: dict[str, Any] | None) -> dict[str, float]:
    """Score the network on the test images and write its report; returns every metric that was logged.

    ``trained`` is the configuration of the training, where that is another.
    """
    from arcsr_lightning.training.scoring import score

    module, data, trainer = bench
    score(trainer, module, data, cfg.paths.output_dir, launch.as_plain_data(cfg), trained)
    return scalars(trainer)


def set_up(stage: Stage, network: nn.Module, loss: nn.Module | None = None) -> Workbench:
    return Workbench(
        launch.build_module(stage.config, network, loss),
        launch.build_data(stage.config, stage.first_step),
        launch.build_trainer(stage.config),
    )


def begin(cfg: DictConfig) -> None:
    """Say what is about to be done; from here on the folder holds a run that is not over."""
    resume.reopen(cfg)
    launch.record_configuration(cfg)


def seed(cfg: DictConfig) -> None:
    from pytorch_lightning import seed_everything

    seed_everything(cfg.seed, workers=True, verbose=False)


def keep_best(stage: Stage, bench: Workbench, output: Path) -> dict[str, float]:
    """Give the network the best weights of this fit, where a validation chose some, and export what it has then.

    A stage that does not end the method's training leaves its last weights, those that the next would start from.

    Returns:
        What the validation that chose them logged, where one did.
    """
    from pytorch_lightning.callbacks import ModelCheckpoint

    from arcsr_lightning.training.repairs import metrics_in

    module, _, trainer = bench
    if trainer.fast_dev_run:
        return {}
    callback = trainer.checkpoint_callback
    best = callback.best_model_path if isinstance(callback, ModelCheckpoint) else ""
    kept: dict[str, float] = {}
    if not stage.ends:
        rank_zero_info(f"stage {stage.name} alone: {output} gets its last weights, those the next stage starts from")
    elif best and Path(best).is_file():
        load_weights(module.network, read_saved(best), best)
        kept = {name: value for name, value in metrics_in(best).items() if name.startswith("val/")}
    else:
        rank_zero_info(f"no validation chose a best checkpoint; {output} gets the last weights")
    if trainer.is_global_zero:
        write_safetensors(Saved(module.network.state_dict(), module.hparams["config"]), output)
    return kept


def scalars(trainer: pl.Trainer) -> dict[str, float]:
    return {name: value.item() for name, value in trainer.callback_metrics.items() if isinstance(value, torch.Tensor)}


def optimized(metrics: dict[str, float], name: str | None) -> float | None:
    """The metric a sweeper asked for; None where its stage (train, val or test) did not run.

    Raises:
        InputError: the stage logged no such metric; lists those of the run.
    """
    if name is None or not any(key.startswith(name.split("/")[0]) for key in metrics):
        return None
    if name not in metrics:
        raise InputError(f"optimized_metric={name}: no such metric; this run logged {', '.join(sorted(metrics))}")
    return metrics[name]


@launch.command("train")
def main(cfg: DictConfig) -> Any:
    return optimized(train(cfg), cfg.optimized_metric)


if __name__ == "__main__":
    main()

"""``arcsr-train``: train a network, score its best checkpoint, leave a folder that tells all."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.rank_zero import rank_zero_info

from arcsr_lightning import launch
from arcsr_lightning.checkpoints import export, load_weights, read_saved
from arcsr_lightning.errors import InputError
from arcsr_lightning.lightning_module import SRModule
from arcsr_lightning.reports import write_report


def train(cfg: DictConfig) -> dict[str, float]:
    """Train, test and export as ``cfg`` says (conf/train.yaml); returns every logged metric by name.

    Leaves in ``cfg.paths.output_dir``: checkpoints/, csv/, images/, config.yaml, model.safetensors (the best weights)
    and, after the test, metrics.json, per_image.csv and images/panel.png.

    Raises:
        InputError: a file or setting is at fault.
        FloatingPointError: the loss stopped being finite.
    """
    launch.show(cfg)
    if cfg.seed is None:
        raise InputError("seed=null: a training needs a seed, so that it can be repeated; give a number, e.g. seed=0")
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    network = launch.build_network(cfg.model)
    if cfg.train and not any(True for _ in network.parameters()):
        raise InputError(f"method={cfg.method}: this model has nothing to train; set train=false to score it only")
    if cfg.weights:
        load_weights(network, read_saved(cfg.weights), cfg.weights)
    module = launch.build_module(cfg, network)
    data = launch.build_data(cfg)
    trainer = launch.build_trainer(cfg)

    metrics: dict[str, float] = {}
    if cfg.train:
        trainer.fit(module, data, ckpt_path=resume_point(cfg, module, trainer), weights_only=True)
        metrics |= scalars(trainer)
        best = best_checkpoint(trainer)
        if best and trainer.is_global_zero:
            export(best, Path(cfg.paths.output_dir) / "model.safetensors")
        if best:
            load_weights(network, read_saved(best), best)
    if cfg.test:
        trainer.test(module, data, verbose=False)
        metrics |= scalars(trainer)
        if module.test_rows and trainer.is_global_zero and not trainer.fast_dev_run:
            write_report(module.test_rows, cfg, network.scale)
    return metrics


def resume_point(cfg: DictConfig, module: SRModule, trainer: pl.Trainer) -> str | None:
    """The checkpoint to go on from: ``ckpt_path``, or this run's own for ``last``; None starts anew.

    Raises:
        InputError: it does not exist or holds another architecture.
    """
    if not cfg.ckpt_path:
        return None
    path = cfg.ckpt_path
    if path == "last":
        path = Path(cfg.paths.output_dir) / "checkpoints" / "last.ckpt"
        if not path.is_file():
            rank_zero_info(f"ckpt_path=last: no run of task_name={cfg.task_name} to go on with; starting a new one")
            return None
    saved = read_saved(path)
    load_weights(module.network, saved, path)  # says clearly what does not fit, before Lightning tries
    return str(path)


def best_checkpoint(trainer: pl.Trainer) -> str | None:
    """Where the best weights of this fit are; None where none were kept."""
    callback = trainer.checkpoint_callback
    path = callback.best_model_path if isinstance(callback, ModelCheckpoint) else ""
    return path if path and Path(path).is_file() else None


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
    try:
        return optimized(train(cfg), cfg.optimized_metric)
    finally:
        launch.close_loggers()


if __name__ == "__main__":
    main()

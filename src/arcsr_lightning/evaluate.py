"""``arcsr-eval``: score trained weights, and bicubic upscaling beside them."""

from omegaconf import DictConfig

from arcsr_lightning import launch
from arcsr_lightning.errors import InputError
from arcsr_lightning.processes import rank_zero_info
from arcsr_lightning.runs.weights import build_saved, find_weights, read_saved
from arcsr_lightning.scores.perceptual import load_measure
from arcsr_lightning.scores.report import missing_lines
from arcsr_lightning.scores.rows import Row


def evaluate(cfg: DictConfig) -> list[Row]:
    """Score ``cfg.weights`` on the test images of ``cfg.data``; returns a row per method and image.

    Leaves metrics.json, per_image.csv and images/panel.png in ``cfg.paths.output_dir``.

    Raises:
        InputError: a file or setting is at fault.
    """
    path = find_weights(cfg.weights, cfg.paths.log_dir)
    saved = read_saved(path)
    trained = {"known_kernels": False} | saved.config
    for name in ("method", "scale", "kernel_size", "known_kernels"):
        if cfg[name] is None:
            cfg[name] = trained[name]
    if cfg.scale != saved.config["scale"]:
        raise InputError(f"{path} was trained for scale={saved.config['scale']}, not scale={cfg.scale}")
    cfg.seed = saved.config.get("seed")
    launch.import_lightning()  # here, as it takes seconds
    from arcsr_lightning.training.module import SRModule
    from arcsr_lightning.training.scoring import score

    cfg.weights = str(path)
    cfg.data.test = cfg.data.test  # a node of its own: a user's data may have test: ${data.val}
    cfg.data.train = cfg.data.val = None  # test images may come without any to train on
    launch.record_configuration(cfg)
    measures = [load_measure(name) for name in cfg.perceptual]
    for line in missing_lines(measures):
        rank_zero_info(line)  # before it takes hours, and below the tables
    module = SRModule(
        build_saved(saved, path),
        method=cfg.method,
        known_kernels=cfg.known_kernels,
        measures=measures,
        channels_last=cfg.channels_last,
    )
    trainer, data = launch.build_trainer(cfg), launch.build_data(cfg)
    score(trainer, module, data, cfg.paths.output_dir, launch.as_plain_data(cfg), saved.config, measures)
    return module.test_rows


@launch.command("evaluate")
def main(cfg: DictConfig) -> None:
    evaluate(cfg)


if __name__ == "__main__":
    main()

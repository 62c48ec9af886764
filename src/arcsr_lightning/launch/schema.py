"""What every setting may be: the one table of types and ranges, which ``settings_check`` reads.

A pattern is a dotted name in which ``*`` stands for one name, ``**`` for any number of them; the first that fits
counts. What stands under ``stages.<name>`` is as it is without, under ``data.train.parts.<name>`` as under
``data.train``.
"""

from pathlib import Path

from arcsr_lightning import rivals
from arcsr_lightning.launch.kinds import (
    ANYTHING,
    CLASS_PATH,
    DURATION,
    FOLDER_NAME,
    FROM_GROUPS,
    METRIC,
    NOTHING,
    ODD,
    OPTIONS,
    PARTS,
    PATH,
    SWITCH,
    TEXT,
    Kind,
    choice,
    either,
    list_of,
    number,
    optional,
    span,
    whole,
)
from arcsr_lightning.scores.protocol import PERCEPTUAL

SIZE = whole(1)
SEED = whole(0, 2**32 - 1)
SCALE = choice(2, 3, 4)
KERNELS = choice("known", "unknown", "measured")
SHARE = number(0, 1)
SKIP = optional(choice("bicubic"))
WEIGHT = number(0)
LIMIT = optional(either(whole(0), SHARE))

EVERYWHERE = {
    "**._target_": CLASS_PATH,
    "**._partial_": SWITCH,
    "**._recursive_": SWITCH,
    "**._convert_": choice("none", "partial", "object", "all"),
}
RUN = {
    "task_name": FOLDER_NAME,
    "tags": list_of(TEXT),
    "method": TEXT,
    "scale": SCALE,
    "kernel_size": ODD,
    "seed": optional(SEED),
    "stage": optional(TEXT),
    "current_stage": optional(TEXT),
    "trains": optional(list_of(TEXT)),
    "known_kernels": SWITCH,
    "skip": SKIP,
    "protocol": choice("paper", "published"),
    "published.steps": optional(SIZE),
    "published.turns": optional(CLASS_PATH),
    "train": SWITCH,
    "test": SWITCH,
    "ckpt_path": optional(PATH),
    "allow_config_change": SWITCH,
    "weights": optional(PATH),
    # Lightning's bf16-true and 16-true would round the images, too, and score what is left of them; 64-true meets
    # kernels and codes that stay float32.
    "precision": choice("32-true", "bf16-mixed", "16-mixed"),
    "compile": SWITCH,
    "matmul_precision": choice("highest", "high", "medium"),
    "channels_last": SWITCH,
    "optimized_metric": optional(METRIC),
    "print_config": SWITCH,
    "panel_images": whole(0),
    "paths.output_dir": optional(PATH),  # null until Hydra has chosen it
    "paths.*": PATH,
    "methods": either(TEXT, list_of(TEXT, least=1)),
    "rows.*.*": list_of(TEXT, least=1),
}
CARD = {
    "card": OPTIONS,
    "card.comparable": SWITCH,
    "card.deviations": list_of(TEXT),
    "card.training": list_of(TEXT),
    "card.supervision": optional(list_of(TEXT)),
    "card.schedule": optional(list_of(ANYTHING)),
    "card.*": optional(TEXT),
}
AUGMENT = {
    "": optional(OPTIONS),
    ".transforms": optional(OPTIONS),
    ".transforms.*": optional(OPTIONS),
    ".transforms.*._target_": CLASS_PATH,
    ".transforms.*.p": SHARE,
    ".transforms.*.*": ANYTHING,  # of albumentations
}
DATA = {
    "data": OPTIONS,
    "data.name": TEXT,
    "data.kernels": KERNELS,
    "data.noise_levels": list_of(number(0), least=1, distinct=True),
    "data.batch_size": SIZE,
    "data.num_workers": whole(0),
    "data.degrade_on": choice("worker", "device"),
    "data.store": optional(PATH),
    "data.blur": choice("blur", "blur_gamma"),
    **{f"data.{name}{rest}": kind for name in ("augment", "pairs_augment") for rest, kind in AUGMENT.items()},
    "data.train": OPTIONS,
    "data.train.parts": OPTIONS,
    "data.train.parts.*": optional(PARTS),
    "data.train.shares": OPTIONS,
    "data.train.shares.*": number(0),
    "data.val": OPTIONS,
    "data.test": optional(OPTIONS),
    "data.*.paths": either(PARTS, list_of(PATH)),
    "data.*.pairs": PARTS,
    "data.*.augment": optional(PARTS),
    "data.*.degradation": PARTS,
    "data.*.degradation.blur": PARTS,
    "data.*.degradation.jpeg": optional(span(1, 100)),
    "data.*.patch_size": SIZE,
    "data.*.noise_level": span(0),
    "data.*.seed": SEED,
    "data.*.store": optional(PATH),
    "data.*.leaves": SHARE,
    "data.*.draws": SIZE,
    "data.*.cache": SWITCH,
    "data.*.second_crop": SWITCH,
    "data.*.kernels": KERNELS,
    "data.*.split": TEXT,
    "data.*.scale": SCALE,
    "data.*.kernel_size": ODD,
    "data.*.paths.recursive": SWITCH,
    "data.*.*.scale": SCALE,
    "data.*.*.*": PATH,
    "data.*": PATH,  # root, val_root, train_hr, ...
}
DEGRADATION = {
    "degradation": OPTIONS,
    "degradation.blur": PARTS,
    "degradation.blur.kernel_size": ODD,
    "degradation.blur.max_length": WEIGHT,
    "degradation.blur.min_length": WEIGHT,
    "degradation.blur.bend": WEIGHT,
    "degradation.blur.roll": WEIGHT,
    "degradation.blur.still": SHARE,
    "degradation.blur.moving": SHARE,
    "degradation.blur.regions": whole(0),
    "degradation.blur.coverage": span(0, 1),
    "degradation.blur.region_size": number(above=0),
    "degradation.blur.frame": list_of(whole(0), length=2),
    "degradation.blur.sigma": span(above=0),
    "degradation.blur.isotropic": SWITCH,
    "degradation.blur.path": PATH,
    "degradation.round_8bit": SWITCH,
    "degradation.jpeg": optional(span(1, 100)),
}
TRAINER = {
    "trainer": PARTS,
    "trainer.accelerator": choice("auto", "cpu", "gpu", "cuda"),
    "trainer.devices": either(whole(1), choice("auto", -1), list_of(whole(0), least=1)),
    "trainer.num_nodes": SIZE,
    "trainer.strategy": either(TEXT, PARTS),
    "trainer.max_steps": SIZE,
    "trainer.max_time": optional(DURATION),
    "trainer.val_check_interval": SIZE,
    "trainer.check_val_every_n_epoch": NOTHING,
    "trainer.num_sanity_val_steps": whole(-1),
    "trainer.log_every_n_steps": SIZE,
    "trainer.accumulate_grad_batches": SIZE,
    "trainer.gradient_clip_val": optional(WEIGHT),
    "trainer.deterministic": optional(either(SWITCH, choice("warn"))),
    "trainer.benchmark": optional(SWITCH),
    "trainer.detect_anomaly": SWITCH,
    "trainer.sync_batchnorm": SWITCH,
    "trainer.use_distributed_sampler": SWITCH,
    **dict.fromkeys(("trainer.callbacks", "trainer.logger", "trainer.enable_checkpointing"), FROM_GROUPS),
    "trainer.enable_*": SWITCH,
    "trainer.profiler": optional(either(choice("simple", "advanced", "pytorch"), PARTS)),
    "trainer.fast_dev_run": either(SWITCH, whole(0)),
    "trainer.overfit_batches": either(whole(0), SHARE),
    "trainer.limit_train_batches": optional(either(SIZE, number(above=0, most=1))),
    "trainer.limit_val_batches": LIMIT,
    "trainer.limit_test_batches": LIMIT,
    "trainer.plugins": optional(OPTIONS),
    "trainer.plugins.*": optional(PARTS),
    "trainer.plugins.checkpoint_io.on_disk_full": choice("stop", "continue"),
    "trainer.plugins.environment.auto_requeue": SWITCH,
    "trainer.default_root_dir": optional(PATH),
    "trainer.precision": RUN["precision"],
}
AROUND = {
    "callbacks": optional(OPTIONS),
    "callbacks.*": optional(OPTIONS),
    "callbacks.best.mode": choice("min", "max"),
    "callbacks.best.monitor": either(METRIC, choice("step")),
    "callbacks.best.filename": TEXT,
    "callbacks.best.auto_insert_metric_name": SWITCH,
    "callbacks.best.enable_version_counter": SWITCH,
    "callbacks.last.every_n_train_steps": SIZE,
    "callbacks.ema.decay": SHARE,
    "callbacks.learning_rate.logging_interval": optional(choice("step", "epoch")),
    "callbacks.panel.images": whole(0),
    "callbacks.table.data": TEXT,
    "callbacks.*.dirpath": PATH,
    "callbacks.*.folder": PATH,
    "logger": optional(OPTIONS),
    "logger.*": optional(OPTIONS),
    "logger.*.save_dir": optional(PATH),
    "logger.wandb.offline": SWITCH,
    "logger.wandb.log_model": either(SWITCH, choice("all")),
    "logger.wandb.resume": either(SWITCH, choice("allow", "must", "never", "auto")),
    "logger.wandb.tags": list_of(TEXT),
    "logger.wandb.job_type": optional(TEXT),
    "logger.*.*": TEXT,
}
LEARNING = {
    "stages": optional(OPTIONS),
    "stages.*": OPTIONS,
    "share": number(above=0),
    "prepare": optional(PARTS),
    "prepare.blur": PARTS,
    "prepare.samples": SIZE,
    "prepare.seed": SEED,
    "loss": PARTS,
    "loss.*_weight": WEIGHT,
    "loss.weight": WEIGHT,
    "loss.every_stage": SWITCH,
    "loss.known_kernels": SWITCH,
    "loss.targets": PARTS,
    "loss.targets.blur": choice("kernels", "sharpness"),
    "loss.encoder": PARTS,
    "optimizer": PARTS,
    "stages.*.optimizer": optional(PARTS),  # the run's
    "arcsr.kernel_optimizer": optional(PARTS),
    "optimizer.lr": WEIGHT,
    "optimizer.fused": optional(SWITCH),
    "optimizer.betas": list_of(number(0, below=1), length=2),
    "optimizer.weight_decay": WEIGHT,
    "optimizer.momentum": WEIGHT,
    "optimizer.eps": WEIGHT,
    "scheduler": optional(PARTS),
    "scheduler.milestones": list_of(SIZE),
    "scheduler.step_size": SIZE,
    "scheduler.gamma": number(above=0),
    "scheduler.T_max": SIZE,
    "scheduler.T_0": SIZE,
    "scheduler.eta_min": WEIGHT,
}
NETWORKS = {
    "model": PARTS,
    "model.estimator": optional(PARTS),
    "model.restorer": PARTS,
    "model.encoder": either(PARTS, list_of(SIZE, least=1)),  # DASR has a part of that name, NAFNet blocks
    "model.*.convolution": PARTS,
    "model.*.upsampling": PARTS,
    "model.estimator.groups": either(SIZE, list_of(SIZE, least=1)),
    "cmos.groups": list_of(SIZE, least=1),
    "cmos.options.*": OPTIONS,
    "*.options.*.classes": SIZE,
    "*.options.**": TEXT,
}
# Of networks, of the sections with their sizes, and of the networks that losses have: by the last name.
SIZES = {
    **dict.fromkeys(("width", "blocks", "levels", "growth", "groups", "code", "split", "stem", "stages"), SIZE),
    **dict.fromkeys(("classes", "cell", "image_size", "widest", "style_layers", "hyper_width"), SIZE),
    **dict.fromkeys(("estimator_width", "estimator_levels", "sr_width", "sr_growth", "sr_blocks"), SIZE),
    **dict.fromkeys(("queue_size", "code_samples", "code_groups", "concat_width"), SIZE),
    **dict.fromkeys(("layers", "middle", "iterations"), SIZE),
    **dict.fromkeys(("kernel_size", "lr_kernel_size"), ODD),
    **dict.fromkeys(("signed", "normalise_input"), SWITCH),
    **dict.fromkeys(("window", "code_window"), either(SIZE, list_of(SIZE, length=2))),
    **dict.fromkeys(("modules", "windows", "widths", "encoder", "decoder"), list_of(SIZE, least=1)),
    "kernel_sizes": list_of(ODD, least=1),
    "cues": optional(list_of(SIZE, least=1)),
    "scale": SCALE,
    "dropout": number(0, below=1),
    "kernel_share": number(above=0),
    "normalisation": TEXT,
    "downsampler": choice("bicubic", "stride"),
    "border": choice("repeat", "circular"),
    "semantics": choice("none", "motion"),
    "skip": SKIP,
    "checkpoint_stages": SWITCH,
}
RIVALS = sorted(path.parent.name for path in Path(rivals.__file__).parent.glob("*/__init__.py"))
SECTIONS = ("model", "loss", "arcsr", *RIVALS)
IN_SECTIONS = {f"{section}.**.{name}": kind for section in SECTIONS for name, kind in SIZES.items()}
# Of a command, before what it shares with others.
TRAINING = {"seed": SEED}  # so that it can be repeated
EVALUATION = {
    **{"weights": PATH, "method": optional(TEXT), "scale": optional(SCALE), "kernel_size": optional(ODD)},
    **{"seed": NOTHING, "known_kernels": optional(SWITCH), "ckpt_path": optional(choice("last"))},
    "perceptual": list_of(choice(*PERCEPTUAL), distinct=True),
    **{"data.train": optional(PARTS), "data.val": optional(PARTS), "data.test": PARTS},
    **{"data.*.scale": optional(SCALE), "data.*.*.scale": optional(SCALE), "data.*.kernel_size": optional(ODD)},
    "data.*.seed": NOTHING,
}
PREDICTION = {
    "input": PATH,
    "output": PATH,
    "weights": optional(PATH),
    "kernels": SWITCH,
    "overwrite": SWITCH,
    "tile": optional(either(whole(2), choice("auto"))),
    "overlap": SIZE,
    "ensemble": choice(1, 8),
    "precision": choice(32, "bf16"),
    "device": choice("auto", "cpu", "cuda"),
}
EXPORTATION = {
    "weights": optional(PATH),
    "output": PATH,
    "format": choice("onnx", "torch"),
    "overwrite": SWITCH,
}
DEMONSTRATION = {
    **{name: PREDICTION[name] for name in ("overlap", "device")},
    "weights": optional(either(PATH, list_of(PATH, least=1))),
    "frames": optional(PATH),
    "noise_level": WEIGHT,
    "tile": whole(2),
    "host": TEXT,
    "port": optional(whole(1, 65535)),
    "open": SWITCH,
    "max_megabytes": number(above=0),
    "max_pixels": SIZE,
    "keep": SIZE,
    "waiting": SIZE,
}
PREPARATION = {
    **{"num_workers": optional(SIZE), "verify": SWITCH, "degradation": optional(PARTS)},
    **{"data.*.degradation": optional(PARTS), "data.*.degradation.blur": optional(PARTS)},
    **{"seed": NOTHING, "data.*.seed": NOTHING},
    **{"data.train": optional(PARTS), "data.val": optional(PARTS)},
}
TABLES: dict[str, tuple[dict[str, Kind], ...]] = {
    "train": (TRAINING, RUN, CARD, DATA, DEGRADATION, TRAINER, AROUND, LEARNING, NETWORKS, IN_SECTIONS, EVERYWHERE),
    "evaluate": (EVALUATION, RUN, DATA, DEGRADATION, TRAINER, AROUND, EVERYWHERE),
    "predict": (PREDICTION, RUN),
    "export": (EXPORTATION, RUN),
    "demo": (DEMONSTRATION, RUN),
    "prepare": (PREPARATION, RUN, DATA, EVERYWHERE),
}

"""Configurations of every command, and what is said against a setting of one."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import compose
from arcsr_lightning.launch.settings_check import check_settings


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

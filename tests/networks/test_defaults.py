"""A network made in a notebook is that of a command: what a class takes unless told otherwise is what conf/ says."""

import inspect

import pytest
from omegaconf import OmegaConf

from arcsr_lightning import compose
from arcsr_lightning.networks import ConstantKernel, CueEstimator, KernelEstimator, Restorer


@pytest.mark.parametrize(
    ("part", "made", "typed"),
    [
        ("estimator", KernelEstimator, []),
        ("estimator", CueEstimator, ["model/estimator=cues"]),
        ("estimator", ConstantKernel, ["model/estimator=constant"]),
        ("restorer", Restorer, []),
    ],
)
def test_sizes_are_those_of_the_configuration(part, made, typed):
    settings = OmegaConf.to_container(compose(["data=sample", "model=arcsr", *typed]).model[part], resolve=True)
    sizes = {name: value for name, value in settings.items() if not (name == "_target_" or isinstance(value, dict))}
    defaults = {name: inspect.signature(made).parameters[name].default for name in sizes}
    assert "kernel_size" in sizes
    assert sizes == {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}

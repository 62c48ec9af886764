"""What was typed after a command's name, as it was typed."""

from omegaconf import DictConfig, OmegaConf


def typed_settings(hydra: DictConfig) -> list[str]:
    """The overrides of the configuration; interpolations in them are not resolved, as what they name may not be yet.

    Args:
        hydra: the part of a configuration that is Hydra's own.
    """
    return OmegaConf.to_container(hydra.overrides.task, resolve=False)


def typed_of_hydra(hydra: DictConfig) -> list[str]:
    """As :func:`typed_settings`, the overrides of Hydra's own part."""
    return OmegaConf.to_container(hydra.overrides.hydra, resolve=False)

"""What tells the jobs of a sweep apart."""

from collections.abc import Iterable


def naming_overrides(overrides: Iterable[str], exclude_keys: Iterable[str]) -> list[str]:
    """The overrides that name a job: those of no key that makes no other training (conf/hydra/default.yaml)."""
    unnamed = tuple(f"{key}=" for key in exclude_keys)
    return [override for override in overrides if not override.startswith(unnamed)]

"""What tells the jobs of a sweep apart."""

from collections.abc import Iterable


def naming_overrides(overrides: Iterable[str], exclude_keys: Iterable[str]) -> list[str]:
    """The overrides that name a job: those of no key that makes no other training (conf/hydra/default.yaml)."""
    unnamed = set(exclude_keys)
    return [override for override in overrides if key_of(override) not in unnamed]


def key_of(override: str) -> str:
    """What an override sets, however it does: the ``seed`` of ``++seed=1``."""
    return override.lstrip("+~").partition("=")[0]

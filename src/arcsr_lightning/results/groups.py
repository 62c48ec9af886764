"""Which runs are one training with several seeds, and what it is called in a table."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from arcsr_lightning.errors import InputError
from arcsr_lightning.results.image_scores import ScoresBySeed, check_same_images
from arcsr_lightning.results.runs import FINISHED, Run
from arcsr_lightning.runs.jobs import key_of
from arcsr_lightning.runs.settings import differences


class Group(NamedTuple):
    """The runs that differ in their seed alone, whatever became of them."""

    label: str
    runs: list[Run]

    @property
    def method(self) -> str:
        return self.runs[0].method

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.state == FINISHED]


def group_seeds(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs with those that differ in nothing but their seed together.

    Raises:
        InputError: two runs do not even differ in that.
    """
    found: list[list[Run]] = []
    for run in runs:
        alike = (group for group in found if same_but_for_seed(run, group[0]))
        group = next((group for group in alike if not any(of_other_weights(run, other) for other in group)), None)
        if group is None:
            found.append([run])
            continue
        for other in group:
            if other.seed == run.seed:
                raise InputError(
                    f"{other.folder.name} and {run.folder.name} are the same training, seed={run.seed}: remove one"
                )
        group.append(run)
    return found


def same_but_for_seed(run: Run, other: Run) -> bool:
    """Whether two runs, by what was typed and by what was composed of it, are one training with two seeds."""
    if run.method != other.method or typed_beside_seeds(run) != typed_beside_seeds(other):
        return False
    if len({(one.trained.get("stage"), bool(one.trained.get("weights"))) for one in (run, other)}) > 1:
        return False
    pairs = [(read_by(other.config), read_by(run.config)), (other.trained, run.trained)]
    if run.report and other.report:  # in which nothing is left to be resolved
        pairs.append((read_by(other.report["config"]), read_by(run.report["config"])))
    return all(key.split(".")[-1] == "seed" for pair in pairs for key in differences(*pair))


def read_by(config: dict[str, Any]) -> dict[str, Any]:
    """What of a configuration the run read: an evaluation has data to train on, too."""
    if config.get("train") is not None:
        return config
    data = {key: node for key, node in (config.get("data") or {}).items() if key not in ("train", "val")}
    return config | {"data": data}


def of_other_weights(run: Run, other: Run) -> bool:
    """Whether two evaluations with one seed are of different weights: of two checkpoints of a training, say."""
    return run.seed == other.seed and run.config.get("weights") != other.config.get("weights")


def typed_beside_seeds(run: Run) -> frozenset[str]:
    """The overrides without ``seed`` and, for an evaluation, without ``weights``: every seed has its own file."""
    own = without_seed(run.overrides)
    return own if "train" in run.config else frozenset(one for one in own if key_of(one) != "weights")


def without_seed(overrides: Sequence[str]) -> frozenset[str]:
    """The overrides but for the seed."""
    return frozenset(override for override in overrides if key_of(override) != "seed")


def label_groups(found: Sequence[list[Run]]) -> list[Group]:
    """The groups under the names of their methods; several of one method with what distinguishes them too."""
    names = [(runs[0].method, distinguishing_overrides(runs, found)) for runs in found]
    result = []
    for (method, own), runs in zip(names, found, strict=True):
        unique = own if names.count((method, own)) == 1 else runs[0].folder.name
        result.append(Group(f"{method}, {unique}" if unique else method, runs))
    return result


def distinguishing_overrides(runs: Sequence[Run], found: Sequence[list[Run]]) -> str:
    """What was typed for a group, but not for all others of its method."""
    common = frozenset.intersection(
        *(typed_beside_seeds(other[0]) for other in found if other[0].method == runs[0].method)
    )
    own = typed_beside_seeds(runs[0]) - common
    return " ".join(override for override in runs[0].overrides if override in own)


def images_of_seeds(group: Group) -> ScoresBySeed:
    """The scores of single images of every finished run.

    Raises:
        InputError: they were not scored on the same images.
    """
    first, *others = group.finished
    for other in others:
        ours, theirs = first.images[group.method], other.images[group.method]
        check_same_images(first.folder.name, ours, other.folder.name, theirs)
    return {run.seed: run.images[group.method] for run in group.finished}

"""What was probably meant, where a setting, a group or an option was typed that does not exist."""

import re
import shlex
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from arcsr_lightning import CONF_DIR
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch.messages import missing_extra
from arcsr_lightning.runs.jobs import key_of

LISTED = 12  # names that one line can take
MEANT = {  # words of other programs
    "epochs": "trainer.max_steps",
    "device": "trainer=cpu or trainer=gpu",
    "gpus": "trainer.devices",
}


def with_suggestion(error: Exception, config_name: str, typed: list[str]) -> Exception:
    """The error with a better line, if it is Hydra's about a name that does not exist, or about the folder of all logs;
    else the error itself.

    Args:
        error: what composing the configuration, or making its folder, raised.
        config_name: ``train``, ``evaluate``, ``predict``, ``export``, ``demo`` or ``prepare``.
        typed: what was typed after the command's name.
    """
    text = str(error) if isinstance(error, HydraException) and not missing_extra(str(error)) else ""
    line = None
    if part := re.search(r"Could not override '(model/\w+)'\. No match in the defaults list", text):
        line = not_of_this_model(part[1], typed)
    elif "Could not override 'data/augment'" in text:
        line = "data/augment: no data is chosen whose images it could change; add data=gopro data.root=PATH, say"
    elif unknown := re.search(r"Could not (?:override|delete from config\.) '([^']+)'", text):
        line = no_such_setting(unknown[1], config_name, typed)
    elif option := re.search(r"Could not find '([^']+)'\s+Available options in '([^']+)':(.*)", text, re.DOTALL):
        line = no_such_option(
            option[1].rpartition("/")[2], option[2], option[3].partition("Config search path")[0].split()
        )
    elif "Config group override must be" in str(error):
        line = no_option_at_all(typed)
    elif several := re.search(r"Ambiguous value for argument '([^']+)'", text):
        line = f"{several[1]}: several values need -m, for a sweep; as one value, in quotes: {in_quotes(several[1])}"
    elif isinstance(error, OverrideParseException):
        line = cannot_be_read(error.override)
    elif isinstance(error, OSError) and error.filename and is_in_logs(error.filename, config_name, typed):
        line = f"{error.filename}: {error.strerror}; set paths.log_dir=PATH"
    if line is None:
        return error
    better = InputError(line)
    better.__cause__ = error
    return better


def is_in_logs(path: str, config_name: str, typed: list[str]) -> bool:
    """Whether a path is that of the folder of all logs, or lies below it."""
    config = composed(config_name, [one for one in typed if key_of(one).startswith("paths.")])
    return config is not None and Path(path).is_relative_to(config.paths.log_dir)


def not_of_this_model(part: str, typed: list[str]) -> str:
    """A part of ArcSR was chosen for another model."""
    ablation = next((one for one in typed if one.startswith("ablation=")), None)
    model = next((one for one in typed if one.startswith("model=")), "the other model=")
    if ablation or not any(one.startswith(f"{part}=") for one in typed):
        return f"{ablation or 'ablation'}: ablations are ArcSR's; leave out {model}"
    return f"{part}: a part of ArcSR; leave out {model}"


def cannot_be_read(override: str) -> str:
    """What was typed is no NAME=VALUE."""
    if "=" not in override.lstrip("+~"):
        return f"{override}: cannot be read; settings are typed as NAME=VALUE"
    name, _, value = override.partition("=")
    if value.startswith("~/"):
        return f"{override}: cannot be read; no shell expands ~ there: {name}=$HOME{value[1:]}"
    marks = "a value with spaces, brackets, quotes or one of :=, in it goes in quotes"
    return f"{override}: cannot be read; {marks}: {in_quotes(override)}"


def in_quotes(override: str) -> str:
    """An override as it is to be typed in a shell, its value taken as it stands."""
    name, _, value = override.partition("=")
    escaped = value.replace('"', r"\"")
    return shlex.quote(f'{name}="{escaped}"')


def no_option_at_all(typed: list[str]) -> str | None:
    """A group was given null or a number in place of one of its options; or no name stands before the "="."""
    for override in typed:
        name, equals, value = override.partition("=")
        if equals and not name.strip("+~"):
            return f"{override}: the name of a setting is missing before ="
        if name and (CONF_DIR / name).is_dir() and re.fullmatch(r"null|[-+.\d]+|true|false", value, re.IGNORECASE):
            options = sorted(path.stem for path in (CONF_DIR / name).glob("*.yaml"))
            right = f"{name} is one of {', '.join(options)}" if options else f"set {name}.NAME.KEY, not all at once"
            return f"{override}: {right}"
    return None


def no_such_option(option: str, group: str, options: list[str]) -> str:
    """An option that its group does not have."""
    close = get_close_matches(option, options, 1)
    meant = f"did you mean {group}={close[0]}? " if close else ""
    return f"{group}/{option}: no such option; {meant}{group} is one of {', '.join(options)}"


def no_such_setting(key: str, config_name: str, typed: list[str]) -> str:
    """A setting, or group, that the configuration does not have."""
    settings = settings_beside(key, config_name, typed)
    if f"~{key}" in typed and key in settings:
        return f"~{key}: {key} has no value that could be left out; leave out ~{key} itself"
    group, _, rest = key.partition(".")
    option = rest.partition(".")[0]
    if group == "logger" and f"logger.{option}" not in settings and (CONF_DIR / f"logger/{option}.yaml").is_file():
        return f"{key}: belongs to logger={option}; type that, too"
    if group == "data" and key not in settings and (others := data_with(option)):
        return f"{key}: belongs to data={', data='.join(others)}; type one of these"
    if key in MEANT and "trainer" in settings:
        return f"{key}: no such setting; did you mean {MEANT[key]}?"
    if meant := nearest(key, settings):
        return f"{key}: no such setting; did you mean {meant}?"
    parent = key.rpartition(".")[0]
    siblings = sorted(last_name(one) for one in settings if one.rpartition(".")[0] == parent)
    if parent and 0 < len(siblings) <= LISTED:
        added = f"; +{key}=VALUE adds it all the same" if "_target_" in siblings else ""
        return f"{key}: no such setting; {parent} has {', '.join(siblings)}{added}"
    added = f", and +{key}=VALUE adds it all the same" if parent else ""  # of the top nothing reads what is added
    return f"{key}: no such setting; --help shows what there is{added}"


def data_with(setting: str) -> list[str]:
    """The options of ``data`` that have a setting of that name."""
    return sorted(path.stem for path in (CONF_DIR / "data").glob("*.yaml") if setting in OmegaConf.load(path).keys())  # noqa: SIM118 - ??? is not "in" it


def last_name(key: str) -> str:
    return key.rpartition(".")[2]


def nearest(key: str, settings: list[str]) -> str | None:
    """The setting that ``key`` was probably meant to be: the same name elsewhere, a similar one at its place, or a
    similar one anywhere."""
    name, parent = last_name(key), key.rpartition(".")[0]
    same = [one for one in settings if last_name(one) == name]
    if same:
        return min(same, key=lambda one: (one.split(".")[0] != key.split(".")[0], one.count("."), one))
    siblings = [last_name(one) for one in settings if one.rpartition(".")[0] == parent]
    if close := get_close_matches(name, siblings, 1):
        return f"{parent}.{close[0]}" if parent else close[0]
    elsewhere = [] if parent in settings else get_close_matches(key, settings, 1, cutoff=0.75)
    return elsewhere[0] if elsewhere else None


def settings_beside(key: str, config_name: str, typed: list[str]) -> list[str]:
    """All settings, dotted, and all groups of the configuration that was typed, but for what is wrong with it."""
    others = [one for one in typed if "=" in one and not one.startswith("-") and key_of(one) != key]
    groups = config_groups()
    for overrides in (others, [one for one in others if key_of(one) in groups and "," not in one], []):
        config = composed(config_name, overrides)
        if config is not None:
            keys = dotted(OmegaConf.to_container(config, resolve=False))
            # Hydra's own settings have the names of many things; they are meant only where they are typed.
            return [*groups, *(one for one in keys if key.startswith("hydra") or not one.startswith("hydra"))]
    return groups


def config_groups() -> list[str]:
    folders = {path.parent.relative_to(CONF_DIR).as_posix() for path in CONF_DIR.rglob("*.yaml")}
    return sorted(folders - {".", "hydra"})


def composed(config_name: str, overrides: list[str]) -> DictConfig | None:
    """A configuration with Hydra's part; None where the overrides are at fault."""
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            return hydra.compose(config_name, overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException):
        return None


def dotted(node: Any, prefix: str = "") -> list[str]:
    """The dotted names of everything below a node."""
    if not isinstance(node, dict):
        return []
    names = []
    for key, child in node.items():
        names += [f"{prefix}{key}", *dotted(child, f"{prefix}{key}.")]
    return names

"""--help of every command: what to type, in a screen."""

import re

import pytest

from arcsr_lightning import CONF_DIR, compose, demo, evaluate, export, predict, prepare, train
from arcsr_lightning.launch.suggestions import config_groups

COMMANDS = {
    "arcsr-train": train,
    "arcsr-eval": evaluate,
    "arcsr-predict": predict,
    "arcsr-export": export,
    "arcsr-demo": demo,
    "arcsr-prepare": prepare,
}


@pytest.mark.parametrize("name", COMMANDS)
def test_it_says_in_a_screen_what_to_type_and_what_it_names_is_there(name, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run(COMMANDS[name], "--help")
    assert ended.value.code == 0
    assert not list(tmp_path.iterdir())
    text = capsys.readouterr().out
    assert text.startswith(f"{name}: ")
    assert len(re.findall(rf"^  {name} ?", text, re.MULTILINE)) >= 2
    assert len(text.splitlines()) < 45
    check_what_it_names(text, COMMANDS[name].__name__.rsplit(".")[-1])


def check_what_it_names(text, config_name):
    for group, options in re.findall(r"^  ([a-z_]+) +((?:\w+, )*\w+)(?: \(.*)?$", text.partition("Set with")[0], re.M):
        assert options.split(", ") == sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
    data = ["data=folder"] if config_name not in ("predict", "export", "demo") else []
    cfg = compose(data, config_name)
    settings = text.partition("Set with")[2].partition("\n\n")[0].partition("\n")[2]
    for setting in re.findall(r"(?:^|  )([a-z_]+(?:\.[a-z_]+)*)(?==|  |$)", settings, re.MULTILINE):
        node = cfg
        for part in setting.split("."):
            assert part in node.keys(), setting  # noqa: SIM118, as a missing value is not in it
            node = node._get_node(part)


def test_no_group_of_the_training_is_missing(run, capsys):
    with pytest.raises(SystemExit):
        run(train, "--help")
    text = capsys.readouterr().out
    for group in config_groups():
        if "/" not in group and group not in ("paths", "local"):
            assert re.search(rf"^  {group} ", text, re.MULTILINE), group

"""What W&B gets of a run, read from what an offline run leaves on disk."""

import csv
import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from omegaconf import OmegaConf
from wandb.errors import AuthenticationError
from wandb.proto.wandb_internal_pb2 import Record, RunRecord

from arcsr_lightning import launch
from arcsr_lightning import train as command
from arcsr_lightning.launch.messages import explain
from arcsr_lightning.launch.resolvers import run_id, wandb_offline
from arcsr_lightning.train import train
from tests.training.interruptions import PATIENCE

SHORT = ("trainer.max_steps=2", "callbacks.ema=null", "logger=wandb")
PICTURES = ("panel", "kernel_field", "offsets")
FIRST, LAST, WHOLE = 2, 4, 1  # kinds of chunks in wandb's log


class Recorded(NamedTuple):
    """One run as it was recorded: its files lie in ``folder``."""

    folder: Path
    run: RunRecord
    config: dict[str, Any]
    history: list[dict[str, Any]]
    exit_code: int


def records(log: bytes) -> Iterator[Record]:
    """The records of a .wandb file: LevelDB's log format, with a header of seven bytes."""
    at, data = 7, b""
    while at + 7 <= len(log):
        if (rest := 32768 - at % 32768) < 7:  # a chunk's header is never divided among blocks
            at += rest
            continue
        length, kind = struct.unpack_from("<HB", log, at + 4)
        data += log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (WHOLE, LAST) and at <= len(log):
            yield Record.FromString(data)
            data = b""


def recorded(folder: Path) -> list[Recorded]:
    """The W&B runs recorded below ``folder``, oldest first."""
    found = []
    for log in folder.glob("**/wandb/offline-run-*/run-*.wandb"):
        by_type: dict[str, list[Any]] = {}
        deadline = time.monotonic() + PATIENCE
        while "exit" not in by_type and time.monotonic() < deadline:  # wandb's own process may still be writing
            by_type = {}
            for record in records(log.read_bytes()):
                kind = record.WhichOneof("record_type")
                by_type.setdefault(kind, []).append(getattr(record, kind))
        history = [{"/".join(i.nested_key): json.loads(i.value_json) for i in row.item} for row in by_type["history"]]
        updates = [item for record in by_type["config"] for item in record.update]
        config = {item.key: json.loads(item.value_json) for item in updates}
        found.append(Recorded(log.parent / "files", by_type["run"][0], config, history, by_type["exit"][-1].exit_code))
    return sorted(found, key=lambda one: one.run.start_time.ToNanoseconds())


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A user who never heard of W&B; the environment is put back after the tests."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        of_wandb = ("API_KEY", "IDENTITY_TOKEN_FILE", "MODE", "BASE_URL", "CONFIG_DIR")
        for name in (*(f"WANDB_{name}" for name in of_wandb), "NETRC"):
            patch.setenv(name, "")
            patch.delenv(name)
        patch.setenv("HOME", str(home))
        yield home


@pytest.fixture
def environment(home, monkeypatch):
    """``home``'s environment, for one test to change."""
    monkeypatch.setenv("WANDB_MODE", "")
    monkeypatch.delenv("WANDB_MODE")
    yield monkeypatch
    for kept in (".netrc", ".config/wandb/settings"):
        (home / kept).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def folder(configure, home, tmp_path_factory):
    """The folder of a finished training with every picture."""
    folder = tmp_path_factory.mktemp("logs") / "a_run"
    paths = (f"paths.log_dir={folder.parent}", f"paths.output_dir={folder}")
    try:
        train(configure(folder, *SHORT, "tags=[mine]", *paths, panel=True))
    finally:
        launch.close_loggers()
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    (one,) = recorded(folder)
    return one


# ---------------------------------------------------------------- one run


def test_a_run_is_found_by_study_name_and_tags(finished):
    run = finished.run
    assert (run.project, run.run_group, run.display_name, run.job_type) == ("arcsr", "quickstart", "a_run", "")
    assert list(run.tags) == ["mine", "arcsr", "folder", "seed0"]


def test_its_id_is_that_of_its_folder_and_lets_it_go_on(finished, folder):
    assert finished.run.run_id == run_id(str(folder), str(folder.parent), None)
    assert finished.run.resume


def test_its_configuration_is_that_of_the_run(finished, folder):
    config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    assert {key: finished.config["config"][key] for key in ("model", "optimizer", "seed", "scale")} == {
        key: config[key] for key in ("model", "optimizer", "seed", "scale")
    }


def test_its_curves_are_those_of_the_csv(finished, folder):
    with (folder / "csv/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("val/psnr", "train/loss", "train/images_per_s", "lr-Adam", "test/psnr"):
        expected = [(int(row["step"]), pytest.approx(float(row[name]))) for row in rows if row[name]]
        logged = [(row["trainer/global_step"], row[name]) for row in finished.history if name in row]
        assert logged == expected and expected, name


def test_its_pictures_are_those_in_its_folder(finished, folder):
    expected = {f"val/{name}": f"{name}_0000002.png" for name in PICTURES} | {"test/panel": "panel.png"}
    expected["val/panel"] = "val_0000002.png"
    for key, file in expected.items():
        (row,) = (row for row in finished.history if f"{key}/filenames" in row)
        (path,) = row[f"{key}/filenames"]
        assert (finished.folder / path).read_bytes() == (folder / "images" / file).read_bytes()
        assert row["trainer/global_step"] == 2


def test_its_table_is_that_of_the_test(finished, folder):
    (path,) = (row["test/table/path"] for row in finished.history if "test/table/path" in row)
    table = json.loads((finished.folder / path).read_text())
    rows = json.loads((folder / "metrics.json").read_text())["rows"]
    cells = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [{key: value for key, value in row.items() if value is not None} for row in cells] == rows


# ---------------------------------------------------------------- several


def test_a_run_that_goes_on_is_the_same_run(configure, home, tmp_path):
    try:
        train(configure(tmp_path, *SHORT, "test=false"))
        launch.close_loggers()
        (before,) = recorded(tmp_path)
        before.folder.parent.rename(tmp_path / "before")  # wandb names a recording's folder by the second
        train(
            configure(
                tmp_path, *SHORT, "test=false", "trainer.max_steps=4", "ckpt_path=last", "allow_config_change=true"
            )
        )
    finally:
        launch.close_loggers()
    (after,) = recorded(tmp_path)
    assert before.run.run_id == after.run.run_id
    assert [row["trainer/global_step"] for row in after.history if "train/loss" in row] == [2, 3]


def test_the_jobs_of_a_sweep_are_runs_of_their_own_and_a_failed_one_says_so(run, tiny, home, tmp_path):
    jobs = ("optimizer.lr=1e30,1e-3", "test=false", f"paths.log_dir={tmp_path}")
    with pytest.raises(SystemExit):
        run(command, "-m", *tiny, *SHORT, *jobs)
    failed, good = recorded(tmp_path)
    assert (failed.exit_code, good.exit_code) == (1, 0)
    assert failed.run.run_id != good.run.run_id
    assert failed.run.run_group == good.run.run_group == "quickstart"
    jobs = tmp_path.glob("quickstart/multiruns/*/*/config.yaml")
    assert {failed.run.display_name, good.run.display_name} == {path.parent.name for path in jobs}


def test_ids_tell_runs_and_stages_apart_but_not_where_the_logs_lie():
    ids = {run_id(f"{logs}/t/runs/{name}", logs, stage) for logs in "ab" for name in "xy" for stage in (None, "s")}
    assert len(ids) == 4


# ---------------------------------------------------------------- offline or not


KEY = 40 * "0"


def log_in(*options: str) -> None:
    """Let W&B keep a key for its server, or another."""
    subprocess.run([sys.executable, "-m", "wandb", "login", "--no-verify", *options, KEY], check=True)


@pytest.mark.parametrize("text", [None, "machine example.org login user password secret\n", "this is no netrc"])
def test_without_a_key_wandb_is_offline(home, environment, text):
    if text:
        (home / ".netrc").write_text(text)
    assert wandb_offline()


def test_after_a_login_wandb_is_online(home, environment):
    log_in()
    assert not wandb_offline()
    environment.setenv("WANDB_BASE_URL", "https://wandb.lab.example:8080")
    assert wandb_offline()


def test_after_a_login_to_another_server_wandb_is_online(home, environment):
    log_in("--host", "https://wandb.lab.example:8080")
    assert not wandb_offline()
    environment.setenv("WANDB_BASE_URL", "https://api.wandb.ai")
    assert wandb_offline()


@pytest.mark.parametrize(("name", "value"), [("API_KEY", KEY), ("IDENTITY_TOKEN_FILE", "token")])
def test_what_the_environment_has_to_log_in_with_counts(home, environment, name, value):
    environment.setenv(f"WANDB_{name}", value)
    assert not wandb_offline()


def test_a_key_of_old_is_one_for_the_server_of_today(home, environment):
    (home / ".netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    assert not wandb_offline()


def test_netrc_may_be_elsewhere(home, environment):
    environment.setenv("NETRC", str(home / "keys"))
    log_in()
    assert not wandb_offline()


@pytest.mark.parametrize(("mode", "offline"), [("offline", True), ("disabled", False), ("online", False)])
def test_the_mode_that_wandb_is_told_wins(environment, mode, offline):
    environment.setenv("WANDB_API_KEY", KEY)
    environment.setenv("WANDB_MODE", mode)
    assert wandb_offline() == offline


def test_what_wandb_refuses_is_one_line_with_a_way_around_it():
    assert explain(AuthenticationError("API key\n is short")) == (
        "logger=wandb: API key is short; WANDB_MODE=offline records on disk"
    )

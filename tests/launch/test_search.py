"""hparams_search=optuna: a study on disk, resumed by the same command."""

import json

import pytest

from arcsr_lightning import train

optuna = pytest.importorskip("optuna", reason='needs "arcsr-lightning[sweep]"')


@pytest.fixture
def search(tiny, run, tmp_path, monkeypatch):
    """``search(n)``: a search of n trials more, typed in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    overrides = ("trainer.max_steps=2", "callbacks.ema=null", "test=false")
    return lambda trials: run(train, *tiny, *overrides, "hparams_search=optuna", f"hydra.sweeper.n_trials={trials}")


def test_a_study_goes_on_where_it_stopped_and_its_best_is_the_best_run(search, tmp_path):
    search(2)
    search(1)
    study = optuna.load_study("quickstart", "sqlite:///logs/quickstart/optuna.db")
    assert len({trial.params["optimizer.lr"] for trial in study.trials}) == 3  # going on is not trying the same again
    runs = [json.loads(path.read_text()) for path in tmp_path.glob("logs/quickstart/multiruns/*/*/finished.json")]
    assert sorted(trial.value for trial in study.trials) == sorted(run["val/psnr"] for run in runs)
    assert study.best_value == max(run["val/psnr"] for run in runs)


def test_a_file_that_is_no_study_is_named(search, tmp_path, capsys):
    file = tmp_path / "logs" / "quickstart" / "optuna.db"
    file.parent.mkdir(parents=True)
    file.write_text("no database, but as long as the header of one would be: " + "-" * 80)
    with pytest.raises(SystemExit):
        search(1)
    assert "logs/quickstart/optuna.db: not a study" in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_search_of_which_nothing_came_is_one_line(search, run, tiny, capsys):
    with pytest.raises(SystemExit):
        run(train, *tiny, "hparams_search=optuna", "hydra.sweeper.n_trials=1", "weights=nowhere.ckpt")
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last == "error: hparams_search: no trial succeeded, for the reasons above"

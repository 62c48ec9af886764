import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import warnings
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch.utils.data import Dataset

from arcsr_lightning.data import Pair, SyntheticEvaluation, SyntheticTraining, image_files
from arcsr_lightning.data.datamodule import SRDataModule, sharp_files
from arcsr_lightning.degradation import Degradation, MotionField
from arcsr_lightning.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


class Numbers(Dataset):
    """Sample n is n."""

    def __getitem__(self, number):
        return torch.tensor(float(number))


class Images(Numbers):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count


class Diary(pl.LightningModule):
    """Notes the numbers that every training batch and every validation holds; may fail at a given step."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.fail_at = fail_at
        self.seen = []
        self.validated = []
        self.tested = []

    def training_step(self, batch, _):
        if self.global_step == self.fail_at:
            raise FloatingPointError("interrupted")
        self.seen.append(batch.int().tolist())
        return (self.weight * batch).sum()

    def validation_step(self, batch, _, dataloader_idx=0):
        self.validated += batch.int().tolist()

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self.tested.append((dataloader_idx, *batch.int().tolist()))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


def module(batch_size=2, val=(lambda: Images(3),), test=(), train=Numbers, num_workers=0, degrade_on="worker"):
    return SRDataModule(train, list(val), list(test), batch_size, num_workers, degrade_on=degrade_on)


def trainer(folder, save_every=None, **settings):
    saver = pl.callbacks.ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=save_every)
    return pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        callbacks=[saver] if save_every else [],
        enable_checkpointing=save_every is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        use_distributed_sampler=False,
        **({"val_check_interval": 3} | settings),
    )


def batches(first, last, batch_size=2):
    return [list(range(t * batch_size, (t + 1) * batch_size)) for t in range(first, last)]


@pytest.mark.parametrize(
    ("step", "accumulate", "num_workers"),
    [(2, 1, 0), (3, 1, 0), (2, 2, 2), (3, 2, 0)],  # step 2 is between two validations, step 3 at one
)
def test_a_resumed_run_sees_what_the_uninterrupted_one_would_have(tmp_path, step, accumulate, num_workers):
    settings = {"max_steps": 6, "accumulate_grad_batches": accumulate, "val_check_interval": 3 * accumulate}
    whole = Diary()
    trainer(tmp_path, **settings).fit(whole, datamodule=module())
    assert whole.seen == batches(0, 6 * accumulate)

    interrupted = Diary(fail_at=5)
    with pytest.raises(FloatingPointError):
        trainer(tmp_path, 1, **settings).fit(interrupted, datamodule=module(num_workers=num_workers))
    resumed, again = Diary(), trainer(tmp_path, **settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*dataloader is not resumable.*")
        data = module(num_workers=num_workers)
        again.fit(resumed, datamodule=data, ckpt_path=tmp_path / f"step={step}.ckpt", weights_only=True)
    assert resumed.seen == whole.seen[step * accumulate :]
    assert again.global_step == 6
    assert resumed.validated == [0, 1, 2] * (2 if step < 3 else 1)
    torch.testing.assert_close(resumed.weight, whole.weight)


def test_a_finished_run_can_be_continued_to_more_steps(tmp_path):
    trainer(tmp_path, 3, max_steps=3).fit(Diary(), datamodule=module())
    longer = Diary()
    trainer(tmp_path, max_steps=7).fit(longer, datamodule=module(), ckpt_path=tmp_path / "step=3.ckpt")
    assert longer.seen == batches(3, 7)


def test_passes_of_limited_length_go_on_where_the_last_one_ended(tmp_path):
    diary = Diary()
    trainer(tmp_path, max_steps=7, limit_train_batches=3).fit(diary, datamodule=module())
    assert diary.seen == batches(0, 7)


def test_overfitting_repeats_the_same_batches(tmp_path):
    diary = Diary()
    trainer(tmp_path, max_steps=6, overfit_batches=2).fit(diary, datamodule=module())
    assert diary.seen == batches(0, 2) * 3


def test_the_processes_share_the_batches_and_the_images(monkeypatch):
    data = module(batch_size=6, val=[lambda: Images(5)])
    data.setup("fit")
    seen, validated = [], []
    for rank in range(3):
        data.trainer = pl.Trainer(accelerator="cpu", max_steps=2, logger=False, enable_checkpointing=False)
        monkeypatch.setattr(pl.Trainer, "world_size", 3)
        monkeypatch.setattr(pl.Trainer, "global_rank", rank)
        seen.append([batch.int().tolist() for batch in data.train_dataloader()])
        validated += [int(batch) for batch in data.val_dataloader()[0]]
    assert seen == [[[0, 1], [6, 7]], [[2, 3], [8, 9]], [[4, 5], [10, 11]]]
    assert sorted(validated) == [0, 1, 2, 3, 4]


def test_a_set_that_cannot_be_shared_is_refused(monkeypatch):
    data = module(batch_size=4, val=[lambda: Images(2)])
    data.setup("fit")
    data.trainer = pl.Trainer(accelerator="cpu", max_steps=2, logger=False, enable_checkpointing=False)
    monkeypatch.setattr(pl.Trainer, "world_size", 3)
    with pytest.raises(InputError, match="2 evaluation images cannot be shared by 3 processes"):
        data.val_dataloader()
    with pytest.raises(InputError, match=r"data.batch_size .* multiple of 3, got 4"):
        data.train_dataloader()


TWO_PROCESSES = """
import sys

import pytorch_lightning as pl
import torch

from arcsr_lightning.data.datamodule import SRDataModule

torch.set_num_threads(1)


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, number):
        return torch.tensor(float(number))


class Diary(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.validated = [], []

    def training_step(self, batch, _):
        self.seen.append(batch.int().tolist())
        return (self.weight * batch).sum()

    def validation_step(self, batch, _):
        self.validated += batch.int().tolist()

    def on_fit_end(self):
        torch.save([self.seen, self.validated], f"{sys.argv[1]}/{self.global_rank}.pt")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


pl.Trainer(
    accelerator="cpu", devices=2, strategy="ddp_fork", use_distributed_sampler=False, max_steps=3,
    check_val_every_n_epoch=None, val_check_interval=3, num_sanity_val_steps=0, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
).fit(Diary(), datamodule=SRDataModule(Numbers, [Numbers], [], batch_size=4))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the two processes are forked")
def test_two_processes_see_a_run_and_its_images_once(tmp_path):
    command = [sys.executable, "-c", TWO_PROCESSES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (seen, validated), (seen_too, validated_too) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert [first + second for first, second in zip(seen, seen_too, strict=True)] == batches(0, 3, 4)
    assert sorted(validated + validated_too) == [0, 1, 2]


class Batches(pl.LightningModule):
    """Keeps the batches of training and validation."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained, self.validated = [], []

    def training_step(self, batch, _):
        self.trained.append({key: value for key, value in batch.items() if key != "name"})
        return self.weight * batch["lr"].mean()

    def validation_step(self, batch, _):
        self.validated.append(batch["lr"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_training_sees_the_same_batches_wherever_they_are_degraded(tmp_path, photos, num_workers):
    paths, degradation = image_files(photos), Degradation(MotionField(5, 4))

    def batches(degrade_on):
        seen = Batches()
        data = module(
            train=lambda: SyntheticTraining(paths, degradation, 4, 3, 32),
            val=[lambda: SyntheticEvaluation(paths, degradation, 4, 3, 10.0)],
            num_workers=num_workers,
            degrade_on=degrade_on,
        )
        trainer(tmp_path, max_steps=3).fit(seen, datamodule=data)
        return seen

    early, late = batches("worker"), batches("device")
    torch.testing.assert_close(late.trained, early.trained, atol=1e-6, rtol=0)
    torch.testing.assert_close(late.validated, early.validated, atol=0, rtol=0)
    assert len(late.trained) == len(late.validated) == 3


def test_what_the_codec_looks_at_stays_where_that_waits_for_no_device():
    batch = {"lr": torch.zeros(2, 3, 4, 4), "jpeg_quality": torch.tensor([30.0, 95.0])}
    moved = module().transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert [moved[name].device.type for name in ("lr", "jpeg_quality")] == ["meta", "cpu"]


@pytest.mark.parametrize(
    ("degrade_on", "message"),
    [("gpu", r"data\.degrade_on must be worker or device, got gpu"), ("device", r"data\.degrade_on=device: .* worker")],
)
def test_a_place_to_degrade_on_that_cannot_be_is_refused(degrade_on, message):
    with pytest.raises(InputError, match=message):
        module(degrade_on=degrade_on).setup("fit")


def test_testing_needs_no_training_images(tmp_path):
    def missing():
        raise InputError("the training folder is missing")

    diary = Diary()
    data = module(train=missing, val=[missing], test=[lambda: Images(2), lambda: Images(1)])
    trainer(tmp_path).test(diary, datamodule=data, verbose=False)
    assert diary.tested == [(0, 0), (0, 1), (1, 0)]


def test_a_run_without_a_number_of_steps_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"trainer.max_steps must be set"):
        trainer(tmp_path, max_epochs=1).fit(Diary(), datamodule=module())


class Deadly(Images):
    """Kills the process that makes sample 5, as a system does that runs out of memory."""

    def __getitem__(self, number):
        if number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(number)

    def source(self, number):
        return f"photo{number}.png"


@pytest.mark.parametrize("stage", ["training", "validation"])
def test_a_data_worker_that_is_killed_is_reported_with_its_sample_and_file(tmp_path, stage, request):
    # Its death may be reported in the midst of Lightning's putting handlers back.
    request.addfinalizer(partial(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM)))
    trains = stage == "training"
    data = module(
        train=(lambda: Deadly(8)) if trains else Numbers, val=[lambda: Deadly(5 if trains else 8)], num_workers=2
    )
    with (
        pytest.raises(
            ChildProcessError, match=r"worker died at sample 5, made from photo5\.png; .* lower data\.num_workers"
        ),
        data.naming_dead_workers(),
    ):
        trainer(tmp_path, max_steps=6).fit(Diary(), datamodule=data)


def test_a_worker_that_is_killed_while_it_hands_over_a_sample_is_reported_too():
    data = module(num_workers=1)
    watched = data._watch(Deadly(6))
    worker = multiprocessing.get_context("fork").Process(target=signal.pause)
    worker.start()
    watched.notes[0] = torch.tensor([worker.pid, 5, 1])
    with pytest.raises(ConnectionResetError), data.naming_dead_workers():
        raise ConnectionResetError  # of another connection: the worker lives
    worker.kill()
    worker.join()
    message = r"worker died at sample 5, made from photo5\.png"
    with pytest.raises(ChildProcessError, match=message), data.naming_dead_workers():
        raise ConnectionResetError


@pytest.mark.parametrize(
    ("report", "places"),
    [
        ("(pid 4711) is killed by signal: Killed. ", r"sample 5, made from photo5\.png;"),
        ("(pid(s) 4711, 4712) exited unexpectedly", r"sample 5, made from photo5\.png and at sample 3, .*photo3\.png;"),
    ],
)
def test_either_report_of_a_dead_worker_names_its_sample(report, places):
    data = module(num_workers=2)
    data._watch(Deadly(6)).notes[:] = torch.tensor([[4711, 5, 1], [4712, 3, 1]])
    with pytest.raises(ChildProcessError, match=f"worker died at {places}"), data.naming_dead_workers():
        raise RuntimeError(f"DataLoader worker {report}")


@pytest.mark.slow  # test_workers.py has a process that does not wait, too
def test_a_process_does_not_wait_for_workers_that_an_error_left_behind(tmp_path):
    code = f"""
import sys
from pathlib import Path
import pytorch_lightning as pl
from tests.data.test_datamodule import Diary, Images, module, trainer

class Interrupted(Diary):
    def training_step(self, batch, _):
        raise SystemExit(3)

trainer(Path({str(tmp_path)!r}), max_steps=6).fit(Interrupted(), datamodule=module(num_workers=2))
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=200).returncode == 3


def test_other_errors_within_a_run_stay_as_they_are():
    with pytest.raises(RuntimeError, match=r"^out of luck$"), module().naming_dead_workers():
        raise RuntimeError("out of luck")


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_an_evaluation_image_that_cannot_be_scored_is_named_before_the_training(photos, tmp_path, stage):
    shutil.copytree(photos, tmp_path / "images")
    Image.new("RGB", (64, 19)).save(tmp_path / "images" / "small.png")
    data = SRDataModule(
        Numbers, [evaluation(tmp_path / "images")], [evaluation(tmp_path / "images")], batch_size=1, least_side=20
    )
    with pytest.raises(InputError, match=r"small\.png is 64x19, and an image of validation or test needs 20 pixels"):
        data.setup(stage)
    (tmp_path / "images" / "small.png").unlink()
    data.setup(stage)


def evaluation(folder):
    return lambda: SyntheticEvaluation(
        image_files(folder), Degradation(MotionField(9, max_length=4.0)), 4, kernel_size=3, noise_level=0, split="val"
    )


class Files(Images):
    """A data set of images that tells which."""

    def __init__(self, *paths):
        super().__init__(len(paths))
        self.paths = list(paths)


def test_the_sharp_files_of_pairs_and_of_mixtures_are_known(tmp_path):
    pairs = Images(2)
    pairs.pairs = [Pair(name, tmp_path / f"x/../sharp/{name}.png", tmp_path / f"{name}.png", True) for name in "ab"]
    of_pairs = {tmp_path / "sharp/a.png", tmp_path / "sharp/b.png"}
    assert sharp_files(pairs) == of_pairs
    mixture = Images(3)
    mixture.parts = {"pairs": pairs, "photos": Files(tmp_path / "photo.png"), "numbers": Numbers()}
    assert sharp_files(mixture) == {*of_pairs, tmp_path / "photo.png"}


@pytest.mark.parametrize(("validated", "said"), [(["a/val/1.png", "a/2.png"], 1), (["b/1.png", "b/2.png"], 0)])
def test_validation_images_that_are_trained_on_are_said(tmp_path, caplog, validated, said):
    """A folder of validation images inside that of the training images, say."""
    trained = [tmp_path / "a" / "b" / ".." / "val/1.png", tmp_path / "a/1.png"]
    data = module(train=lambda: Files(*trained), val=[lambda: Files(*(tmp_path / name for name in validated))] * 2)
    with caplog.at_level("INFO"):
        data.setup("fit")
    lines = [record.getMessage() for record in caplog.records if "are trained on, too" in record.getMessage()]
    assert len(lines) == said
    assert all(f"1 of 2 validation images are trained on, too ({tmp_path}/a/val/1.png, say)" in line for line in lines)

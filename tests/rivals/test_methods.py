"""Every method goes the whole way a user goes: train, save, resume, evaluate, predict; and says what does not fit."""

import functools
import json
import re
from itertools import pairwise

import cv2
import pytest
import torch
from torch import nn

from arcsr_lightning import CONF_DIR, compose, evaluate, load_model, predict, prepare, train
from arcsr_lightning.degradation import upsample
from arcsr_lightning.launch import as_plain_data, build_loss, build_network
from arcsr_lightning.rivals.image_skip import skip_added
from arcsr_lightning.runs.stages import stages_of
from arcsr_lightning.runs.weights import read_saved
from tests.conftest import WITHOUT_PICTURES, some

TINY = {  # what makes each of them small
    "arcsr": ["arcsr.estimator_width=4", "arcsr.estimator_levels=2", "arcsr.width=4", "arcsr.blocks=1"],
    "rrdb": ["rrdb.width=8", "rrdb.growth=4", "rrdb.blocks=1"],
    "dasr": ["dasr.width=8", "dasr.groups=1", "dasr.blocks=1", "dasr.queue_size=4"],
    "manet": [
        "manet.estimator_width=8",
        "manet.width=8",
        "manet.growth=4",
        "manet.blocks=1",
        "manet.code=5",
        "manet.code_samples=20",
        "manet.kernel_size=5",
    ],
    "udke": ["udke.kernel_size=5", "udke.width=4", "udke.hyper_width=4", "udke.stages=2", "udke.blocks=1"],
    "redegnet": [
        "redegnet.width=4",
        "redegnet.widest=8",
        "redegnet.code=6",
        "redegnet.style_layers=1",
        "redegnet.sr_width=4",
        "redegnet.sr_growth=4",
        "redegnet.sr_blocks=1",
    ],
    "srcnn": ["srcnn.widths=[4,2]"],
    "espcn": ["espcn.widths=[4,2]"],
    "rdn": ["rdn.width=4", "rdn.growth=3", "rdn.blocks=2", "rdn.layers=2"],
    "nafnet": ["nafnet.width=4", "nafnet.encoder=[1,1]", "nafnet.decoder=[1,1]"],
    "ikc": ["ikc.width=4", "ikc.blocks=1", "ikc.code=5", "ikc.code_samples=20", "ikc.iterations=2"],
    "cmos": [
        "cmos.estimator_width=6",
        "cmos.stem=4",
        "cmos.modules=[1,1,1]",
        "cmos.width=4",
        "cmos.blocks=1",
        "cmos.code=4",
        "cmos.code_groups=2",
    ],
}
OWN_SKIP = ("arcsr", "arcsr_staged", "nafnet")  # of the methods, which skip=bicubic leaves as they are
NEEDS_KERNELS = {  # and what does without
    "arcsr_staged": "arcsr",
    "cmos": "cmos_proxy",
    "ikc": "udke",
    "manet": "manet_pairs",
}
METHODS = sorted(path.stem for path in CONF_DIR.glob("model/*.yaml"))
PUBLISHED = sorted(path.stem for path in CONF_DIR.glob("stages/published/*.yaml"))  # with stages of their own there
TRAINED = [method for method in METHODS if method != "bicubic"]
VARIANTS = {"cmos_proxy", "manet_pairs", "manet_reblur", "redegnet_gan", "srcnn_955", "udke_lite"}  # of methods tested
OF_THE_PAPER = {"rrdb", "dasr", "manet", "udke", "redegnet", "cmos", "arcsr_staged"}  # arcsr: in test_commands.py


COMMON = [
    "kernel_size=3",
    "scale=4",
    "data.batch_size=2",
    "data.num_workers=0",
    "data.train.patch_size=32",
    "trainer.val_check_interval=1",
    "trainer.limit_val_batches=1",
    "trainer.log_every_n_steps=1",
    "callbacks.ema=null",
    "callbacks.summary=null",
    "callbacks.progress=null",
    *WITHOUT_PICTURES,
    "++trainer.enable_progress_bar=false",
    "++trainer.enable_model_summary=false",
    "print_config=false",
]


def sizes(method: str) -> list[str]:
    return next(sizes for name, sizes in TINY.items() if method.split("_")[0] == name)


@functools.cache
def stages(method: str, protocol: str = "paper") -> tuple[str, ...]:
    return tuple(compose(["data=sample", f"model={method}", f"protocol={protocol}"]).stages or ())


def steps(method: str) -> int:
    """One for each stage."""
    return max(1, len(stages(method)))


BY_STAGES = "protocol=published"  # else one
BLUR = ["degradation.blur.kernel_size=5", "degradation.blur.max_length=4"]  # what kernel_size=3 holds


def blur_of(method: str) -> list[str]:
    """On real frames only MANet and IKC read the blur model: they fit their codes to the kernels drawn from it."""
    return BLUR if method.startswith(("manet", "ikc")) else []


@pytest.fixture
def synthetic(photos):
    return ["experiment=quickstart", "data=folder", f"data.root={photos}", f"data.val_root={photos}", *BLUR]


@pytest.fixture
def real(gopro_tree):
    return ["experiment=table2_cpu", "hydra.mode=RUN", "ckpt_path=null", "data=gopro", f"data.root={gopro_tree}"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_published_rival_is_there():
    assert {"bicubic", "rrdb", "dasr", "manet", "udke", "redegnet", "cmos", "arcsr"} <= set(METHODS)
    assert {"srcnn", "srcnn_955", "espcn", "rdn", "nafnet", "ikc"} <= set(METHODS)  # of the related work
    assert {"manet_pairs", "manet_reblur", "udke_lite", "redegnet_gan", "cmos_proxy"} <= set(METHODS)


@pytest.mark.parametrize("method", [some(method, *OF_THE_PAPER - {"cmos"}) for method in TRAINED])  # it takes long
def test_a_method_trains_resumes_evaluates_and_predicts(method, photos, synthetic, run, tmp_path):
    common = [*COMMON, *synthetic, f"model={method}", *sizes(method)]
    run(train, *common, f"trainer.max_steps={steps(method)}", "test=false")
    (folder,) = tmp_path.glob("logs/quickstart/runs/*")
    names = stages(method)
    for stage in names[:-1]:
        assert read_saved(folder / "checkpoints" / stage / "finished.ckpt").config["current_stage"] == stage
    last = folder / "checkpoints" / (names[-1] if names else "") / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 1

    run(train, *common, f"trainer.max_steps={2 * steps(method)}", "ckpt_path=last", "allow_config_change=true")
    assert torch.load(last, weights_only=True)["global_step"] > 1
    report = json.loads((folder / "metrics.json").read_text())
    assert {row["method"] for row in report["rows"]} == {"bicubic", method}
    assert [entry["stage"] for entry in report["method"]["schedule"]] == list(names or [None])
    assert set(report["method"]["supervision"]) <= {"pairs", "kernels", "labels"} and report["method"]["supervision"]
    assert report["method"]["represents"] and report["method"]["publication"]

    tested = ["data=folder", f"data.test_root={photos}", "data.num_workers=0", *BLUR]
    run(evaluate, *tested, "callbacks.progress=null", "trainer=cpu")
    (evaluated,) = tmp_path.glob("logs/eval/runs/*/metrics.json")
    again = json.loads(evaluated.read_text())
    for card in (again["method"], report["method"]):
        card.pop("schedule")  # the best checkpoint may be of the shorter run
        assert 0 < card.pop("latency_s") < 600
    assert again["method"] == report["method"]
    for row, first in zip(again["rows"], report["rows"], strict=True):
        assert row["psnr_rgb"] == pytest.approx(first["psnr_rgb"], rel=1e-6)

    cv2.imwrite("lr.png", cv2.resize(cv2.imread(f"{photos}/photo0.png"), (17, 13)))
    run(predict, "input=lr.png", "output=sr.png")
    assert cv2.imread("sr.png").shape == (52, 68, 3)


def fresh(method: str, *settings: str) -> nn.Module:
    torch.manual_seed(0)
    cfg = compose(["data=sample", f"model={method}", *sizes(method), "kernel_size=3", *settings])
    return build_network(cfg.model).eval()


@pytest.mark.parametrize("method", [method for method in TRAINED if method not in {*OWN_SKIP} | VARIANTS])
def test_a_skip_brings_a_fresh_network_to_bicubic_upscaling(method):
    lr = upsample(torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), 4).clamp(0, 1)
    bicubic = upsample(lr, 4)
    with torch.no_grad():
        without, added = (fresh(method, f"skip={skip}")(lr).sr - bicubic for skip in ("null", "bicubic"))
    assert without.abs().mean() > 0.1
    assert added.abs().mean() < 0.01  # UDKE's data steps change the image by that much


@pytest.mark.parametrize("method", [some(method, "arcsr", "dasr", "manet", "nafnet", "udke") for method in TRAINED])
def test_a_network_laid_out_channels_last_has_the_same_gradients(method):
    lr = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):  # the second is what trainer=gpu sets
        network = fresh(method).to(memory_format=layout)
        network(lr.contiguous(memory_format=layout)).sr.square().mean().backward()
        gradients.append({name: one.grad for name, one in network.named_parameters() if one.grad is not None})
    assert gradients[0]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", OWN_SKIP)
def test_a_method_with_a_skip_of_its_own_is_left_as_it_is(method):
    plain, asked = fresh(method), fresh(method, "skip=bicubic")
    assert skip_added(asked) is None
    for one, other in zip(plain.parameters(), asked.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("method", [some(method, "rrdb") for method in TRAINED if method not in OWN_SKIP])
def test_a_skip_is_trained_with_kept_with_the_weights_and_said(method, synthetic, run, tmp_path):
    common = [*COMMON, *synthetic, f"model={method}", *sizes(method), "skip=bicubic"]
    run(train, *common, f"trainer.max_steps={steps(method)}")
    (report,) = tmp_path.glob("logs/quickstart/runs/*/metrics.json")
    assert json.loads(report.read_text())["method"]["skip"] == "bicubic"
    assert skip_added(load_model(report.with_name("model.safetensors"))) == "bicubic"


@pytest.mark.parametrize("method", [some(method, "dasr", "manet") for method in PUBLISHED])
def test_a_method_trains_as_its_publication_did(method, synthetic, run, tmp_path):
    names = stages(method, "published")
    common = [*COMMON, *synthetic, f"model={method}", *sizes(method), "protocol=published"]
    averaged = [setting for setting in common if setting != "callbacks.ema=null"]
    run(train, *averaged, f"trainer.max_steps={len(names)}")
    (report,) = tmp_path.glob("logs/quickstart/runs/*/metrics.json")
    card = json.loads(report.read_text())["method"]
    assert [entry["stage"] for entry in card["schedule"]] == list(names)
    assert (card["protocol"], card["ema"], card["augmentation"]) == ("published", None, ["SquareSymmetry"])
    assert all(entry["lr_sum"] > 0 for entry in card["schedule"])


@pytest.mark.parametrize(
    "method", [some(method, "dasr", "manet_pairs") for method in TRAINED if method not in NEEDS_KERNELS]
)
def test_a_method_without_need_of_kernels_learns_from_real_frames(method, real, run, tmp_path):
    run(
        train,
        *COMMON,
        *real,
        *blur_of(method),
        f"model={method}",
        *sizes(method),
        f"trainer.max_steps={steps(method)}",
        "test=false",
    )
    (exported,) = tmp_path.glob("logs/*/runs/*/model.safetensors")
    assert read_saved(exported).config["method"] == method


@pytest.mark.parametrize("protocol", ["paper", some("published")])
@pytest.mark.parametrize("method", [some(method, "manet") for method in ("manet", "cmos", "ikc")])
@pytest.mark.parametrize("data", [some(data, "gopro") for data in ("gopro", "reds", "pairs")])
def test_a_method_that_needs_kernels_learns_from_measured_ones(data, method, protocol, request, run, tmp_path):
    """A window of 9 HR pixels holds kernels of 3 LR pixels."""
    frames = [*place_of(data, request), "kernel_size=3", "data.kernels=measured", f"data.store={tmp_path}/store"]
    run(prepare, f"data={data}", *frames)
    small = [*sizes(method), "manet.kernel_size=9"] if method == "manet" else sizes(method)
    typed = [f"model={method}", f"protocol={protocol}", *small, *blur_of(method)]
    typed.append(f"trainer.max_steps={len(stages(method, protocol))}")
    run(train, *COMMON, "experiment=table2_cpu", "hydra.mode=RUN", "ckpt_path=null", f"data={data}", *frames, *typed)
    (path,) = tmp_path.glob("logs/*/runs/*/metrics.json")
    report = json.loads(path.read_text())
    assert set(report["method"]["supervision"]) == {"kernels", "pairs"}
    assert ("kernel_error" in report["rows"][1]) == (method != "cmos")


def place_of(data: str, request) -> list[str]:
    """What to type for the data set of a test."""
    if data != "pairs":
        return [f"data.root={request.getfixturevalue(f'{data}_tree')}"]
    tree = request.getfixturevalue("gopro_tree") / "train" / "GOPR0001_11_00"
    sides = {"hr": "sharp", "lr": "blur"}
    return [f"data.{split}_{side}={tree}/{folder}" for split in ("train", "val") for side, folder in sides.items()]


@pytest.mark.parametrize(("method", "other"), NEEDS_KERNELS.items())
def test_a_method_that_needs_kernels_says_so_where_there_are_none(method, other, real, run, capsys):
    with pytest.raises(SystemExit):
        run(train, *COMMON, *real, *blur_of(method), f"model={method}", *sizes(method), "trainer.max_steps=3")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert f"model={method} learns from true kernels, which this data does not have; use model={other}" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model=dasr", *TINY["dasr"], "dasr.queue_size=5"], ["data.batch_size", "set dasr.queue_size=4"]),
        (["model=redegnet", *TINY["redegnet"], "data.batch_size=1"], ["data.batch_size of at least 2"]),
        (["model=redegnet", *TINY["redegnet"], "scale=3"], ["model=redegnet: scale 2 or 4, got 3"]),
        (["model=redegnet", *TINY["redegnet"], "scale=3", "data.train.patch_size=48"], ["at scale 2 or 4, got 48"]),
        (["model=cmos", *TINY["cmos"], "data.batch_size=1"], ["data.batch_size"]),
        (["model=udke", *TINY["udke"], "data.train.patch_size=16"], ["UDKE", "at least 6x6, got 4x4"]),
        (["model=manet", *TINY["manet"], "manet.kernel_size=3"], ["manet.kernel_size=3", "manet.kernel_size=5"]),
        (["model=manet", *TINY["manet"], BY_STAGES, "stage=kernel"], ["stage=kernel", "kernels, true_kernels"]),
        (["model=manet", *TINY["manet"], BY_STAGES, "trainer.max_steps=2"], ["trainer.max_steps=2", "3 stages"]),
        (["model=rrdb", *TINY["rrdb"], "stage=kernels"], ["no stage of method=rrdb"]),
        (["model=manet", *TINY["manet"], "skip=bilinear"], ["skip=bilinear: must be bicubic, or null"]),
    ],
)  # fmt: skip
def test_what_a_method_cannot_do_is_said_in_one_line(arguments, words, synthetic, run, capsys):
    with pytest.raises(SystemExit):
        run(train, *COMMON, *synthetic, "trainer.max_steps=3", "test=false", *arguments)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    for word in words:
        assert word in line


def test_weights_of_another_method_are_refused_by_name(synthetic, run, capsys, tmp_path):
    run(train, *COMMON, *synthetic, "model=rrdb", *TINY["rrdb"], "trainer.max_steps=1", "test=false")
    (weights,) = tmp_path.glob("logs/*/runs/*/model.safetensors")
    with pytest.raises(SystemExit):
        run(train, *COMMON, *synthetic, "model=dasr", *TINY["dasr"], f"weights={weights}")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "model.safetensors: weights of another architecture" in line
    assert "method=rrdb" in line


@pytest.mark.parametrize("method", [method for method in TRAINED if not method.startswith("arcsr")])
def test_every_rival_s_card_tells_the_patches_that_it_is_trained_on(method):
    assert re.search(
        "[Tt]his run's (patches|data, crops)", " ".join(compose(["data=sample", f"model={method}"]).card.deviations)
    )


@pytest.mark.parametrize("kernels", ["known", "unknown", "measured"])
@pytest.mark.parametrize("methods", ["default", "all"])
def test_table_2_names_methods_that_its_data_can_train(methods, kernels):
    named = compose(["experiment=table2"]).rows[methods][kernels]
    assert set(named) <= set(METHODS)
    assert (kernels == "unknown") == (not set(named) & set(NEEDS_KERNELS))


@pytest.mark.parametrize(
    ("protocol", "method"),
    [*(("paper", method) for method in TRAINED), *(("published", method) for method in PUBLISHED)],
)
def test_every_stage_has_a_loss_and_parts_that_exist(method, protocol):
    patches = ["kernel_size=3", "data.train.patch_size=32"]
    cfg = compose(["data=sample", f"model={method}", f"protocol={protocol}", *sizes(method), *patches])
    children = dict(build_network(cfg.model).named_children())
    parts = stages_of(cfg)
    for stage in parts:
        assert build_loss(stage.config).supervision
        assert set(stage.config.trains or ()) <= set(children)
        assert as_plain_data(stage.config)["card"]["deviations"]
    assert all(before.first_step < after.first_step for before, after in pairwise(parts))

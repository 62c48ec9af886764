"""Seeds merged, differences paired, the reference chosen."""

import json

import numpy as np
import pytest

from arcsr_lightning.errors import InputError
from arcsr_lightning.results.markdown import interval_cell
from arcsr_lightning.results.runs import read_study
from arcsr_lightning.results.sections import study_sections
from arcsr_lightning.results.statistics import clustered_bootstrap

NAMES = [f"image{number}" for number in range(12)]


def entries(folder, reference=None):
    (section,) = study_sections(read_study(folder), reference)
    return section, {entry.label: entry for entry in section.entries}


def test_seeds_are_merged_and_their_spread_is_kept(job, tmp_path):
    for seed in (0, 1, 2):
        job("arcsr", seed)
    _, found = entries(tmp_path)
    score = found["arcsr"].scores[0.0]
    assert len(score.psnrs) == 3
    assert score.psnr.std == pytest.approx(0.1)  # seeds differ by 0.1 dB each
    assert score.ssim == pytest.approx((0.71, 0.01))
    assert found["arcsr"].images_per_s == pytest.approx((12, 1))
    assert list(found) == ["bicubic", "arcsr"]


def test_a_difference_pairs_images_by_name_and_seeds_by_number(job, psnr, tmp_path):
    for method in ("arcsr", "dasr"):
        for seed in (0, 1):
            path = job(method, seed) / "per_image.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(lines)]))
    job("arcsr", 2)  # has no partner
    _, found = entries(tmp_path)
    ours, theirs = (np.array([psnr(method, seed, 10.0) for seed in (0, 1)]) for method in ("dasr", "arcsr"))
    expected = clustered_bootstrap(ours - theirs, NAMES, np.random.default_rng(0))
    assert expected.mean == pytest.approx(-0.5)
    assert found["dasr"].scores[10.0].difference == pytest.approx(expected)
    assert found["arcsr"].scores[10.0].difference is None
    three = np.array([psnr("arcsr", seed, 10.0) for seed in (0, 1, 2)])
    expected = clustered_bootstrap(psnr("bicubic", 0, 10.0) - three, NAMES, np.random.default_rng(0))
    assert found["bicubic"].scores[10.0].difference == pytest.approx(expected)  # it has no seeds: paired with all


def test_methods_without_a_common_seed_and_perfect_images_have_no_difference(job, tmp_path):
    job("arcsr", 0)
    job("dasr", 1)
    _, found = entries(tmp_path)
    assert found["dasr"].scores[0.0].difference is None and found["dasr"].scores[0.0].gains == {}
    job("udke_lite", 0, edit=lambda report: report["rows"][1].update(psnr_rgb=None))
    _, found = entries(tmp_path)
    assert found["udke_lite"].scores[0.0].difference is None
    assert found["udke_lite"].scores[10.0].difference.mean == pytest.approx(-0.75)


def test_frames_of_a_sequence_are_drawn_together(job, psnr, tmp_path):
    for method in ("arcsr", "dasr"):
        job(method, 0, blurred=True)
    _, found = entries(tmp_path)
    gains = (psnr("dasr", 0, 0.0) - psnr("arcsr", 0, 0.0)).reshape(1, 12)
    expected = clustered_bootstrap(gains, [number // 4 for number in range(12)], np.random.default_rng(0))
    assert found["dasr"].scores[0.0].difference == pytest.approx(expected)


def test_terciles_sort_the_images_by_their_blur(job, psnr, tmp_path):
    """By hand: image n is blurred by 0.25 * (5n mod 12), so 0, 5, 10, 3 are the weakest four."""
    for method in ("arcsr", "dasr"):
        job(method, 0, blurred=True)
    section, found = entries(tmp_path)
    thirds = [["image0", "image5", "image10", "image3"], ["image8", "image1", "image6", "image11"]]
    thirds += [["image4", "image9", "image2", "image7"]]
    assert [tercile.names for tercile in section.terciles] == thirds
    assert [(t.low, t.high, t.mean) for t in section.terciles] == [(0, 0.75, 0.375), (1, 1.75, 1.375), (2, 2.75, 2.375)]
    for names, part in zip(thirds, found["dasr"].scores[10.0].parts, strict=True):
        numbers = [int(name.removeprefix("image")) for name in names]
        ours, theirs = psnr("dasr", 0, 10.0)[numbers], psnr("arcsr", 0, 10.0)[numbers]
        assert part.psnr == (pytest.approx(ours.mean()), None)
        assert part.difference.mean == pytest.approx((ours - theirs).mean())
    assert [entry.label for entry in section.compared] == ["dasr"]


def test_without_blur_or_with_one_blur_for_all_there_are_no_terciles(job, tmp_path):
    path = job("arcsr", 0, blurred=True) / "per_image.csv"
    assert len(entries(tmp_path)[0].terciles) == 3
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *(line.rpartition(",")[0] + ",1.5" for line in lines)]))
    assert entries(tmp_path)[0].terciles == []
    path.write_text("\n".join([header, lines[0].rpartition(",")[0] + ",", *lines[1:]]))
    assert entries(tmp_path)[0].terciles == []


def test_the_reference_is_arcsr_or_the_first_that_is_trained_or_as_asked(job, tmp_path):
    job("bicubic", 0)
    job("dasr", 0)
    job("udke_lite", 0)
    assert entries(tmp_path)[0].reference == "dasr"
    assert entries(tmp_path, "udke_lite")[0].reference == "udke_lite"
    assert entries(tmp_path, "bicubic")[1]["dasr"].scores[0.0].difference.mean == pytest.approx(0.5)
    job("arcsr", 0)
    assert entries(tmp_path)[0].reference == "arcsr"


def test_a_reference_is_a_label_before_it_is_a_method(job, tmp_path):
    job("arcsr", 0, overrides=["optimizer.lr=1e-3", "seed=0"])
    job("arcsr", 0, overrides=["seed=0"])
    assert entries(tmp_path)[0].reference == "arcsr"
    assert entries(tmp_path, "arcsr, optimizer.lr=1e-3")[0].reference == "arcsr, optimizer.lr=1e-3"


def test_an_unknown_reference_is_refused_with_those_there_are(job, tmp_path):
    job("dasr", 0)
    with pytest.raises(InputError, match="reference=arcsr: no method of this study; it has bicubic, dasr"):
        study_sections(read_study(tmp_path), "arcsr")


def test_a_reference_that_is_not_finished_is_waited_for(job, tmp_path):
    job("arcsr", 0, state="failed")
    job("dasr", 0)
    section, found = entries(tmp_path)
    assert section.reference is None
    assert found["dasr"].scores[0.0].difference is None


def test_two_settings_of_a_method_are_two_entries_named_by_what_was_typed(job, tmp_path):
    for rate in ("1e-4", "1e-3"):
        for seed in (0, 1):
            job("arcsr", seed, overrides=["data=gopro", f"optimizer.lr={rate}", f"seed={seed}"])
    _, found = entries(tmp_path)
    assert [(entry.label, entry.finished) for entry in found.values()] == [
        ("bicubic", 1),
        ("arcsr, optimizer.lr=1e-3", 2),
        ("arcsr, optimizer.lr=1e-4", 2),
    ]


def test_a_configuration_that_changed_between_two_seeds_makes_two_entries(job, tmp_path):
    job("arcsr", 0)
    path = job("arcsr", 1) / ".hydra" / "config.yaml"
    path.write_text(path.read_text().replace("max_steps: 400", "max_steps: 800"))
    _, found = entries(tmp_path)
    assert [entry.finished for entry in found.values()] == [1, 1, 1]


def test_what_a_reference_to_another_setting_hides_makes_two_entries(job, tmp_path):
    """Of two widths, both runs say ``${arcsr.width}``; what they were resolved to differs."""
    for seed, width in enumerate((16, 32)):
        path = (
            job("arcsr", seed, edit=lambda report, own=width: report["config"].update(model={"width": own}))
            / ".hydra/config.yaml"
        )
        path.write_text(path.read_text() + "model:\n  width: ${arcsr.width}\n")
    assert [entry.finished for entry in entries(tmp_path)[1].values()] == [1, 1, 1]


@pytest.mark.parametrize("line", ["stage: kernels", "weights: other.ckpt"])
def test_a_stage_alone_and_a_start_from_weights_are_no_seed_of_a_whole_training(job, tmp_path, line):
    job("arcsr", 0)
    path = job("arcsr", 1) / ".hydra/config.yaml"
    path.write_text(f"{path.read_text()}{line}\n")
    assert len(entries(tmp_path)[1]) == 3  # with bicubic


def test_however_a_seed_is_typed_it_is_one(job, tmp_path):
    for seed in (0, 1):
        job("arcsr", seed, overrides=["model=arcsr", f"++seed={seed}"])
    assert {label: entry.finished for label, entry in entries(tmp_path)[1].items()} == {"bicubic": 1, "arcsr": 2}


def test_two_checkpoints_of_a_training_are_two_entries(job, tmp_path):
    for name in ("best", "last"):
        path = job("arcsr", 0, overrides=[f"weights={name}"]) / ".hydra/config.yaml"
        path.write_text(path.read_text().replace("\ntrain: true", f"\nweights: {name}"))
    assert list(entries(tmp_path)[1]) == ["bicubic", "arcsr, weights-best", "arcsr, weights-last"]


def test_seeds_that_failed_or_never_began_are_counted_as_planned(job, tmp_path):
    job("arcsr", 0)
    job("arcsr", 1, state="failed")
    job("dasr", 0, state="failed")
    planned = [[f"model={method}", "data=gopro", f"seed={seed}"] for method in ("arcsr", "dasr") for seed in (0, 1, 2)]
    (tmp_path / "jobs.json").write_text(json.dumps({"jobs": planned}))
    _, found = entries(tmp_path)
    counts = {label: (entry.finished, entry.planned, entry.state) for label, entry in found.items()}
    assert counts["arcsr"] == (1, 3, "finished")
    assert counts["dasr"] == (0, 3, "failed")


def test_seeds_scored_on_other_images_cannot_be_merged(job, tmp_path):
    job("arcsr", 0)
    path = job("arcsr", 1) / "per_image.csv"
    path.write_text(path.read_text().replace("image3", "another"))
    with pytest.raises(InputError, match="model-arcsr.*seed-0 and .*seed-1 differ in the test images"):
        study_sections(read_study(tmp_path))


def test_a_difference_has_an_interval_where_there_is_more_than_one_group_or_seed():
    gains = np.array([[0.1, 0.5]])
    assert interval_cell(clustered_bootstrap(gains, ["clip", "clip"], np.random.default_rng(0))) == "+0.30"
    assert interval_cell(clustered_bootstrap(gains, ["a", "b"], np.random.default_rng(0))) == "+0.30 [+0.10, +0.50]"
    assert interval_cell(None) == "-"

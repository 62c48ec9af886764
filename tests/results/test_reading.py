"""Whatever is wrong with a file of a study ends in one line that names it."""

import copy
import json
import re

import pytest

from arcsr_lightning.errors import InputError
from arcsr_lightning.results import compare
from arcsr_lightning.results.csv_rows import mean_rows, run_rows
from arcsr_lightning.results.markdown import results_markdown
from arcsr_lightning.results.reading import check_shape
from arcsr_lightning.results.runs import read_study
from arcsr_lightning.results.sections import study_sections
from tests.conftest import slow, some

FILES = [
    "jobs.json",
    "*/.hydra/config.yaml",
    "*/.hydra/overrides.yaml",
    "*/.hydra/hydra.yaml",
    "*/metrics.json",
    "*/per_image.csv",
    "*/csv/version_0/metrics.csv",
    "*/FAILED",
]
DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "binary": lambda content: b"\x00\xff\xfe" + content[3:],
    "[]": lambda content: b"[]",
    "{}": lambda content: b"{}",
    "null": lambda content: b"null",
    "number": lambda content: b"3",
    "other text": lambda content: b"key: [value",
    "deep": lambda content: b"[" * 50_000,
    "gone": None,
}
HARMLESS = {  # what is a study all the same
    *(("FAILED", damage) for damage in DAMAGES if damage != "binary"),
    *(("metrics.csv", damage) for damage in DAMAGES if damage != "binary"),  # no speed is known then
    ("jobs.json", "gone"),
    ("overrides.yaml", "[]"),
    ("overrides.yaml", "cut"),
    ("metrics.json", "gone"),  # a run without a test
}


def tabulate(folder):
    """What ``compare`` makes, without the files."""
    study = read_study(folder)
    sections = study_sections(study)
    results_markdown(study, sections)
    run_rows(study)
    return [row for section in sections for row in mean_rows(section)]


@pytest.fixture
def study(job, tmp_path):
    job("dasr", 0)
    job("arcsr", 0)
    (job("arcsr", 1, state="failed") / "FAILED").write_text("the loss is nan at step 7\n" * 3)
    (tmp_path / "jobs.json").write_text(json.dumps({"typed": ["seed=0,1"], "jobs": [["model=arcsr", "seed=2"]]}))
    return tmp_path


@pytest.mark.parametrize("pattern", FILES)
@pytest.mark.parametrize("damage", [some(damage, "cut", "null", "gone") for damage in DAMAGES])
def test_a_damaged_file_is_named_in_one_line(study, pattern, damage):
    path = min(study.glob(pattern))
    if DAMAGES[damage] is None:
        path.unlink()
    else:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    if (path.name, damage) in HARMLESS:
        assert tabulate(study)
        return
    lines = []
    table = compare(study, note_damage=lines.append).read_text()
    (line,) = lines
    assert line.startswith(f"{path}: ") and "\n" not in line
    assert line in table
    others = {"model-arcsr_data-gopro_seed-0": "arcsr", "model-dasr_data-gopro_seed-0": "dasr"}
    others.pop(path.relative_to(study).parts[0], None)
    assert others and all(f"| {method} | 1" in table for method in others.values())


def places(node, path=()):
    """The keys to every value below a node of JSON."""
    for key, child in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield (*path, key)
        yield from places(child, (*path, key))


@pytest.mark.parametrize(
    "value", [None, slow([]), slow({}), slow("text"), -1, slow(0.5), slow(True), slow([None]), slow(" ")], ids=repr
)
def test_whatever_stands_in_a_report_is_tabulated_or_named(job, tmp_path, value):
    def edit(report):
        report["rows"][1]["lpips"] = 0.25
        report["method"]["latency_s"] = 0.5
        report["perceptual"] = [{"name": "lpips", "better": "lower", "missing": None}]

    path = job("arcsr", 0, edit=edit) / "metrics.json"
    job("dasr", 0)
    good = json.loads(path.read_text())
    for place in places(good):
        report = copy.deepcopy(good)
        node = report
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = value
        path.write_text(json.dumps(report))
        try:
            tabulate(tmp_path)
        except InputError as error:
            line = str(error)
            named = line.startswith(f"{path.parent}/") or re.match(r"\S+ and \S+ differ in ", line)
            assert named and "\n" not in line, place


@pytest.mark.parametrize("change", [("2", "x"), ("arcsr", "bicubic"), (",", ";"), (".", "9.")])
def test_a_damaged_line_of_the_scores_of_images_blames_its_file(study, change):
    (path,) = study.glob("model-arcsr*/per_image.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1].replace(*change)]))
    (line,) = read_study(study).damages
    assert line.startswith(f"{path}: damaged")


def test_a_throughput_that_is_no_number_blames_its_file(study):
    path = next(study.glob("*/csv/version_0/metrics.csv"))
    path.write_text("train/images_per_s\n12\n1-2\n")
    (line,) = read_study(study).damages
    assert line.startswith(f"{path}: damaged, '1-2'")


def test_tables_that_cannot_be_written_are_named(study):
    (study / "results.md").mkdir()
    with pytest.raises(InputError, match=r"cannot write the tables: .*results\.md") as caught:
        compare(study)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "shape", "words"),
    [
        (3, str, "the file must be text, not a whole number"),
        (True, int, "the file must be a whole number, not true or false"),
        ([1, "a"], [int], "[1] must be a whole number, not text"),
        ({"a": {"b": None}}, {"a": {"b": (int, float)}}, "a.b must be a whole number or a number, not null"),
        ({"a": [{"b": 1}, {}]}, {"a": [{"b": int}]}, "b is missing in a[1]"),
        ({}, {"a": int}, "a is missing"),
        ({"a": "x"}, {"a?": int}, "a must be a whole number, not text"),
    ],
)
def test_a_shape_says_what_does_not_fit_it(value, shape, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        check_shape(value, shape)


@pytest.mark.parametrize("value", [{"a": 1, "c": {}}, {"a": 1, "b": None}, {"a": 1, "b": []}, {"a": 1, "b": ["x"]}])
def test_more_keys_and_none_of_the_optional_ones_fit(value):
    check_shape(value, {"a": int, "b?": [str]})

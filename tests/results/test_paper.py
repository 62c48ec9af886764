"""The paper's figures by what its text says of them, and by its tables, retyped row by row."""

import pytest

from arcsr_lightning import CONF_DIR
from arcsr_lightning.results.paper import ABLATIONS, PUBLICATIONS, TABLE_1, TABLE_2, published

PRINTED = """
1  0 arcsr_baseline  23.63 0.64 24.17 0.70
1  0 arcsr_no_dmconv 23.76 0.65 24.28 0.71
1  0 arcsr_no_kgconv 23.74 0.64 24.23 0.71
1  0 arcsr           24.04 0.66 24.33 0.72
2  0 dasr            23.86 0.65 23.27 0.72
2  0 manet           23.95 0.66 23.89 0.72
2  0 udke            23.86 0.64 23.82 0.72
2  0 redegnet        22.56 0.65 17.80 0.66
2  0 cmos            23.94 0.65 23.89 0.71
2  0 arcsr           24.04 0.66 24.33 0.73
2 10 dasr            23.36 0.61 22.70 0.69
2 10 manet           23.45 0.63 23.39 0.72
2 10 udke            23.47 0.61 23.47 0.71
2 10 redegnet        18.06 0.58 17.32 0.63
2 10 cmos            23.46 0.61 23.47 0.70
2 10 arcsr           23.48 0.63 23.47 0.72
"""


def psnr(method, data, level=0.0, ablations=False):
    return published(method, data, 4, level, ablations).psnr


@pytest.mark.parametrize("line", PRINTED.split("\n")[1:-1])
def test_a_row_is_as_printed(line):
    table, level, method, *figures = line.split()
    row = (published(method, data, 4, float(level), table == "1") for data in ("reds", "gopro"))
    assert [figure for cell in row for figure in cell] == [float(figure) for figure in figures]


def test_there_are_no_other_rows():
    assert sum(len(rows) for table in (TABLE_1, TABLE_2) for rows in table.values()) == len(PRINTED.split("\n")) - 2


@pytest.mark.parametrize(
    ("method", "other", "data", "gain", "ablations"),
    [
        ("arcsr_no_dmconv", "arcsr_baseline", "reds", 0.13, True),  # Sec. 4.3: KGconv
        ("arcsr_no_dmconv", "arcsr_baseline", "gopro", 0.11, True),
        ("arcsr_no_kgconv", "arcsr_baseline", "reds", 0.11, True),  # DMconv
        ("arcsr_no_kgconv", "arcsr_baseline", "gopro", 0.06, True),
        ("arcsr", "manet", "reds", 0.09, False),  # Sec. 4.4, which exchanges the data sets
        ("arcsr", "manet", "gopro", 0.44, False),
    ],
)
def test_the_gains_of_the_text_are_those_of_the_tables(method, other, data, gain, ablations):
    assert psnr(method, data, 0, ablations) - psnr(other, data, 0, ablations) == pytest.approx(gain)


def test_arcsr_on_gopro_has_the_ssim_of_the_table_that_the_study_belongs_to():
    assert [published("arcsr", "gopro", 4, 0, ablations).ssim for ablations in (True, False)] == [0.72, 0.73]


def test_variants_have_the_figures_of_their_publication():
    found = {published(name, "reds", 4, 10, False) for name in ("manet", "manet_pairs", "manet_reblur")}
    assert found == {(23.45, 0.63)}


def test_what_the_paper_does_not_report_has_no_figures():
    assert published("arcsr_baseline", "gopro", 4, 10, True) is None  # Table 1 is without noise
    assert published("arcsr_no_kernel", "gopro", 4, 0, True) is None
    assert published("rrdb", "gopro", 4, 0, False) is None
    assert published("arcsr", "sample", 4, 0, False) is None
    assert published("arcsr", "gopro", 2, 0, False) is None


def test_the_names_are_those_of_our_methods():
    named = {*PUBLICATIONS, *PUBLICATIONS.values(), *(name for rows in TABLE_2.values() for name in rows)}
    assert named <= {path.stem for path in CONF_DIR.glob("model/*.yaml")}
    ablations = "".join(path.read_text() for path in CONF_DIR.glob("ablation/*.yaml"))
    assert all(f"method: {name}\n" in ablations for name in ABLATIONS | set(TABLE_1[0]))

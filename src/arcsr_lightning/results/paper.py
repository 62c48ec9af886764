"""The figures that the paper prints: its Tables 1 and 2, x4, PSNR in dB.

Neither table has a blank. They agree where they meet but for one figure: ArcSR's SSIM on GoPro without noise is 0.72 in
Table 1 and 0.73 in Table 2. The text beside Table 2 exchanges the data sets (docs/paper_notes.md). CMOS is there as the
authors' own re-implementation. How they scored (colour, border, which images) is not said.
"""

from typing import NamedTuple


class Figures(NamedTuple):
    """PSNR in dB and SSIM."""

    psnr: float
    ssim: float


SCALE = 4
# PSNR and SSIM on REDS, then on GoPro, by noise level and method.
TABLE_1 = {
    0: {
        "arcsr_baseline": (23.63, 0.64, 24.17, 0.70),
        "arcsr_no_dmconv": (23.76, 0.65, 24.28, 0.71),
        "arcsr_no_kgconv": (23.74, 0.64, 24.23, 0.71),
        "arcsr": (24.04, 0.66, 24.33, 0.72),
    }
}
TABLE_2 = {
    0: {
        "dasr": (23.86, 0.65, 23.27, 0.72),
        "manet": (23.95, 0.66, 23.89, 0.72),
        "udke": (23.86, 0.64, 23.82, 0.72),
        "redegnet": (22.56, 0.65, 17.80, 0.66),
        "cmos": (23.94, 0.65, 23.89, 0.71),
        "arcsr": (24.04, 0.66, 24.33, 0.73),
    },
    10: {
        "dasr": (23.36, 0.61, 22.70, 0.69),
        "manet": (23.45, 0.63, 23.39, 0.72),
        "udke": (23.47, 0.61, 23.47, 0.71),
        "redegnet": (18.06, 0.58, 17.32, 0.63),
        "cmos": (23.46, 0.61, 23.47, 0.70),
        "arcsr": (23.48, 0.63, 23.47, 0.72),
    },
}
COLUMNS = {"reds": 0, "gopro": 2}
ABLATIONS = {"arcsr_baseline", "arcsr_no_dmconv", "arcsr_no_kgconv", "arcsr_no_kernel", "arcsr_mean_kernel"}
PUBLICATIONS = {  # variants of a publication are compared with its figures
    "manet_pairs": "manet",
    "manet_reblur": "manet",
    "udke_lite": "udke",
    "redegnet_gan": "redegnet",
    "cmos_proxy": "cmos",
}


def published(method: str, data: str, scale: int, noise_level: float, ablations: bool) -> Figures | None:
    """What the paper reports, None where it reports nothing.

    A study of ``ablations`` is compared with Table 1, and with Table 2 where that has no figure; any other the other
    way round.
    """
    if scale != SCALE or data not in COLUMNS:
        return None
    name = PUBLICATIONS.get(method, method)
    for table in (TABLE_1, TABLE_2) if ablations else (TABLE_2, TABLE_1):
        if row := table.get(noise_level, {}).get(name):
            return Figures(*row[COLUMNS[data] :][:2])
    return None

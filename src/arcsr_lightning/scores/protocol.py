"""How scores are measured, in words; what reads scores needs no more than this."""

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # pixels of the Gaussian window
PERCEPTUAL = {"lpips": "lower", "dists": "lower", "arniqa": "higher"}  # by networks of others; which is better
TRUTH = {"arniqa": "arniqa_hr"}  # the scores without a reference, and what the ground truth's own is called
KERNEL_SCORES = ("kernel_skill", "kernel_amount", "kernel_direction")  # of all images together, beside kernel_error
ARROWS = {"lower": "↓", "higher": "↑"}


def with_arrow(name: str) -> str:
    """A perceptual score's name, and where better is."""
    return f"{name} {ARROWS[PERCEPTUAL[name]]}"


def protocol(border: int) -> dict[str, str | int]:
    """How ``scores.metrics.score`` measures with this border, to stand beside every number."""
    return {
        "colour": "RGB, and Y of BT.601 studio range",
        "border": border,
        "rounding": "8 bit",
        "data_range": 1,
        "ssim": f"Gaussian window {SSIM_WINDOW}, sigma {SSIM_SIGMA}, valid region",
        "average": "mean over whole images",
        "noise": "Gaussian, sigma in 8-bit levels, added to the LR image",
    }

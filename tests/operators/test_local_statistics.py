import torch

from arcsr_lightning.operators import local_contrast_normalised


def test_local_contrast_agrees_with_loops_over_pixels():
    x = torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    expected = torch.empty_like(x)
    for i in range(7):
        for j in range(9):
            window = x[0, :, max(0, i - 2) : i + 3, max(0, j - 2) : j + 3].flatten(1)
            deviation = (window.var(dim=1, unbiased=False).mean() + (1 / 255) ** 2).sqrt()
            expected[0, :, i, j] = (x[0, :, i, j] - window.mean(dim=1)) / deviation
    torch.testing.assert_close(local_contrast_normalised(x, window=5), expected, rtol=1e-4, atol=1e-4)

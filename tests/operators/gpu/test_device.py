"""PyTorch does the work where Triton cannot, and one line says why."""

import pytest
import torch

from arcsr_lightning.operators.gpu import device


def fails(number):
    raise RuntimeError("Failed to find C compiler.\nPlease specify")


def is_missing(number):
    raise ModuleNotFoundError("No module named 'triton'")


@pytest.mark.parametrize(
    ("capability", "launch", "works", "said"),
    [
        ((9, 0), lambda number: None, True, None),
        ((7, 5), lambda number: None, False, "compute capability 7.5, 8.0 is needed"),
        ((9, 0), fails, False, "Failed to find C compiler."),
        ((9, 0), is_missing, False, "No module named 'triton'"),
    ],
)
def test_pytorch_does_the_work_where_triton_cannot(capability, launch, works, said, monkeypatch, caplog):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: capability)
    monkeypatch.setattr(device, "_try", launch)
    device._works.cache_clear()
    assert [device._supports(0), device._supports(0)] == [works, works]
    line = f"Triton does not work here ({said}): PyTorch computes both operators, slower"
    assert caplog.messages == ([line] if said else [])  # once
    device._works.cache_clear()


def test_where_cuda_is_rocm_pytorch_does_the_work(monkeypatch, caplog):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: (9, 4))
    monkeypatch.setattr(device, "_try", lambda number: None)
    device._works.cache_clear()
    assert not device._supports(0)
    assert "(ROCm, whose tensors call themselves CUDA's)" in caplog.text
    device._works.cache_clear()

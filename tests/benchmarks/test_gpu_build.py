"""The Triton kernels compile for an H100, without one, to what is counted there."""

import pytest

pytest.importorskip("triton")

from benchmarks import gpu_build

KERNELS = {f"{one.name}, {one.dtype}, {one.precision}": one for one in gpu_build.kernels()}
HALF = [name for name in KERNELS if name.endswith("bf16, tf32") and " of 64" not in name and " of 16" not in name]


@pytest.fixture
def built(monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def build(name):
        kernel = KERNELS[name]
        return gpu_build.build(kernel, kernel.tuned.configs[0])

    return build


@pytest.mark.parametrize("name", HALF)
def test_tensor_cores_multiply_half_precision_and_registers_suffice(built, name):
    found = built(name)
    assert found.products > 0
    assert found.spilled == 0
    assert found.registers <= 255
    assert (found.atomics > 0) == name.startswith("DMconv of 32, gradients of x")  # all other sums repeat bit by bit


def test_exact_float32_is_multiplied_elsewhere(built):
    found = built("KGconv, forward, fp32, ieee")
    assert found.products == 0
    assert found.multiplications > 0


def test_a_loop_goes_from_its_label_to_the_branch_back():
    code = """
.L_x_1:
        /*0010*/                   FFMA R1, R2, R3, R1 ;
.L_x_2:
        /*0020*/                   HGMMA.64x64x16.F32.BF16 R24, gdesc[UR4], R24 ;
        /*0028*/                   HFMA2.MMA R2, -RZ, RZ, 0, 0 ;
        /*002c*/                   LDGDEPBAR ;
        /*0030*/                   LDGSTS.E.BYPASS.128 [R5], desc[UR6][R2.64] ;
        /*0040*/              @P0  BRA `(.L_x_2) ;
        /*0050*/                   BRA `(.L_x_1) ;
        /*0060*/              @P1  BRA `(.L_x_3) ;
.L_x_3:
        /*0070*/                   RED.E.ADD.F32.FTZ.RN desc[UR6][R2.64], R4 ;
"""
    loop = gpu_build.longest_loop(code)
    assert len(loop) == 7
    assert [gpu_build.count(name, loop) for name in ("HMMA|HGMMA", "FFMA", "LDG|LDGSTS", "RED")] == [1, 1, 1, 0]
    assert len(gpu_build.longest_loop(code.replace("BRA", "RET"))) == 9  # unrolled: all there is

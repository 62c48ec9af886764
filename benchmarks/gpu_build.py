"""What the Triton kernels become on an H100, built without one: ``python -m benchmarks.gpu_build``.

Registers, what does not fit into them, and the instructions of the loop over the taps. Needs Triton, with which the
assembler and the disassembler come.
"""

import argparse
import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from arcsr_lightning.files import write_csv
from arcsr_lightning.operators.gpu import deform_conv, kernel_guided_conv

H100 = GPUTarget("cuda", 90, 32)
TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
INTEGERS = ("pixels", "height", "width", "out_height", "out_width")
SUMS = ("sums", "grad_x")  # pointers to float32 whatever the dtype
SETTINGS = (("bf16", "tf32"), ("fp32", "tf32"), ("fp32", "ieee"))  # dtype, how float32 is multiplied
CHANNELS, KERNEL_SIZE, SIDE = 64, 7, 64  # of a KGconv
PRODUCTS, MULTIPLICATIONS = "HMMA|HGMMA", "FFMA"  # on tensor cores, and elsewhere
DEFORMED = (16, 32, 64)  # channels of a DMconv's convolutions


@dataclass(frozen=True)
class Kernel:
    """A tuned kernel, and the constants that make one program of it but for the tile."""

    name: str
    dtype: str
    precision: str
    tuned: Any
    constants: dict[str, Any]


@dataclass(frozen=True)
class Built:
    """``loop``: instructions of the longest loop that multiplies, and those of them that are of a kind.

    Where a loop is unrolled whole, of all.
    """

    registers: int  # a thread
    spilled: int  # bytes a thread
    shared: int  # bytes a program
    loop: int
    products: int  # on tensor cores
    multiplications: int  # on others
    loads: int
    atomics: int


def kernels() -> Iterator[Kernel]:
    for dtype, precision in SETTINGS:
        kind: dict[str, Any] = {"KS": KERNEL_SIZE, "MANY": True, "PRECISION": precision}
        taps = {"K": CHANNELS, "N": CHANNELS, "BLOCK_K": 16 if precision == "ieee" else CHANNELS, "BLOCK_N": CHANNELS}
        forward = taps | kind | {"BACKWARD": False, "features": None, "grad_kernel": None}
        backward = taps | kind | {"BACKWARD": True}
        sizes = {"C": CHANNELS, "O": CHANNELS, "BLOCK_C": CHANNELS, "BLOCK_O": CHANNELS, "HEIGHT": SIDE, "WIDTH": SIDE}
        tuned = kernel_guided_conv._taps_kernel
        yield Kernel("KGconv, forward", dtype, precision, tuned, forward)
        yield Kernel("KGconv, gradients of x and kernel", dtype, precision, tuned, backward)
        tuned = kernel_guided_conv._weight_gradient_kernel
        yield Kernel("KGconv, gradient of weight", dtype, precision, tuned, sizes | kind)
        for channels in DEFORMED:
            sizes = {"C": channels, "O": channels, "BLOCK_C": channels, "BLOCK_O": channels, "KH": 3, "KW": 3}
            steps = dict.fromkeys(("DOWN", "ACROSS", "TOP", "LEFT", "DILATED_DOWN", "DILATED_ACROSS"), 1)
            constants = sizes | steps | {"MANY": True, "PRECISION": precision}
            for name, tuned in (
                ("forward", deform_conv._forward_kernel),
                ("gradients of x and offset", deform_conv._pixel_gradients_kernel),
                ("gradient of weight", deform_conv._weight_gradient_kernel),
            ):
                yield Kernel(f"DMconv of {channels}, {name}", dtype, precision, tuned, constants)


def build(kernel: Kernel, config: triton.Config) -> Built:
    constants = kernel.constants | config.kwargs
    types = dict.fromkeys(INTEGERS, "i32") | dict.fromkeys(SUMS, "*fp32") | dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, f"*{kernel.dtype}") for name in kernel.tuned.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind[0] == "*"}
    source = ASTSource(kernel.tuned.fn, signature, constants, aligned)
    options = {"num_warps": config.num_warps, "num_stages": config.num_stages}
    with warnings.catch_warnings(), tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        warnings.simplefilter("ignore")
        program = triton.compile(source, target=H100, options=options)
        file.write(program.asm["cubin"])
        file.flush()
        usage, code = tool("cuobjdump", "-res-usage", file.name), tool("nvdisasm", "-c", file.name)
    loop = longest_loop(code)
    return Built(
        registers=int(re.findall(r"REG:(\d+)", usage)[0]),
        spilled=int(re.findall(r"STACK:(\d+)", usage)[0]),
        shared=program.metadata.shared,
        loop=len(loop),
        products=count(PRODUCTS, loop),
        multiplications=count(MULTIPLICATIONS, loop),
        loads=count("LDG|LDGSTS", loop),  # to registers, or to shared memory
        atomics=count("REDG?|ATOMG?", loop),
    )


def tool(name: str, *arguments: str) -> str:
    return subprocess.run([TOOLS / name, *arguments], capture_output=True, text=True, check=True).stdout


def longest_loop(code: str) -> list[str]:
    """The instructions from a label to the branch back to it; all, where no loop multiplies."""
    lines = [line for line in code.splitlines() if line.startswith(".L_") or re.search(r"/\*[0-9a-f]{4,5}\*/", line)]
    labels = {line.strip()[:-1]: number for number, line in enumerate(lines) if line.startswith(".L_")}
    loops = []
    for end, line in enumerate(lines):
        target = re.search(r"BRA.*`\((\.L_\w+)\)", line)
        if target and labels.get(target[1], end) < end:
            loops.append([one for one in lines[labels[target[1]] : end + 1] if not one.startswith(".L_")])
    multiply = [loop for loop in loops if count(f"{PRODUCTS}|{MULTIPLICATIONS}", loop)]
    return max(multiply, key=len, default=[one for one in lines if not one.startswith(".L_")])


def count(names: str, instructions: list[str]) -> int:
    """How many instructions have one of these names, a regular expression; what follows a dot is no part of a name."""
    return sum(bool(re.search(rf"[/*\s](?:{names})[\s.]", one)) for one in instructions)


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.gpu_build", description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, nargs="?", default=Path("experiments/benchmarks/gpu_build.csv"))
    output = parser.parse_args().output
    rows = []
    for kernel in kernels():
        for config in kernel.tuned.configs:
            tile = {"pixels": config.kwargs["BLOCK_P"], "warps": config.num_warps, "stages": config.num_stages}
            kind = {"kernel": kernel.name, "dtype": kernel.dtype, "precision": kernel.precision}
            rows.append({**kind, **tile, **asdict(build(kernel, config))})
            print(*rows[-1].values(), sep=", ", flush=True)
    write_csv(output, rows)


if __name__ == "__main__":
    main()

"""The library is built once and found again; whatever keeps it from being built, the operators work."""

import logging
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from arcsr_lightning.operators import (
    deform_conv2d,
    deform_conv2d_plain,
    kernel_guided_conv2d,
    kernel_guided_conv2d_reference,
)
from arcsr_lightning.operators.native import build
from tests.operators.native.allowance import needs_library


@pytest.fixture
def fresh(monkeypatch, tmp_path, caplog):
    """A cache folder that is empty, and nothing loaded; yields the folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ARCSR_NATIVE", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    caplog.set_level(logging.INFO)
    for function in (build.load, build._say):
        function.cache_clear()
    yield tmp_path / "arcsr_lightning"
    for function in (build.load, build._say):
        function.cache_clear()


def check_that_it_works():
    torch.manual_seed(0)
    x, kernel, offset, *weights = (
        torch.randn(shape) for shape in ((1, 2, 5, 6), (1, 9, 5, 6), (1, 18, 3, 4), (3, 2, 3, 3), (3,))
    )
    guided, deformed = (x, kernel, *weights), (x, offset, *weights)
    torch.testing.assert_close(kernel_guided_conv2d(*guided), kernel_guided_conv2d_reference(*guided))
    torch.testing.assert_close(deform_conv2d(*deformed), deform_conv2d_plain(*deformed))


@pytest.fixture
def compiler(fresh, monkeypatch):
    """``compiler(commands)``: a shell script is the only compiler; returns it."""

    def only(commands: str) -> Path:
        script = fresh.parent / "compiler"
        script.write_text(f"#!/bin/sh\n{commands}\n")
        script.chmod(0o755)
        monkeypatch.setenv("CXX", str(script))
        return script

    return only


@needs_library
def test_a_library_is_built_once_and_loaded_from_then_on(fresh, compiler):
    real = next(path for name in build.COMPILERS if (path := shutil.which(name)))
    script = compiler(f'echo called >> "$0.log"; exec {shlex.quote(real)} "$@"')
    check_that_it_works()
    build.load.cache_clear()
    assert build.load("float", "operators") is not None
    assert script.with_suffix(".log").read_text() == "called\n"
    assert [path.suffix for path in sorted(fresh.iterdir())] == [".lock", ".so"]


def test_another_header_is_another_library(tmp_path):
    folder = shutil.copytree(build.SOURCES, tmp_path / "native")
    keys = {build._key(folder / "blur.cpp", [])}
    (folder / "vectors.hpp").write_text("#pragma once\n")
    keys.add(build._key(folder / "blur.cpp", []))
    (folder / "operators.cpp").unlink()  # of which the blur needs nothing
    keys.add(build._key(folder / "blur.cpp", []))
    assert len(keys) == 2


@needs_library
def test_a_processor_with_narrower_vectors_computes_the_same(fresh, monkeypatch):
    """Python gives room for rows that C++ rounds up to whole vectors, which on others are half as wide as on some."""
    narrow = ["-march=haswell" if flag == "-march=native" else flag for flag in build.FLAGS]  # AVX2 and FMA
    monkeypatch.setattr(build, "FLAGS", narrow)
    generator = torch.Generator().manual_seed(0)
    for ours, reference, shapes in (
        (kernel_guided_conv2d, kernel_guided_conv2d_reference, ((2, 3, 5, 6), (2, 9, 5, 6), (5, 3, 3, 3))),
        (deform_conv2d, deform_conv2d_plain, ((2, 3, 5, 6), (2, 18, 3, 4), (5, 3, 3, 3))),
    ):
        inputs = [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]
        results = [operator(*inputs) for operator in (ours, reference)]
        torch.testing.assert_close(*results)
        cotangent = torch.randn(results[0].shape, generator=generator)
        torch.testing.assert_close(*(torch.autograd.grad(out, inputs, cotangent) for out in results))
    assert len(list(fresh.glob("*.so"))) == 1  # of float, built here


def test_asked_not_to_it_builds_nothing_and_says_so_once(fresh, monkeypatch, caplog):
    monkeypatch.setenv("ARCSR_NATIVE", "0")
    check_that_it_works()
    build.load.cache_clear()
    check_that_it_works()
    assert build.load("double", "operators") is None
    assert [record.message.endswith("ARCSR_NATIVE=0") for record in caplog.records] == [True]
    assert not fresh.exists()


def test_without_a_compiler_pytorch_does_the_work(fresh, monkeypatch, caplog):
    monkeypatch.setenv("PATH", "")
    check_that_it_works()
    assert build.load("float", "operators") is None
    assert "no C++ compiler" in caplog.text


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        ('echo "x.cpp:1: error: no such thing" >&2; exit 1', "no such thing"),
        ("exit 1", "it failed"),
        ("exit 0", "No such file"),  # and wrote nothing
        ('while [ "$1" != -o ]; do shift; done; echo nonsense > "$2"', "invalid ELF header|file too short"),
    ],
)
@pytest.mark.skipif(not torch.backends.cpu.get_cpu_capability().startswith("AVX"), reason="not for this processor")
def test_with_a_broken_compiler_pytorch_does_the_work(commands, message, fresh, compiler, caplog):
    compiler(commands)
    check_that_it_works()
    assert build.load("float", "operators") is None
    (record,) = caplog.records
    assert any(part in record.message for part in message.split("|"))
    assert "\n" not in record.message
    assert not [path for path in fresh.iterdir() if path.suffix != ".lock"]


@needs_library
def test_where_the_cache_cannot_be_written_the_library_serves_one_process(fresh):
    fresh.touch()  # no folder can be made in its place, whoever runs this
    assert build.load("float", "operators") is not None
    check_that_it_works()
    assert fresh.read_bytes() == b""


@needs_library
@pytest.mark.slow
def test_two_processes_that_build_at_once_share_one_library(fresh, compiler):
    real = next(path for name in build.COMPILERS if (path := shutil.which(name)))
    script = compiler(f'echo called >> "$0.log"; exec {shlex.quote(real)} "$@"')
    code = "from arcsr_lightning.operators.native.build import load; assert load('float', 'operators') is not None"
    environment = os.environ | {"PYTHONPATH": str(Path(build.__file__).parents[3])}
    processes = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert script.with_suffix(".log").read_text() == "called\n"


@pytest.mark.slow
@needs_library
def test_sanitizers_find_nothing(fresh, compiler):
    """Addresses, and what C++ leaves undefined: over all tests of what is compiled, with libraries built for that."""
    real = next(path for name in build.COMPILERS if (path := shutil.which(name)))
    sanitizers = "-fsanitize=address,undefined -fno-sanitize-recover=all"
    compiler(f'unset LD_PRELOAD; exec {shlex.quote(real)} {sanitizers} "$@"')  # itself it need not be watched
    libraries = [
        subprocess.run([real, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    if not all(Path(library).is_absolute() for library in libraries):
        pytest.skip("the compiler has no sanitizers")
    environment = os.environ | {
        "PYTHONPATH": str(Path(build.__file__).parents[3]),
        "LD_PRELOAD": ":".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # of Python
        "OMP_NUM_THREADS": "1",
    }
    here = Path(__file__).parent
    tests = here / "test_native.py", here.parents[1] / "degradation" / "test_blur.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *map(str, tests)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "skipped" not in done.stdout

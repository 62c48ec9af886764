"""Where there may be no library: everywhere else, one that cannot be built fails the tests instead of skipping them."""

import os
import shlex
import shutil

import pytest
import torch

from arcsr_lightning.operators.native import build

COMPILERS = (*shlex.split(os.environ.get("CXX", ""))[:1], *build.COMPILERS)
MAY_LACK = (
    os.environ.get("ARCSR_NATIVE") == "0"
    or not torch.backends.cpu.get_cpu_capability().startswith("AVX")
    or not any(map(shutil.which, COMPILERS))
)
REASON = "no compiler, not for this processor, or ARCSR_NATIVE=0"
needs_library = pytest.mark.skipif(MAY_LACK, reason=REASON)

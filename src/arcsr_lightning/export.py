"""``arcsr-export``: a network as a program for other runtimes, ONNX or torch.export, for images of any size."""

import json
import logging
import os
from importlib.util import find_spec
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from arcsr_lightning import launch
from arcsr_lightning.errors import InputError, first_line
from arcsr_lightning.files import write_aside
from arcsr_lightning.runs.weights import Saved, build_saved, find_weights, read_saved

ENDINGS = {"torch": ".pt2", "onnx": ".onnx"}  # of the files, by format
OPSET = 18  # of ONNX: what torch.onnx writes without converting it
NEEDED = ("onnx", "onnxscript")  # by torch.onnx, the extra [export]
SIZE = (41, 53)  # LR pixels of the example that torch.export follows; odd, so that no size is taken for another


class Program(nn.Module):
    """What is exported: tensors in, tensors out.

    Shapes: RGB in [0, 1], (1, 3, H, W) -> sr (1, 3, s*H, s*W), not clamped, and kernel (1, ks*ks, H, W) where the
    network estimates one.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr: Tensor) -> tuple[Tensor, ...]:
        return tuple(output for output in self.network(lr) if output is not None)


def export(cfg: DictConfig) -> Path:
    """Write the network of ``cfg.weights`` as conf/export.yaml says; returns the file.

    Raises:
        InputError: a file or setting is at fault, or the network cannot be exported; names its method.
    """
    output = Path(cfg.output)
    check_output(output, cfg.format, cfg.overwrite)
    weights = find_weights(cfg.weights, cfg.paths.log_dir)
    saved = read_saved(weights)
    network = build_saved(saved, weights)
    try:
        program = program_of(network)
        with write_aside(output) as path:
            (save_onnx if cfg.format == "onnx" else save_torch)(program, saved, path)
    except InputError as error:
        raise InputError(f"{weights}: method={saved.config['method']} cannot be exported: {error}") from error
    return output


def check_output(output: Path, format: str, overwrite: bool) -> None:
    """Raise InputError where the file cannot become what it is to be."""
    if output.suffix.lower() != ENDINGS[format]:
        raise InputError(f"output={output}: a file of format={format} ends in {ENDINGS[format]}")
    if output.is_dir():
        raise InputError(f"output={output} is a folder; name a file")
    if os.path.lexists(output) and not overwrite:
        raise InputError(f"{output} exists; choose another output, or allow it with overwrite=true")
    if format == "onnx" and (missing := [name for name in NEEDED if find_spec(name) is None]):
        raise InputError(f'format=onnx needs {" and ".join(missing)}: pip install ".[export]" in the clone')


@torch.no_grad()
def program_of(network: nn.Module) -> ExportedProgram:
    """What ``torch.export`` makes of a network in eval mode, for any H and W.

    Raises:
        InputError: it cannot; says why.
    """
    if reason := getattr(network, "why_not_exported", None):
        raise InputError(reason)
    sizes = {"lr": {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
    try:
        # Or sizes that are equal in the example alone would count as equal always.
        with torch.fx.experimental._config.patch(backed_size_oblivious=True):
            return torch.export.export(Program(network), (torch.rand(1, 3, *SIZE),), dynamic_shapes=sizes, strict=False)
    except Exception as error:  # torch.export fails of what it cannot follow in any way
        raise InputError(f"torch.export: {first_line(error)}") from error


def save_torch(program: ExportedProgram, saved: Saved, path: Path) -> None:
    """Write a program for ``torch.export.load``, the configuration in its file ``config.json``."""
    torch.export.save(program, path, extra_files={"config.json": json.dumps(saved.config)})


def save_onnx(program: ExportedProgram, saved: Saved, path: Path) -> None:
    """Write a program as ONNX, the configuration in its metadata.

    Raises:
        InputError: it has a step that torch.onnx knows no ONNX for.
    """
    names = ["sr", "kernel"][: len(program.graph_signature.user_outputs)]
    try:
        made = torch.onnx.export(
            program, (), input_names=["lr"], output_names=names, opset_version=OPSET, dynamo=True, verbose=False
        )
    except torch.onnx.OnnxExporterError as error:
        raise InputError(f"torch.onnx: {first_line(error.__cause__ or error)}") from error
    made.model.metadata_props["config"] = json.dumps(saved.config)
    made.save(path, external_data=False)


@launch.command("export")
def main(cfg: DictConfig) -> None:
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):  # of torchvision, which nothing here needs, and of every step
        logging.getLogger(name).setLevel(logging.ERROR)
    print(export(cfg))  # noqa: T201


if __name__ == "__main__":
    main()

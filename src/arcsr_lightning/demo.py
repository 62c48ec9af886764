"""``arcsr-demo``: a page in the browser where pictures are restored, and every pixel can be asked for its kernel."""

import logging
import os
import shutil
import signal
import sys
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from omegaconf import DictConfig, ListConfig

from arcsr_lightning import launch
from arcsr_lightning.closeup import (
    Closeup,
    Job,
    Limits,
    answer,
    built_in,
    cells_of,
    colours,
    examine,
    mosaic,
    shown,
)
from arcsr_lightning.data.images import image_files
from arcsr_lightning.errors import InputError
from arcsr_lightning.figures.pixel import cell_at, marked, pixel_at
from arcsr_lightning.inference import use_device
from arcsr_lightning.runs.weights import find_weights, load_model, shipped
from arcsr_lightning.worker import Worker

log = logging.getLogger(__name__)

HOUR = 3600  # seconds after which what was uploaded or shown may be removed
FAULT = "this is a fault of arcsr-lightning; what happened stands in the log of the page"
LEGEND = "Hue: direction (red: horizontal, cyan: vertical). Brightness: extent"
INTRODUCTION = """# ArcSR: one blur kernel for every pixel
Choose a picture, press **Restore**, then **click anywhere** in what appears: the kernel of that pixel is shown."""
CSS = """
#status {min-height: 1.6em} #answer-text p {font-size: 1.15em; font-weight: 600}
.gradio-container {max-width: 1400px !important}
"""


class Shelf:
    """The last few restored pictures; of an older one the files are removed, too."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.lock = threading.Lock()
        self.kept: OrderedDict[str, Closeup] = OrderedDict()

    def put(self, closeup: Closeup) -> str:
        """Keep one; returns the key to ask for it with."""
        key = uuid.uuid4().hex
        with self.lock:
            self.kept[key] = closeup
            while len(self.kept) > self.most:
                _, oldest = self.kept.popitem(last=False)
                shutil.rmtree(oldest.restored_file.parent, ignore_errors=True)
        return key

    def get(self, key: str | None) -> Closeup:
        """Raises InputError where there is none of this key, or none any more."""
        if key is None:
            raise InputError("nothing is restored yet; choose a picture and press Restore")
        with self.lock:
            if key not in self.kept:
                raise InputError(f"only the last {self.most} restored pictures are kept, for all users; press Restore")
            self.kept.move_to_end(key)
            return self.kept[key]


def weights_of(cfg: DictConfig) -> dict[str, str]:
    """Files of weights by the name that the page shows: those that are set, then what comes with the package.

    Raises:
        InputError: one that is set is not there.
    """
    named = cfg.weights if isinstance(cfg.weights, ListConfig) else [cfg.weights]
    files = dict.fromkeys([*(find_weights(name, cfg.paths.log_dir) for name in named), *shipped().values()])
    ours = {path: name for name, path in shipped().items()}
    return {ours.get(path, str(path)): str(path) for path in files}


def examples_of(cfg: DictConfig, folder: Path, scale: int) -> dict[str, Path]:
    """LR pictures by the name that the page shows: built-in ones, written into ``folder``, and those of cfg.frames.

    Raises:
        InputError: there are no pictures in cfg.frames.
    """
    frames = image_files(cfg.frames) if cfg.frames else []
    return {path.name: path for path in frames} | built_in(folder, scale)


def serve(cfg: DictConfig, opened: Callable[[str], None]) -> None:
    """Show the page until this process is told to end; ``opened`` is called with its address.

    What is uploaded, restored or shown lies in one temporary folder, which is removed at the end.

    Raises:
        InputError: a setting is at fault, or the address is taken.
    """
    weights = weights_of(cfg)
    with TemporaryDirectory(prefix="arcsr-demo-") as name:
        folder = Path(name)
        worker = Worker(examine, partial(shutil.rmtree, name, ignore_errors=True))
        worker.start()  # imports while this process does
        try:
            gr = gradio_to_itself(folder / "gradio")
            (folder / "examples").mkdir()
            scale = load_model(next(iter(weights.values()))).scale
            examples = examples_of(cfg, folder / "examples", scale)
            page = build_page(gr, cfg, weights, examples, worker, folder / "results")
            opened(launch_page(gr, page, cfg))
            wait_for_the_end()
            page.close(verbose=False)
        finally:
            worker.stop()


def gradio_to_itself(folder: Path) -> Any:
    """Import gradio, which reads then where it leaves files, and that it asks and tells nobody anything."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would name every request of the page to itself
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if hub := sys.modules.get("huggingface_hub.constants"):  # which weights have come through, and read that already
        hub.HF_HUB_OFFLINE = hub.HF_HUB_DISABLE_TELEMETRY = True
    import gradio  # needs the extra [demo]

    return gradio


def wait_for_the_end() -> None:
    """Return when Ctrl-C is pressed or this process is told to end."""
    end = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: end.set())
    try:
        with suppress(KeyboardInterrupt):
            end.wait()
    finally:
        signal.signal(signal.SIGTERM, before)


def build_page(
    gr: Any, cfg: DictConfig, weights: dict[str, str], examples: dict[str, Path], worker: Worker, results: Path
) -> Any:
    """The page and what its parts do when they are used.

    Args:
        gr: gradio.
        cfg: conf/demo.yaml.
        weights: files by the name to choose one by.
        examples: LR pictures by the name to choose one by.
        worker: runs ``examine``.
        results: the folder that restored pictures are written below.
    """
    shelf = Shelf(cfg.keep)
    device = str(use_device(cfg.device))
    limits = Limits(cfg.max_megabytes, cfg.max_pixels)

    def restore_picture(upload, example, noise, tile, chosen, progress=gr.Progress()):  # noqa: B008, gradio's way
        source = Path(upload) if upload else examples.get(example)

        def work() -> dict[Any, Any]:
            if source is None:
                raise InputError("no picture yet; drop one or choose an example")
            folder = results / uuid.uuid4().hex
            folder.mkdir(parents=True)
            level = cfg.noise_level if noise else 0
            job = Job(source, weights[chosen], level, int(tile), cfg.overlap, device, limits, folder)
            progress(0, desc="restoring")
            try:
                closeup = worker.ask(job, lambda done, total: progress((done, total), desc="restoring", unit="tiles"))
            except Exception:
                shutil.rmtree(folder)
                raise
            height, width, _ = closeup.lr.shape
            none = "" if closeup.kernel is not None else " This network estimates no kernels."
            return {
                status: f"Restored: {width}x{height} to {width * closeup.scale}x{height * closeup.scale}.{none}",
                slider: (closeup.bicubic_file, closeup.restored_file),
                picture: shown(closeup.restored),
                kernels: mosaic(closeup),
                directions: colours(closeup),
                download: gr.DownloadButton(value=closeup.restored_file, interactive=True),
                key: shelf.put(closeup),
                said: "",
                drawn: None,
            }

        return sentence_for_errors(work, status, source)

    def ask(kept: str | None, part: str, event: gr.SelectData):
        def work() -> dict[Any, Any]:
            closeup = shelf.get(kept)
            field = closeup.lr.shape[:2]
            view = {"picture": shown(closeup.restored), "kernels": mosaic(closeup), "directions": colours(closeup)}
            at = partial(cell_at, cells=cells_of(closeup)) if part == "kernels" else pixel_at
            pixel = at(tuple(event.index), view[part].shape[:2], field)
            found = answer(closeup, pixel)
            return {
                status: "",
                said: found.words,
                drawn: array_of(found.picture),
                picture: marked(view["picture"], pixel, field),
            }

        return sentence_for_errors(work, status)

    with gr.Blocks(title="ArcSR", analytics_enabled=False, delete_cache=(HOUR // 2, HOUR)) as page:
        key = gr.State(None, time_to_live=HOUR)
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                upload = gr.File(label="Drop a picture (low resolution)", type="filepath", height=130, elem_id="upload")
                example = gr.Dropdown(list(examples), value=next(iter(examples)), label="... or an example")
                noise = gr.Checkbox(label=f"add noise first (σ = {cfg.noise_level:g} of 255)")
                with gr.Accordion("Settings", open=False):
                    chosen = gr.Dropdown(list(weights), value=next(iter(weights)), label="Weights")
                    tile = gr.Slider(2 * cfg.overlap, cfg.tile, cfg.tile, step=1, label="Tile (LR pixels)")
                go = gr.Button("Restore", variant="primary", elem_id="restore")
                status = gr.Markdown(elem_id="status")
                download = gr.DownloadButton("Download the restored picture", interactive=False, elem_id="download")
                said = gr.Markdown(elem_id="answer-text")
                drawn = still(gr, "answer")
            with gr.Column(scale=3):
                with gr.Tabs():
                    with gr.Tab("Click for a kernel"):
                        picture = still(gr, "picture")
                    with gr.Tab("Bicubic | restored"):
                        slider = gr.ImageSlider(
                            label="Bicubic | restored", interactive=False, elem_id="slider", max_height=720
                        )
                with gr.Row():
                    with gr.Column():
                        gr.Markdown("Kernels, each to its own maximum")
                        kernels = still(gr, "kernels")
                    with gr.Column():
                        gr.Markdown(LEGEND)
                        directions = still(gr, "directions")
        outputs = [status, slider, picture, kernels, directions, download, key, said, drawn]
        go.click(restore_picture, [upload, example, noise, tile, chosen], outputs, concurrency_id="network")
        upload.upload(lambda: None, None, example, queue=False)
        example.input(lambda: None, None, upload, queue=False)
        for part in (picture, kernels, directions):
            part.select(ask, [key, gr.State(part.elem_id)], [status, said, drawn, picture], concurrency_id="clicks")
    return page.queue(max_size=cfg.waiting, default_concurrency_limit=1)


def still(gr: Any, name: str) -> Any:
    """A picture that is only shown, and clicked."""
    return gr.Image(show_label=False, interactive=False, format="png", elem_id=name, buttons=["fullscreen"])


def array_of(figure: Figure) -> np.ndarray:
    """A figure as RGB uint8, (H, W, 3)."""
    figure.set_dpi(110)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def sentence_for_errors(work: Callable[[], dict[Any, Any]], status: Any, source: Path | None = None) -> dict[Any, Any]:
    """What the work returns for the parts of the page, or a sentence for ``status`` where it fails."""
    try:
        return work()
    except InputError as error:
        line = str(error)
        if source is not None:
            line = line.replace(str(source), source.name)
    except Exception:
        log.exception("error: %s", FAULT)
        line = FAULT
    return {status: f"⚠ {line}."}


def launch_page(gr: Any, page: Any, cfg: DictConfig) -> str:
    """Open the page for browsers; returns its address.

    Raises:
        InputError: no such address is free.
    """
    fonts = ["system-ui", "sans-serif"]
    try:
        _, url, _ = page.launch(
            server_name=cfg.host,
            server_port=cfg.port,
            max_file_size=int(1e6 * cfg.max_megabytes),
            inbrowser=cfg.open,
            theme=gr.themes.Default(font=fonts, font_mono=["monospace"]),
            css=CSS,
            footer_links=[],
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
        )
    except OSError as error:
        raise InputError(f"host={cfg.host}, port={cfg.port}: cannot listen there; choose another port") from error
    return url


@launch.command("demo")
def main(cfg: DictConfig) -> None:
    serve(cfg, lambda url: print(f"{url}  (Ctrl-C ends it)", flush=True))  # noqa: T201


if __name__ == "__main__":
    main()

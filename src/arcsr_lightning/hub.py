"""A network with what the Hugging Face Hub knows: from_pretrained, save_pretrained, push_to_hub; the extra [hub]."""

from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from arcsr_lightning.networks import Restoration
from arcsr_lightning.parts import build_network
from arcsr_lightning.runs.weights import FILE, Saved, load_weights, read_saved, trusted_modules, write_safetensors

try:
    from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('arcsr_lightning.hub needs huggingface_hub: pip install ".[hub]" in the clone') from error

CARD = """---
{{ card_data }}
---

# {{ method }}, ×{{ scale }}

Blind super-resolution of motion-blurred images: `{{ method }}` of arcsr-lightning, kernels of {{ kernel_size }}x{{ kernel_size }} LR pixels.
{% if note %}
Note: {{ note }}
{% endif %}
```python
from arcsr_lightning import load_model

network = load_model("hf:OWNER/NAME")  # this repository; arcsr-lightning installed with its extra [hub]
sr, kernel = network(lr)  # RGB in [0, 1], (1, 3, H, W) -> (1, 3, {{ scale }}H, {{ scale }}W), and a kernel per pixel or None
```

`model.safetensors` holds the weights and, in its metadata, the configuration that rebuilds the network; `config.json` is that
configuration to read.
"""  # noqa: E501


class HubNetwork(
    nn.Module,
    ModelHubMixin,
    library_name="arcsr-lightning",
    pipeline_tag="image-to-image",
    tags=["super-resolution", "deblurring"],
    model_card_template=CARD,
):
    """The network of a run, of whichever method, as the Hub's libraries handle one.

    ``HubNetwork.from_weights("arcsr_small").save_pretrained(FOLDER)`` writes ``model.safetensors``, ``config.json`` and
    a model card, ``push_to_hub("owner/name")`` uploads them, ``HubNetwork.from_pretrained(FOLDER or "owner/name")``
    reads them. ``load_model("hf:owner/name")`` gives the network itself.

    Args:
        config: the resolved configuration of its run.

    Shapes: RGB in [0, 1], (B, 3, H, W) -> ``Restoration``.

    Raises:
        InputError: the configuration names parts that are not trusted.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.network = build_network(config["model"], trusted_modules())

    @property
    def scale(self) -> int:
        return self.network.scale

    def forward(self, lr: Tensor) -> Restoration:
        return self.network(lr)

    @classmethod
    def from_weights(cls, path: str | Path) -> Self:
        """The network of whatever ``load_model`` takes, in eval mode, on the CPU. Raises as that does."""
        saved = read_saved(path)
        model = cls(saved.config)
        load_weights(model.network, saved, path)
        return model.eval()

    def generate_model_card(self, **kwargs: Any) -> ModelCard:
        note = (self.config.get("card") or {}).get("note")
        known = {key: self.config[key] for key in ("method", "scale", "kernel_size")}
        return super().generate_model_card(note=note, **known, **kwargs)

    def _save_pretrained(self, save_directory: Path) -> None:
        write_safetensors(Saved(self.network.state_dict(), self.config), save_directory / FILE)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, config: dict[str, Any] | None = None, **where: Any) -> Self:
        """The mixin's last step; the configuration comes out of the weights' file, to which it belongs."""
        folder = Path(model_id)
        return cls.from_weights(folder / FILE if folder.is_dir() else hf_hub_download(model_id, FILE, **where))

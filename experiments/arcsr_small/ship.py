"""Put the weights of a finished run into the package, its configuration with the places that run.sh has.

Usage: ship.py RUN_FOLDER
"""

import sys
from pathlib import Path
from typing import Any

from arcsr_lightning.runs.weights import DEFAULT, SHIPPED, read_saved, write_safetensors


def moved(node: Any, places: dict[str, str]) -> Any:
    """A configuration whose paths below the keys of ``places`` are below their values."""
    if isinstance(node, dict):
        return {key: moved(value, places) for key, value in node.items()}
    if isinstance(node, list):
        return [moved(value, places) for value in node]
    for old, new in places.items():
        if isinstance(node, str) and (node == old or node.startswith(f"{old}/")):
            return new + node.removeprefix(old)
    return node


def main(run: Path) -> None:
    saved = read_saved(run / "model.safetensors")
    config = saved.config
    places = {
        str(Path(config["data"]["gopro"]).parent): "small_data",
        str(Path(config["data"]["store"]).parent): "stores",
        config["paths"]["output_dir"]: f"logs/{DEFAULT}",
        config["paths"]["log_dir"]: "logs",
    }
    SHIPPED.mkdir(exist_ok=True)
    config = moved(config, places) | {"task_name": DEFAULT, "method": DEFAULT}
    write_safetensors(saved._replace(config=config), SHIPPED / f"{DEFAULT}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

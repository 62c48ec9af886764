"""Concatenation instead of KGconv: how large may the kernel be that is concatenated? Writes concat_scale.csv.

The first 60 steps of experiment=table1_cpu ablation=baseline, with the kernel as it is (softmax) and scaled as for
KGconv (unit_energy).
"""

from pathlib import Path

import torch
from hydra.utils import instantiate

from arcsr_lightning import compose
from arcsr_lightning.files import write_csv
from arcsr_lightning.launch import build_network

STEPS, SHOWN = 60, (0, 5, 10, 20, 59)


def train(normalisation: str, learning_rate: float) -> list[dict]:
    torch.manual_seed(0)
    cfg = compose(["experiment=table1_cpu", "ablation=baseline", f"model.restorer.normalisation={normalisation}"])
    network, samples, batch = build_network(cfg.model), instantiate(cfg.data.train), cfg.data.batch_size
    alive = []  # the share of the upsampler's ReLUs that are, by step
    network.restorer.upsample[-1].register_forward_hook(lambda module, _, out: alive.append((out > 0).float().mean()))
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    rows = []
    for step in range(STEPS):
        drawn = [samples[step * batch + number] for number in range(batch)]
        lr, hr = (torch.stack([sample[key] for sample in drawn]) for key in ("lr", "hr"))
        loss = (network(lr).sr - hr).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in SHOWN:
            row = {"normalisation": normalisation, "learning_rate": learning_rate, "step": step}
            rows.append(row | {"l1": round(loss.item(), 4), "relus_alive": round(alive[-1].item(), 3)})
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    settings = [(mode, rate) for mode in ("unit_energy", "softmax") for rate in (1e-3, 1e-4)]
    write_csv(Path(__file__).with_suffix(".csv"), [row for setting in settings for row in train(*setting)])

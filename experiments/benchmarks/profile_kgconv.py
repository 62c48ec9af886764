"""Where the time of kernel_guided_conv2d goes on one thread."""

import torch
from torch.nn import functional as F
from torch.profiler import profile

from arcsr_lightning.operators import kernel_guided_conv2d

ks, channels, side, calls = 7, 64, 64, 20


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, upstream = torch.randn(2, 1, channels, side, side)
    weight, kernel = torch.randn(channels, channels, ks, ks), torch.rand(1, ks * ks, side, side)
    leaves = [x.requires_grad_(), kernel.requires_grad_(), weight.requires_grad_()]
    functions = {
        "kernel_guided_conv2d": (lambda: kernel_guided_conv2d(x, kernel, weight), leaves),
        "conv2d": (lambda: F.conv2d(x, weight, padding=ks // 2), [x, weight]),
    }
    for name, (function, inputs) in functions.items():
        for _ in range(3):
            torch.autograd.grad(function(), inputs, upstream)
        with torch.no_grad(), profile() as forward:
            for _ in range(calls):
                function()
        with profile() as both:
            for _ in range(calls):
                torch.autograd.grad(function(), inputs, upstream)
        for passes, run in (("forward", forward), ("forward + backward", both)):
            events = sorted(run.key_averages(), key=lambda event: -event.self_cpu_time_total)
            total = sum(event.self_cpu_time_total for event in events)
            print(f"{name}, {passes}: ks {ks}, C {channels}, {side}x{side}")  # noqa: T201
            for event in events[:9]:
                print(f"  {event.self_cpu_time_total / total:6.1%}  {event.count // calls:5d} calls  {event.key}")  # noqa: T201


if __name__ == "__main__":
    main()

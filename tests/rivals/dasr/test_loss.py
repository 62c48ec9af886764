import copy
import math
import subprocess
import sys
import textwrap

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from arcsr_lightning.errors import InputError
from arcsr_lightning.rivals.dasr.loss import DASRLoss, contrast_loss, enqueue, follow
from arcsr_lightning.rivals.dasr.network import DASR, DASRRestorer, DegradationEncoder


def network():
    torch.manual_seed(0)
    return DASR(DegradationEncoder(8), DASRRestorer(2, width=8, groups=1, blocks=1))


def images(count=8, seed=0):
    """Crops of 12x12 and second crops of as many images, each blurred and with noise of its own strength."""
    generator = torch.Generator().manual_seed(seed)
    hr = F.interpolate(torch.rand(count, 3, 6, 12, generator=generator), size=(24, 48), mode="bicubic")
    hr = (hr + 0.2 * torch.randn(hr.shape, generator=generator)).clamp(0, 1)
    for i in range(count):
        for _ in range(i % 4):
            hr[i] = F.avg_pool2d(F.pad(hr[i], (1, 1, 1, 1), mode="replicate"), 3, 1)
    noise = torch.randn(count, 3, 12, 24, generator=generator) * torch.linspace(0, 0.3, count)[:, None, None, None]
    lr = F.avg_pool2d(hr, 2) + noise
    return {"lr": lr[..., :12], "lr_key": lr[..., 12:], "hr": hr[..., :24]}


def loss(queue_size=16, **settings):
    return DASRLoss(DegradationEncoder(8), queue_size, **settings)


# ---------------------------------------------------------------- pieces


def test_contrast_is_the_cross_entropy_of_finding_one_s_own_key():
    query, key, queue = (F.normalize(torch.randn(n, 5)) for n in (3, 3, 7))
    expected = 0.0
    for q, k in zip(query, key, strict=True):
        own = math.exp(q @ k / 0.2)
        expected -= math.log(own / (own + sum(math.exp(q @ other / 0.2) for other in queue))) / 3
    assert contrast_loss(query, key, queue, 0.2).item() == pytest.approx(expected, rel=1e-5)


def test_the_queue_holds_the_latest_keys_and_wraps_around():
    queue, pointer = torch.zeros(6, 1), torch.zeros(1, dtype=torch.long)
    for first in range(0, 10, 2):  # 10 keys, two at a time, into 6 places
        enqueue(queue, pointer, torch.tensor([[first], [first + 1]]))
    assert queue.flatten().tolist() == [6, 7, 8, 9, 4, 5]
    assert pointer.item() == 4
    enqueue(queue, pointer, torch.arange(6.0)[:, None])  # as many as there are places, from the middle on
    assert queue.flatten().tolist() == [2, 3, 4, 5, 0, 1]
    assert pointer.item() == 4


def test_a_follower_moves_by_its_momentum():
    follower, leader = torch.randn(4), torch.randn(4)
    expected = 0.9 * follower + 0.1 * leader
    follow([follower], [leader], 0.9)
    torch.testing.assert_close(follower, expected)


# ---------------------------------------------------------------- the loss


def test_the_key_encoder_starts_as_a_copy_and_then_follows():
    model, criterion, batch = network(), loss(momentum=0.9), images()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = None
    for _ in range(3):
        leader = {name: p.detach().clone() for name, p in model.encoder.named_parameters()}
        expected = leader if expected is None else {n: 0.9 * expected[n] + 0.1 * leader[n] for n in leader}
        criterion(model, batch)["loss"].backward()
        for name, p in criterion.key_encoder.named_parameters():
            torch.testing.assert_close(p, expected[name])
            assert p.grad is None
        optimizer.step()
        optimizer.zero_grad()


def test_the_key_encoder_follows_without_waiting_for_the_device():
    class NoNumbers(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert func is not torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    model, criterion = network(), loss()
    with NoNumbers():
        criterion.move_key_encoder(model.encoder)


def test_a_loss_goes_on_where_its_saved_state_ends():
    model, batch = network(), images()
    criterion, resumed = loss(), loss()
    criterion(model, batch)
    resumed.load_state_dict(criterion.state_dict())
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1)  # a second copy of the encoder would be seen
    assert torch.equal(criterion(model, batch)["loss"], resumed(model, batch)["loss"])
    assert torch.equal(criterion.queue, resumed.queue)
    assert resumed.pointer == 0  # 2 * 8 keys in 16 places


def test_terms_are_weighted_and_the_published_trade_off_is_the_default():
    model, batch = network(), images()
    terms = loss()(model, batch)
    assert terms.keys() == {"l1", "contrast", "loss"}
    published = 255 * terms["l1"] + terms["contrast"]  # on images in [0, 255]
    torch.testing.assert_close(255 * terms["loss"], published)
    torch.testing.assert_close(terms["l1"], F.l1_loss(model(batch["lr"]).sr, batch["hr"]))


def test_the_encoder_s_stage_does_not_run_the_restorer():
    model, batch = network(), images()
    model.restorer.forward = None
    del batch["hr"]
    terms = loss(image_weight=0)(model, batch)
    assert terms.keys() == {"contrast", "loss"}
    terms["loss"].backward()
    assert all(p.grad is not None for p in model.encoder.parameters())


def test_without_contrast_no_second_crop_is_needed():
    model, batch = network(), images()
    del batch["lr_key"]
    criterion = loss(contrast_weight=0)
    terms = criterion(model, batch)
    assert terms.keys() == {"l1", "loss"}
    assert not criterion.started


def test_without_contrast_every_parameter_still_has_a_gradient():
    """As DDP demands."""
    model = network()
    loss(contrast_weight=0)(model, images())["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())


def test_image_gradients_reach_the_encoder():
    model, batch = network(), images()
    loss(contrast_weight=0)(model, batch)["loss"].backward()
    assert model.encoder.trunk[0].weight.grad.abs().sum() > 0


def train(model, criterion, part, batch, steps, lr):
    """The loss before each step of a training of ``part``, all else frozen as a stage does it."""
    for child in model.children():
        child.requires_grad_(child is part or part is model).train(child is part or part is model)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr)
    values = []
    for _ in range(steps):
        value = criterion(model, batch)["loss"]
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    return values


def test_the_encoder_s_stage_lowers_its_loss_and_leaves_the_restorer():
    """From when the queue is full of keys: against the random vectors of its first state any encoder wins.

    The queue holds the batch of the step before, with a twin of every query's key: the lowest loss is about log 2.
    """
    model, batch = network(), images()
    before = copy.deepcopy(model.restorer.state_dict())
    criterion = loss(queue_size=8, image_weight=0, contrast_weight=1, momentum=0.9)
    with torch.no_grad():
        criterion(model, batch)
    values = train(model, criterion, model.encoder, batch, steps=100, lr=3e-3)
    assert values[0] > 0.9 * math.log(9)  # a fresh encoder tells nothing apart
    assert values[-1] < 0.5 * values[0]
    assert all(torch.equal(value, before[name]) for name, value in model.restorer.state_dict().items())


def test_the_stage_of_everything_lowers_its_loss():
    values = train(model := network(), loss(queue_size=8), model, images(), steps=100, lr=1e-2)
    assert values[-1] < 0.6 * values[0]


# ---------------------------------------------------------------- several processes

RANK = textwrap.dedent("""
    import sys
    import torch
    from torch import distributed, nn
    from torch.nn.parallel import DistributedDataParallel
    from arcsr_lightning.rivals.dasr.loss import DASRLoss
    from arcsr_lightning.rivals.dasr.network import DASR, DegradationEncoder

    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(7)
            self.network = DASR(DegradationEncoder(4), nn.Identity())
            for p in self.network.parameters():
                nn.init.normal_(p, std=0.2)
            self.loss = DASRLoss(DegradationEncoder(4), queue_size=12, momentum=0.5, image_weight=0, contrast_weight=1)
            self.eval()  # batch statistics are each process's own

        def forward(self, batch):
            return self.loss(self.network, batch)["loss"]

    def trained(step, rank, ranks):
        optimizer = torch.optim.SGD([p for p in step.parameters() if p.requires_grad], lr=0.05)
        for number in range(4):
            whole = torch.rand(2, 4, 3, 9, 9, generator=torch.Generator().manual_seed(number))
            lr, lr_key = whole[:, rank * 4 // ranks : (rank + 1) * 4 // ranks]
            optimizer.zero_grad()
            step({"lr": lr, "lr_key": lr_key}).backward()
            optimizer.step()
        return step.state_dict()

    rank, folder = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    if rank == 0:
        torch.save(trained(Step(), 0, 1), f"{folder}/alone.pt")
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    state = trained(DistributedDataParallel(Step()), rank, 2)
    torch.save({name.removeprefix("module."): value for name, value in state.items()}, f"{folder}/{rank}.pt")
""")


@pytest.mark.slow
def test_two_processes_hold_the_queue_and_key_encoder_of_one(tmp_path):
    jobs = [subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [job.wait(timeout=120) for job in jobs] == [0, 0]
    first, second, alone = (torch.load(tmp_path / f"{name}.pt") for name in ("0", "1", "alone"))
    assert alone["loss.pointer"].item() == 4  # 4 * 4 keys in 12 places
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
        torch.testing.assert_close(value, alone[name], rtol=1e-4, atol=1e-5, msg=name)


# ---------------------------------------------------------------- bad input


def test_a_missing_second_crop_is_named():
    batch = images()
    del batch["lr_key"]
    with pytest.raises(InputError, match=r"model=dasr needs a second crop .* set data.train.second_crop=true"):
        loss()(network(), batch)


@pytest.mark.parametrize(("queue_size", "proposal"), [(20, 16), (4, 8)])
def test_a_batch_that_does_not_divide_the_queue_is_named(queue_size, proposal):
    with pytest.raises(
        InputError,
        match=f"dasr.queue_size must be a multiple of data.batch_size: {queue_size} .* 8; "
        f"set dasr.queue_size={proposal} or change data.batch_size",
    ):
        loss(queue_size)(network(), images())


def test_a_loss_of_nothing_is_refused():
    with pytest.raises(InputError, match="image_weight and contrast_weight"):
        loss(image_weight=0, contrast_weight=0)

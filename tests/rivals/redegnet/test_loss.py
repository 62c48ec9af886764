import pytest
import torch
from torch import nn
from torch.nn import functional as F

from arcsr_lightning.degradation import downsample, gaussian_kernel, upsample
from arcsr_lightning.errors import InputError
from arcsr_lightning.rivals.redegnet import (
    ConditionalDiscriminator,
    ContentEncoder,
    DegNet,
    Generator,
    Synthesiser,
    UNetDiscriminator,
    from_signed,
    to_signed,
)
from arcsr_lightning.rivals.redegnet.loss import ReDegNetLoss, degrade, frozen, shrink
from arcsr_lightning.rivals.rrdb.network import RRDBNet
from tests.conftest import slow

TERMS = {"sr", "reconstruction", "same_degradation", "repulsion", "gan", "discriminator"}
SIZES = {"image_size": 16, "width": 8, "widest": 16}


def build(adversarial: bool = False, **weights: float) -> tuple[RRDBNet, ReDegNetLoss]:
    torch.manual_seed(0)
    synthesiser = Synthesiser(
        DegNet(**SIZES, code=8), ContentEncoder(**SIZES), Generator(**SIZES, code=8, style_layers=1)
    )
    judge = UNetDiscriminator(2) if adversarial else None
    loss = ReDegNetLoss(synthesiser, ConditionalDiscriminator(**SIZES, code=8), judge, 2, **weights)
    return RRDBNet(2, width=8, blocks=1, growth=4, signed=True), loss


def photos(batch: int, seed: int, side: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse, fine = (torch.rand(batch, 3, size, size, generator=generator) for size in (4, side))
    return (0.8 * F.interpolate(coarse, size=(side, side), mode="bicubic") + 0.2 * fine).clamp(0, 1)


def batch(size: int = 2, seed: int = 0, side: int = 16) -> dict[str, torch.Tensor]:
    """Pairs with a strong blur of their own."""
    hr = photos(size, seed, side)
    lr = downsample(degrade(hr, torch.full((size,), 4.0), torch.zeros(size, 3, side // 2, side // 2), 2), 2)
    return {"lr": lr, "hr": hr}


def learners(loss: ReDegNetLoss, network: RRDBNet) -> dict[str, list[torch.nn.Parameter]]:
    return {
        "network": [*network.parameters()],
        "synthesiser": [*loss.synthesiser.parameters()],
        "discriminator": [*loss.discriminator.parameters()],
        "image_discriminator": [*loss.image_discriminator.parameters()],
    }


@pytest.mark.parametrize(
    ("term", "learner"),
    [
        ("sr", "network"),
        ("image_gan", "network"),
        ("reconstruction", "synthesiser"),
        ("same_degradation", "synthesiser"),
        ("repulsion", "synthesiser"),
        ("gan", "synthesiser"),
        ("discriminator", "discriminator"),
        ("image_discriminator", "image_discriminator"),
    ],
)
def test_each_term_trains_its_own_part_alone(term, learner):
    network, loss = build(adversarial=True)
    loss(network, batch())[term].backward()
    for name, parameters in learners(loss, network).items():
        reached = any(parameter.grad is not None and parameter.grad.any() for parameter in parameters)
        assert reached == (name == learner), name


def test_every_parameter_is_trained():
    """Without parameters left over, as DDP demands."""
    network, loss = build(adversarial=True)
    loss(network, batch())["loss"].backward()
    assert all(p.grad is not None for p in [*network.parameters(), *loss.parameters()])


def test_the_content_of_an_image_is_encoded_once_a_step():
    network, loss = build()
    encoded = []
    loss.synthesiser.content.register_forward_hook(lambda _, args, __: encoded.append(args[0]))
    data = batch()
    loss(network, data)
    assert len(encoded) == 1
    torch.testing.assert_close(encoded[0], to_signed(data["hr"]))


def test_a_frozen_call_is_the_call():
    _, loss = build()
    judge, image = loss.discriminator.eval(), photos(2, 0).requires_grad_()
    logits = frozen(judge, image, image, torch.ones(2, 8))
    assert torch.equal(logits, judge(image, image, torch.ones(2, 8)))
    logits.sum().backward()
    assert image.grad.any()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in judge.parameters())


def test_terms_add_up_with_their_weights():
    network, loss = build(adversarial=True)
    terms = loss(network, batch())
    assert terms.keys() == TERMS | {"image_gan", "image_discriminator", "loss"}
    weights = {"reconstruction": 10, "same_degradation": 100, "repulsion": 4, "gan": 0.01, "image_gan": 0.1}
    expected = sum(weights.get(name, 1) * term for name, term in terms.items() if name != "loss")
    torch.testing.assert_close(terms["loss"], expected)


def test_without_the_image_discriminator_there_is_no_adversarial_term():
    network, loss = build()
    assert loss(network, batch()).keys() == TERMS | {"loss"}


def test_degrade_is_blur_downsampling_noise_and_back():
    hr, sigma = photos(2, 0), torch.tensor([0.5, 3.0])
    for image, width, made in zip(hr, sigma, degrade(hr, sigma, torch.full((2, 3, 8, 8), 0.1), 2), strict=True):
        kernel = gaussian_kernel(25, float(width), float(width)).expand(3, 1, 25, 25)
        blurred = F.conv2d(F.pad(image[None], [12] * 4, mode="replicate"), kernel, groups=3)
        expected = upsample((downsample(blurred, 2) + 0.1).clamp(0, 1), 2).clamp(0, 1)[0]
        torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)


def test_an_image_and_the_one_before_it_are_degraded_alike():
    _, loss = build()
    loss.noise_level = (0.0, 0.0)
    same = photos(1, 0).expand(3, -1, -1, -1)
    one, before = loss.alike(same, 2)
    torch.testing.assert_close(one, before)
    assert not torch.allclose(one[0], one[1], atol=1e-3)  # another pair, another blur
    hr = photos(3, 1)
    one, before = loss.alike(hr, 2)
    assert ((before - to_signed(hr.roll(1, 0))).abs().mean() < (before - to_signed(hr)).abs().mean()).item()


def test_the_network_learns_from_imitations_alone():
    """It restores the image before, degraded as the pair is; the pair's own LR image goes into the code only."""
    network, loss = build()
    seen = []
    network.register_forward_hook(lambda _, args, restored: seen.append((args[0], restored.sr)))
    data = batch()
    terms = loss(network, data)
    (lr, sr) = seen[0]
    assert lr.shape == data["lr"].shape and not lr.requires_grad and not torch.allclose(lr, data["lr"], atol=0.01)
    torch.testing.assert_close(terms["sr"], 2 * F.l1_loss(sr, data["hr"].roll(1, 0)))  # on [-1, 1]


def test_the_discriminator_judges_the_pair_s_reconstruction_by_a_fixed_code():
    """For learning, and for teaching the synthesiser; never a transfer."""
    network, loss = build()
    synthesiser, data = loss.synthesiser.eval(), batch()
    judged = []
    loss.discriminator.register_forward_hook(lambda _, args, __: judged.append(args))
    loss(network, data)
    hq, lq = to_signed(data["hr"]), to_signed(upsample(data["lr"], 2).clamp(0, 1))
    code = synthesiser.degradation(hq, lq)
    reconstruction = synthesiser.generator(synthesiser.content(hq), code)
    for (image, sharp, known), expected in zip(judged, [reconstruction, lq, reconstruction], strict=True):
        torch.testing.assert_close((image, sharp, known), (expected, hq, code))
        assert not known.requires_grad
    assert [image.requires_grad for image, _, _ in judged] == [True, False, False]


def test_equal_codes_repel_by_ten_million():
    network, loss = build()
    nn.init.zeros_(loss.synthesiser.degradation.head[-1].weight)
    assert loss(network, batch())["repulsion"].item() == pytest.approx(1e7)


def test_transfers_are_shrunk_without_antialiasing():
    """At scale 4 a bilinear sample lies amid the middle four of 16 pixels and sees no other; bicubic sees all."""
    image = photos(2, 0, 32)
    middle = [image[..., i::4, j::4] for i in (1, 2) for j in (1, 2)]
    torch.testing.assert_close(shrink(image, 4, "bilinear"), sum(middle) / 4)
    taps = torch.tensor([-3 / 32, 19 / 32, 19 / 32, -3 / 32])  # the cubic of a = -0.75 at 1.5, 0.5, 0.5, 1.5 pixels
    cells = image.unflatten(3, (8, 4)).unflatten(2, (8, 4))
    torch.testing.assert_close(shrink(image, 4, "bicubic"), torch.einsum("bcyixj,i,j->bcyx", cells, taps, taps))


def test_transfers_are_shrunk_now_bilinearly_now_bicubically():
    _, loss = build()
    loss.eval()
    code, made = torch.ones(1, 8), []
    content = loss.synthesiser.content(photos(1, 0))
    for seed in range(8):
        torch.manual_seed(seed)
        made.append(loss.imitate(content, code, 2))
    image = from_signed(loss.synthesiser.generator(content, code))
    modes = [[torch.equal(x, shrink(image, 2, mode)) for x in made] for mode in ("bilinear", "bicubic")]
    assert [sum(pair) for pair in zip(*modes, strict=True)] == [1] * 8
    assert all(map(any, modes))


def train(network, loss, batches) -> list[dict[str, float]]:
    optimizer = torch.optim.Adam([*network.parameters(), *loss.parameters()], 3e-3)
    history = []
    for data in batches:
        terms = loss(network, data)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        history.append({name: term.item() for name, term in terms.items()})
    return history


@pytest.mark.parametrize("adversarial", [slow(False), True])
def test_the_stage_lowers_its_loss_on_one_batch(adversarial):
    network, loss = build(adversarial)
    history = train(network, loss, [batch()] * 80)
    for term in ("loss", "sr", "reconstruction"):
        assert history[-1][term] < 0.7 * history[0][term], term


@pytest.mark.slow
def test_codes_tell_degradations_and_not_contents():
    """On images never trained on: the same blur of other images is nearer than another blur of the same image."""
    held_out = photos(8, 99)

    def spread(loss):
        with torch.no_grad():
            codes = torch.stack(
                [
                    loss.synthesiser.degradation(
                        to_signed(held_out),
                        to_signed(degrade(held_out, torch.full((8,), sigma), torch.zeros(8, 3, 8, 8), 2)),
                    )
                    for sigma in (0.5, 4.0)
                ]
            )  # (2, 8, code)
        same = (codes[:, :, None] - codes[:, None]).abs().mean() * 8 / 7  # without each with itself
        return same / (codes[0] - codes[1]).abs().mean()

    network, loss = build()
    assert spread(loss) > 1
    train(network, loss, (batch(8, seed) for seed in range(80)))
    assert spread(loss) < 0.7


def test_a_batch_of_one_is_refused():
    network, loss = build()
    with pytest.raises(InputError, match=r"data\.batch_size of at least 2 per process"):
        loss(network, batch(1))


def test_crops_of_another_size_are_refused():
    network, loss = build()
    with pytest.raises(InputError, match=r"data\.train\.patch_size is 32 but redegnet\.image_size is 16"):
        loss(network, batch(side=32))

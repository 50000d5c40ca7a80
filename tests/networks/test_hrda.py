"""HRDA against the paper's fusion, on a network whose logits say whether it sees the context or the detail."""

from collections.abc import Sequence
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from jsonargparse import ArgumentParser
from spaces import classes
from torch import Tensor, nn

from seglab.labels import LabelSpace
from seglab.networks import HRDA, DAFormerNetwork, DeepLabV2, Network, NetworkFactory
from seglab.networks.of_run import head_name, without_weights
from seglab.ops.losses import CrossEntropy, pixel_loss, supervised_loss
from seglab.ops.teacher import Frozen, Teacher
from seglab.types import Output, SeglabError

CONTEXT, DETAIL, A = 1.0, 5.0, 0.25


class Two(Network):
    """Logits are 1 for images 8 pixels wide, which the context is, and 5 for all others; each has its own scale."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(space, ([0.0] * 3, [1.0] * 3), 1, 1)
        self.encoder, self.head = nn.Conv2d(3, 4, 1), nn.Identity()
        self.scale = nn.Parameter(torch.tensor([CONTEXT, DETAIL]))
        self.feature_channels = 4

    def encode(self, image: Tensor) -> list[Tensor]:
        return [self.encoder(self.prepare(image))]

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        maps = stages[-1]
        logits = torch.ones_like(maps[:, :1]).expand(-1, self.space.num_classes, -1, -1)
        return self.output(logits * self.scale[0 if maps.shape[-1] == 8 else 1], maps, stages, size)


def two(**options: object) -> HRDA:
    """Context of 8 x 8 cells, detail of 4 x 4 pixels in images of 16 x 16, an attention of 0.25 everywhere."""
    network = HRDA(classes(3), Two, **{"window": (4, 4), "width": 4, **options})
    nn.init.zeros_(network.attention.head.weight)
    nn.init.constant_(network.attention.head.bias, float(torch.tensor(A).logit()))
    return network


def tiny(**options: object) -> HRDA:
    inner = partial(DAFormerNetwork, encoder="test_efficientnet", weights="none", width=16, dropout=0.0)
    return HRDA(classes(5), inner, **{"window": (64, 64), "width": 16, **options})


@pytest.mark.parametrize("corner", [(4, 4), (0, 6), (12, 12)])
def test_the_card(corner: tuple[int, int]) -> None:
    """0.75 x 1 + 0.25 x 5 = 2 in the window, 1 elsewhere; interpolation blends the masked attention at its border."""
    network = two()
    network.windows = lambda *_: [(*corner, 4, 4)]
    output = network(torch.rand(2, 3, 16, 16))
    axes, inside = [], []
    for start in corner:
        axis = torch.zeros(20)
        axis[start + 1 : start + 7] = torch.tensor([0.25, 0.75, 1, 1, 0.75, 0.25])
        axis[2] = 1.0 if start == 0 else axis[2]  # nothing beyond the image pulls the border down
        axis[17] = 1.0 if start == 12 else axis[17]
        axes.append(axis[2:18])
        inside.append((torch.arange(16) >= start) & (torch.arange(16) < start + 4))
    attention = A * torch.outer(*axes)
    expected = (1 - attention) * CONTEXT + attention * DETAIL * torch.outer(*inside)
    torch.testing.assert_close(output.logits, expected.expand(2, 3, -1, -1))
    if corner == (4, 4):  # the numbers of the card
        assert expected[5, 5] == 2.0
        assert (expected[4, 5], expected[4, 4], expected[3, 5], expected[3, 3]) == (1.75, 1.5625, 0.9375, 0.984375)


def test_outside_the_window_and_its_ring_the_attention_has_no_gradient() -> None:
    network = two()
    network.windows = lambda *_: [(4, 4, 4, 4)]
    image = torch.rand(1, 3, 16, 16)
    for part, learns in ((slice(3, 9), True), (slice(9, 16), False)):
        network.zero_grad()
        network(image).logits[..., part, part].sum().backward()
        assert bool(network.attention.head.bias.grad.any()) == learns  # type: ignore[union-attr]


def test_overlapping_windows_are_averaged_and_then_fused_everywhere() -> None:
    network = two().eval()
    logits = network(torch.rand(2, 3, 16, 16)).logits
    torch.testing.assert_close(logits, torch.full_like(logits, 0.75 * CONTEXT + 0.25 * DETAIL))
    assert network(torch.rand(2, 3, 16, 16)).side == {}
    network.window = (8, 8)
    windows = network.windows((16, 16), (16, 16))
    assert [window[:2] for window in windows] == [(top, left) for top in (0, 4, 8) for left in (0, 4, 8)]
    detail = torch.arange(9.0).view(9, 1, 1, 1, 1).expand(9, 1, 1, 8, 8)
    mean = network.placed(detail, windows, (16, 16))[0, 0]
    assert (mean[0, 0], mean[0, 15], mean[15, 15]) == (0, 2, 8)
    assert (mean[0, 5], mean[5, 5], mean[6, 10]) == (0.5, 2.0, (1 + 2 + 4 + 5) / 4)


def test_the_detail_is_supervised_with_a_tenth_and_the_fusion_with_the_rest() -> None:
    torch.manual_seed(0)
    network = tiny()
    output = network(torch.rand(2, 3, 128, 192))
    side = output.side["detail"]
    top, left, height, width = side.window or (0, 0, 0, 0)
    assert (side.weight, output.share, side.on_pseudo, (height, width)) == (0.1, 0.9, True, (64, 64))
    label = torch.randint(0, 5, (2, 128, 192))
    weight, valid = torch.rand(2, 128, 192), torch.ones(2, 128, 192, dtype=torch.bool)
    crop = (slice(None), slice(top, top + 64), slice(left, left + 64))
    whole = F.cross_entropy(output.logits, label, reduction="none")
    part = F.cross_entropy(side.logits, label[crop], reduction="none")
    expected = 0.9 * whole.mean() + 0.1 * part.mean()
    torch.testing.assert_close(supervised_loss(CrossEntropy(), output, label), expected)
    expected = 0.9 * (weight * whole).mean() + 0.1 * (weight[crop] * part).mean()
    torch.testing.assert_close(pixel_loss(output, label, weight, valid), expected)
    assert tiny(detail_weight=0.0)(torch.rand(1, 3, 128, 128)).side == {}


def test_windows_lie_on_the_grid_everywhere_in_the_image_and_follow_the_seed() -> None:
    network = tiny()
    drawn = [network.windows((256, 256), (256, 256))[0] for _ in range(500)]
    assert {side % 8 for window in drawn for side in window} == {0}
    assert {window[0] for window in drawn} == {window[1] for window in drawn} == set(range(0, 200, 8))
    assert {network.windows((128, 64), (65, 64))[0] for _ in range(100)} == {
        (top, 0, 64, 64) for top in range(0, 65, 8)
    }
    torch.manual_seed(3)
    first = network.windows((256, 256), (256, 256))
    torch.manual_seed(3)
    assert network.windows((256, 256), (256, 256)) == first


def test_what_the_window_shows_of_the_padding_has_no_label() -> None:
    network = tiny(window=(32, 32))
    network.windows = lambda *_: [(64, 96, 32, 32)]
    output = network(torch.rand(2, 3, 65, 127))  # padded to 128 x 128
    assert output.side["detail"].window == (64, 96, 1, 31)
    assert output.side["detail"].logits.shape == (2, 5, 1, 31)
    assert output.logits.shape == (2, 5, 65, 127)
    label = torch.randint(0, 5, (2, 65, 127))
    assert supervised_loss(CrossEntropy(), output, label).isfinite()


def test_context_is_the_image_at_half_its_size_and_detail_a_part_of_it() -> None:
    network = tiny().eval()
    image = torch.rand(1, 3, 128, 128)
    half = F.avg_pool2d(image, 2)  # which a bilinear resize to half the size is
    network.network.restores = True
    expected = network.network(half)
    network.network.restores = False
    torch.testing.assert_close(network(image).features, expected.features)
    seen = []
    encode = network.network.encode
    network.network.encode = lambda part: seen.append(part) or encode(part)
    network(image)
    assert [tuple(part.shape) for part in seen] == [(1, 3, 64, 64), (9, 3, 64, 64)]
    torch.testing.assert_close(seen[1][4], image[0, :, 32:96, 32:96])


def test_the_feature_distance_sees_the_context_and_a_frozen_copy_encodes_nothing_else() -> None:
    network = tiny().train()
    image = torch.rand(1, 3, 128, 128)
    stages = [stage for stage in Frozen(network).encode(image) if stage.ndim == 4]
    assert stages[-1].shape[-2:] == (2, 2)  # stride 32 of 64 x 64
    assert network.extent((128, 128)) == (128, 128)


def test_a_teacher_slides_while_its_student_draws_windows() -> None:
    student = tiny().train()
    teacher = Teacher(student, batch_statistics=True).train()
    image = torch.rand(2, 3, 128, 128)
    assert student(image).side
    assert not teacher(image).side
    assert len(teacher.network.windows((128, 128), (128, 128))) == 9


def test_every_parameter_gets_a_gradient() -> None:
    network = tiny()
    output = network(torch.rand(2, 3, 128, 128))
    (output.logits.square().mean() + output.side["detail"].logits.square().mean()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_an_image_smaller_than_the_window_is_seen_as_a_whole() -> None:
    network = tiny(window=(512, 512))
    output = network(torch.rand(2, 3, 100, 120))
    assert output.logits.shape == (2, 5, 100, 120)
    assert output.side["detail"].window == (0, 0, 100, 120)


def test_a_network_at_stride_eight_has_windows_on_multiples_of_sixteen() -> None:
    network = HRDA(classes(5), partial(DeepLabV2, encoder="test_resnet", weights="none"), (48, 48), width=8)
    assert (network.stride, network.factor) == (8, 2)
    assert {w[0] % 16 for w in (network.windows((256, 256), (256, 256))[0] for _ in range(50))} == {0}
    assert network(torch.rand(1, 3, 128, 128)).logits.shape == (1, 5, 128, 128)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": (72, 64)}, r"HRDA\.window is \[72, 64\]: give multiples of 32"),
        ({"factor": 0}, r"HRDA\.factor is 0"),
        ({"detail_weight": 1.0}, r"HRDA\.detail_weight is 1\.0"),
    ],
)
def test_wrong_arguments_are_named(options: dict, message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        tiny(**options)


def test_the_config_wraps_any_network_and_weights_are_left_out_below() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--network", type=NetworkFactory)
    flags = ["--network=HRDA", "--network.network=DeepLabV2", "--network.network.encoder=test_resnet"]
    config = parser.parse_args([*flags, "--network.network.aux_weight=0.1", "--network.window=[32,32]"])
    assert config.network.init_args.network.init_args.weights == "imagenet"
    without_weights(config.network)
    network = parser.instantiate(config).network(classes(3))
    assert isinstance(network.network, DeepLabV2)
    assert network.aux_weight == 0.1
    assert network.encoder is network.network.encoder
    assert head_name("network.heads.aux.0.weight") == head_name("heads.aux.0.weight") == "aux"

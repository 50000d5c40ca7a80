from collections.abc import Sequence

import pytest
import torch
from spaces import classes
from torch import Tensor, nn

from seglab.networks import Network, Segmenter
from seglab.networks.segmenter import DECODERS
from seglab.types import Output, SeglabError

TINY = {"decoder_channels": 16}


def tiny(num_classes: int = 5, **arguments: object) -> Segmenter:
    options: dict = {"encoder": "test_efficientnet", "weights": "none", "decoder_options": TINY, **arguments}
    return Segmenter(classes(num_classes), **options)


class Recorder(Network):
    """Its logits are the prepared image's first channel, so a test sees what an encoder sees."""

    def __init__(self) -> None:
        super().__init__(classes(1), ((0.5, 0.4, 0.3), (0.5, 0.25, 0.2)), 16, 32)
        self.encoder, self.feature_channels = nn.Identity(), 3

    def encode(self, image: Tensor) -> list[Tensor]:
        return [self.encoder(self.prepare(image))]

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        return Output(self.restore(stages[0][:, :1], size), stages[0])


def test_the_image_is_normalised_once_and_padded_with_the_mean() -> None:
    image = torch.rand(2, 3, 33, 40)
    output = Recorder()(image)
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.5, 0.25, 0.2]).view(3, 1, 1)
    assert output.features.shape == (2, 3, 48, 48)
    torch.testing.assert_close(output.features[..., :33, :40], (image - mean) / std)
    assert output.features[..., 33:, :].abs().max() == 0
    assert output.features[..., 40:].abs().max() == 0
    torch.testing.assert_close(output.logits, output.features[:, :1, :33, :40])


@pytest.mark.parametrize(
    ("encoder", "mean"),
    [("test_efficientnet", 0.485), ("tu-tf_efficientnet_lite0", 0.5), ("resnet18", 0.485), ("tu-resnet18", 0.485)],
)
def test_normalisation_is_the_encoders_own(encoder: str, mean: float) -> None:
    network = tiny(encoder=encoder)
    assert network.mean.shape == network.std.shape == (1, 3, 1, 1)
    assert network.mean[0, 0, 0, 0].item() == pytest.approx(mean)


def test_images_that_are_not_float_are_refused() -> None:
    with pytest.raises(SeglabError, match="divide by 255"):
        tiny()(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


@pytest.mark.parametrize("decoder", sorted(DECODERS))
@pytest.mark.parametrize("size", [(65, 97), (32, 32), (30, 7)])
def test_every_decoder_gives_logits_at_the_resolution_of_the_image(decoder: str, size: tuple[int, int]) -> None:
    encoder = "test_vit" if decoder == "DPT" else "test_efficientnet"
    network = Segmenter(classes(5), decoder, encoder, "none").eval()
    with torch.no_grad():
        output = network(torch.rand(1, 3, *size))
    assert output.logits.shape == (1, 5, *size)
    assert output.features.shape[1] == network.feature_channels
    assert output.aux == {}


@pytest.mark.parametrize(("decoder", "stride", "grid"), [("DeepLabV3Plus", 16, 33), ("DeepLabV3Plus", 8, 65)])
@pytest.mark.parametrize("encoder", ["test_efficientnet", "resnet18"])
def test_output_stride_of_the_encoder(encoder: str, decoder: str, stride: int, grid: int) -> None:
    network = tiny(decoder=decoder, encoder=encoder, output_stride=stride).to("meta")
    image = torch.rand(1, 3, 513, 513, device="meta")
    assert network.encoder(network.prepare(image))[-1].shape[-2:] == (grid, grid)
    assert network.eval()(image).logits.shape == (1, 5, 513, 513)


def test_default_output_stride_is_the_decoders_own() -> None:
    assert [tiny(decoder=d).multiple for d in ("DeepLabV3Plus", "DeepLabV3")] == [16, 8]


def test_logits_are_the_head_on_the_features_resized_without_aligned_corners() -> None:
    network = tiny().eval()
    with torch.no_grad():
        logits, features, *_ = network(torch.rand(1, 3, 64, 64))
        expected = nn.functional.interpolate(network.head(features), (64, 64), mode="bilinear", align_corners=False)
    assert features.shape == (1, 16, 16, 16)
    torch.testing.assert_close(logits, expected)


def test_split_equals_separate_forwards() -> None:
    network = tiny(projection=8).eval()
    first, second, other_size = torch.rand(2, 3, 65, 97), torch.rand(3, 3, 65, 97), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for images in ((first, second), (first, other_size), (first,)):
            parts = network.split(*images)
            assert len(parts) == len(images)
            for image, part in zip(images, parts, strict=True):
                alone = network(image)
                torch.testing.assert_close(part.logits, alone.logits)
                torch.testing.assert_close(part.features, alone.features)
                torch.testing.assert_close(part.aux["projection"], alone.aux["projection"])


def test_split_shares_batch_statistics_in_training() -> None:
    network = tiny(decoder_options=TINY | {"decoder_aspp_dropout": 0.0})
    dark, bright = torch.rand(2, 3, 64, 64) * 0.1, 0.9 + torch.rand(2, 3, 64, 64) * 0.1
    together = network.split(dark, bright)[0].logits
    torch.testing.assert_close(together, network(torch.cat([dark, bright])).logits[:2])
    assert (together - network(dark).logits).abs().max() > 1e-3


def test_two_networks_differ() -> None:
    first, second = (dict(tiny().named_parameters()) for _ in range(2))
    for name in ("head.weight", "encoder.model.conv_stem.weight"):
        assert not torch.equal(first[name], second[name])


def test_a_smp_encoder_wins_over_a_timm_one_of_the_same_name() -> None:
    assert "conv1.weight" in tiny(encoder="resnet18").encoder.state_dict()
    assert "model.conv1.weight" in tiny(encoder="tu-resnet18").encoder.state_dict()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decoder": "DeepLabv3+"}, "DeepLabV3Plus"),
        ({"encoder": "tf_efficientnet_light0"}, "tf_efficientnet_lite0.*list_models"),
        ({"encoder": "resnet18.no_such_tag"}, "no_such_tag.*resnet18.tv_in1k"),
        ({"output_stride": 4}, "output_stride 4.*16 or 8"),
        ({"decoder": "Unet", "output_stride": 16}, "no choice"),
        ({"encoder": "test_mambaout"}, "test_mambaout.*output_stride"),
        ({"encoder": "vgg11"}, "vgg11"),
        ({"decoder": "FPN", "encoder": "swin_tiny_patch4_window7_224", "decoder_options": {}}, "strict_img_size"),
        ({"encoder": "resnet18", "decoder_options": {"decoder_chanels": 16}}, "decoder_channels"),
        ({"decoder_options": {"decoder_chanels": 16}}, "decoder_chanels"),
        ({"decoder_options": {"classes": 16}}, "classes of the data"),
        ({"decoder_options": {"upsampling": 4}}, "no effect"),
    ],
)
def test_wrong_arguments_are_named_with_the_remedy(arguments: dict, message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        tiny(**arguments)


@pytest.mark.parametrize("encoder", ["resnet50", "tu-resnet50c"])
def test_multi_grid_dilates_the_blocks_of_the_last_stage_one_by_one(encoder: str) -> None:
    def layer4(**arguments: object) -> list[nn.Conv2d]:
        network = tiny(encoder=encoder, decoder_options=None, **arguments)
        stage = dict(network.encoder.named_modules())["layer4" if encoder == "resnet50" else "model.layer4"]
        return [part for part in stage.modules() if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)]

    plain, grid = layer4(), layer4(multi_grid=(2, 4, 8))
    assert [part.dilation for part in grid] == [part.padding for part in grid] == [(2, 2), (4, 4), (8, 8)]
    assert [part.stride for part in grid] == [part.stride for part in plain] == [(1, 1)] * 3
    assert [part.weight.shape for part in grid] == [part.weight.shape for part in plain]


def test_multi_grid_keeps_the_grid() -> None:
    image = torch.rand(1, 3, 64, 96)
    network = tiny(encoder="resnet50", decoder_options=None, multi_grid=(2, 4, 8)).eval()
    assert network.encode(image)[-1].shape[-2:] == (4, 6)


@pytest.mark.parametrize(("encoder", "found"), [("resnet18", "2 blocks"), ("test_efficientnet", "no layer4")])
def test_multi_grid_is_for_resnets(encoder: str, found: str) -> None:
    with pytest.raises(SeglabError, match=rf"multi_grid \[2, 4, 8\].*{found}"):
        tiny(encoder=encoder, multi_grid=(2, 4, 8))

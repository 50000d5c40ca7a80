"""A trained network as one module for other programs: uint8 images in, class indices out."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seglab.evaluation.inference import Inference, Slide, resize
from seglab.networks import HRDA, Network
from seglab.types import SeglabError

OPSET = 18  # the first with an antialiased resize
LEAST, LARGEST = 48, 16384  # pixels a side, of a program for any size: below, maps of one pixel are a case of their own
Run = Callable[[Tensor], Tensor]  # what was written: images 1 3 H W uint8 -> classes 1 H W uint8


class OneSize(SeglabError):
    """A program for any size was asked for, and there is none."""


class Deployed(nn.Module):
    """A network with its evaluation: images B 3 H W uint8 RGB -> class indices B H W uint8.

    Scales, flips, windows and averages are those of ``evaluation``. Scales other than 1 resize by torch's antialiased
    filter in place of ``data.geometry.resize_image``, which differs by a grey level or two; at scale 1 the classes are
    those of ``seglab predict``.

    Args:
        network: in evaluation mode.
        evaluation: how it sees an image. Windows of ``Slide`` go through the network in one batch.
        size: height and width of the images. None: any size, from ``smallest`` pixels a side.

    Raises:
        OneSize: any size, and the network or ``evaluation`` has windows.
    """

    def __init__(self, network: Network, evaluation: Inference, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.network, self.evaluation, self.size = network, copy.copy(evaluation), size
        windows = [part for part in (network, evaluation) if isinstance(part, (HRDA, Slide))]
        if windows and size is None:
            raise OneSize(f"how many windows of {type(windows[-1]).__name__} an image has depends on its size")
        if isinstance(self.evaluation, Slide):
            self.evaluation.batch = 1 << 30
        least = max(network.minimum + 1, LEAST)
        self.smallest = math.ceil(least / min(1.0, *evaluation.scales))
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        size = self.size or (image.shape[-2], image.shape[-1])
        image = image.to(torch.float32) / 255
        total = torch.zeros(())
        for scale in self.evaluation.scales:
            view = image if scale == 1 else resize(image, (scaled_side(size[0], scale), scaled_side(size[1], scale)))
            total = total + self.evaluation.probabilities(self.network, view, size)
            if self.evaluation.flip:
                total = total + self.evaluation.probabilities(self.network, view.flip(-1), size).flip(-1)
        return total.argmax(1).to(torch.uint8)

    def program(self) -> torch.export.ExportedProgram:
        """Itself as a program of torch's operations alone.

        Raises:
            OneSize: for any size, and the network asks for one.
            SeglabError: it cannot be traced.
        """
        # For any size an example that no stride divides: sizes that happen to be equal would have to stay so.
        example = torch.zeros(1, 3, *(self.size or (self.smallest + 97, self.smallest + 138)), dtype=torch.uint8)
        sides = {2: "height", 3: "width"}
        free: Any = {i: torch.export.Dim(side, min=self.smallest, max=LARGEST) for i, side in sides.items()}
        try:
            return torch.export.export(
                self,
                (example,),
                dynamic_shapes=None if self.size else {"image": free},
                prefer_deferred_runtime_asserts_over_guards=True,
            )
        except Exception as error:  # those of torch's tracer have no common class
            kind = SeglabError if self.size else OneSize
            raise kind(f"the network cannot be exported: {str(error).partition(chr(10))[0]}") from error


def scaled_side(side: int, scale: float) -> int:
    """``max(1, round(side * scale))`` in whole numbers, as programs for any size need."""
    half = 1 << 39
    scaled = side * int(scale * 2 * half) + half
    whole, rest = scaled // (2 * half), scaled % (2 * half)
    tie: Any = 1 - torch.sym_min(rest, 1)
    nearest: Any = torch.sym_max(1, whole - tie * (whole % 2))
    return nearest


def write_onnx(module: Deployed, path: Path) -> None:
    """Write an ONNX file of opset 18, weights included: ``image`` 1 3 H W uint8 -> ``classes`` 1 H W uint8.

    Raises:
        OneSize: the module is for any size, and the file would not be.
        SeglabError: the package onnxscript is not installed, or the network has an operation that ONNX lacks.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch needs it
    except ImportError as error:
        raise SeglabError("--to onnx needs further packages: pip install 'seglab[export]'") from error
    program = module.program()
    try:
        onnx = torch.onnx.export(
            program, (), input_names=["image"], output_names=["classes"], opset_version=OPSET, verbose=False
        )
        assert onnx is not None
        if module.size is None:  # the names that the tracer gave them are none
            axes: Any = onnx.model.graph.inputs[0].shape
            onnx.rename_axes({axes[2]: "height", axes[3]: "width"})
        onnx.save(path, external_data=False)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise SeglabError(f"the network cannot be written as ONNX: {str(error).partition(chr(10))[0]}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is told below
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    check_sizes(module, lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0]))


def write_program(module: Deployed, path: Path) -> None:
    """Write a program of torch alone, which ``torch.export.load(path).module()`` reads without seglab.

    Raises:
        OneSize: the module is for any size, and the program would not be.
        SeglabError: the network cannot be traced.
    """
    program = module.program()
    torch.export.save(program, path)
    check_sizes(module, program.module())


@torch.no_grad()
def check_sizes(module: Deployed, run: Run) -> None:
    """Raise ``OneSize`` unless what was written for any size answers as the module does, at two sizes.

    Pooling to a fixed grid is a case: ONNX has it for the size of the example alone, and says nothing.
    """
    generator = torch.Generator().manual_seed(0)
    for more in () if module.size else ((0, 0), (70, 31)):
        size = module.smallest + more[0], module.smallest + 62 + more[1]
        image = torch.randint(0, 256, (1, 3, *size), generator=generator, dtype=torch.uint8)
        try:
            agreement = (run(image) == module(image)).float().mean()
        except Exception as error:  # of another library
            raise OneSize(f"it fails at another size, {size[0]} x {size[1]}") from error
        if agreement < 0.99:
            raise OneSize(f"it answers otherwise at another size, {size[0]} x {size[1]}")

"""Options that change how a network is computed and not what: ``channels_last`` and ``compile``."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from networks.test_options import TINY, images, tiny
from probes import break_off, fit_command, only_run, same, weights
from spaces import classes
from torch import Tensor, nn

from seglab.cli import main
from seglab.networks import Network, compiled
from seglab.ops.perturb import without_dropout
from seglab.ops.teacher import Frozen, Teacher
from seglab.types import Output, SeglabError


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Graphs as torch.compile makes them, run without generated code; the names of the pieces that were compiled."""
    names: list[str] = []
    make = torch.compile

    def traced_compile(piece: object, **options: object) -> object:
        names.append(piece.__name__)  # type: ignore[attr-defined]
        return make(piece, backend="aot_eager", **options)  # type: ignore[call-overload]

    monkeypatch.setattr(torch, "compile", traced_compile)
    monkeypatch.setattr(compiled, "check_compiler", lambda device: None)
    compiled.compiled.cache_clear()
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield names
    compiled.compiled.cache_clear()
    torch._dynamo.reset()


def graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def twins(name: str, **options: bool) -> tuple[Network, Network]:
    """A network and one of the same weights with these options."""
    torch.manual_seed(0)
    plain, other = tiny(name).train(), tiny(name, **options).train()
    other.load_state_dict(plain.state_dict())
    for network in (plain.double(), other.double()):  # in which rounding does not grow to another answer
        for part in network.modules():
            if isinstance(part, nn.Dropout | nn.Dropout2d):
                part.p = 0.0  # which draws other random numbers
    return plain, other


def learnt(network: Network, output: Output) -> dict[str, Tensor]:
    output.logits.square().mean().backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def seeded(network: Network, image: Tensor) -> Output:
    """HRDA draws a window."""
    torch.manual_seed(1)
    output: Output = network(image)
    return output


def assert_equal_steps(plain: Network, other: Network) -> None:
    image = images().double()
    one, two = seeded(plain, image), seeded(other, image)
    torch.testing.assert_close(two.logits, one.logits)
    ours, theirs = learnt(other, two), learnt(plain, one)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, msg=name)
    for a, b in zip(plain.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(b, a)


@pytest.mark.parametrize("name", TINY)
def test_channels_last_is_a_layout(name: str) -> None:
    plain, other = twins(name, channels_last=True)
    inner = other.network if name == "HRDA" else other
    assert isinstance(inner, Network)
    wide = [p for p in inner.parameters() if p.ndim == 4 and min(p.shape[1:3]) > 1]
    assert wide
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)
    assert inner.prepare(images().double()).is_contiguous(memory_format=torch.channels_last)
    teacher = Teacher(inner).network
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in teacher.parameters() if p.ndim == 4)
    assert_equal_steps(plain, other)
    assert other(images().double()).logits.is_contiguous(), "as losses want them"


@pytest.mark.parametrize("name", TINY)
def test_compiled_pieces_are_whole_graphs_with_the_same_numbers(name: str, traced: list[str]) -> None:
    plain, other = twins(name, compile=True)
    assert plain.state_dict().keys() == other.state_dict().keys()
    assert_equal_steps(plain, other)
    assert traced == ["encode", "decode"]
    assert not torch._dynamo.utils.counters["graph_break"]
    assert graphs() == (4 if name == "HRDA" else 2), "HRDA's network sees images of two sizes"


def test_no_method_calls_past_the_compiled_pieces(traced: list[str]) -> None:
    _, network = twins("DeepLabV3Plus", compile=True)
    weak, strong = images().double(), images(4).double()
    stages, other = network.encode_apart(weak, strong, frozen=(False, True))
    with torch.no_grad(), without_dropout(network):
        network.decode(stages, (64, 96))
    network.decode_apart([stages, other], [(64, 96)] * 2)
    assert graphs() == 3, "the encoder's, the decoder's for labels, the decoder's for learning"
    teacher, frozen = Teacher(network), Frozen(network)
    teacher(weak), frozen.encode(weak)
    assert graphs() == 5, "teachers and frozen copies evaluate, and share their graphs"
    twin = deepcopy(network)
    twin.encode_apart(weak, strong, frozen=(False, True))
    assert graphs() == 5, "two networks alike share theirs"
    assert not torch._dynamo.utils.counters["graph_break"]


def test_validation_has_images_of_any_size_and_is_not_compiled(traced: list[str]) -> None:
    _, network = twins("DeepLabV3Plus", compile=True)
    with torch.inference_mode():
        network.eval()(images().double())
    assert not traced


def test_a_missing_compiler_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "find_cpp_compiler", lambda: "")
    monkeypatch.setattr(compiled, "has_triton", lambda: False)
    compiled.compiled.cache_clear()
    network = tiny("DeepLabV3Plus", compile=True)
    with pytest.raises(SeglabError, match=r"C\+\+ compiler.*apt install g\+\+.*network\.compile to false"):
        network(images())
    with pytest.raises(SeglabError, match=r"Triton.*network\.compile to false"):
        compiled.check_compiler("cuda")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_run_with_both_resumes_bit_for_bit(precision: str, camvid: Path, tmp_path: Path, traced: list[str]) -> None:
    flags = ["--network.compile", "true", "--network.channels_last", "true", "--trainer.precision", precision]
    whole = fit_command("unimatch", camvid, tmp_path / "whole", 4, *flags)
    assert main(whole) == 0
    broken = fit_command("unimatch", camvid, tmp_path / "broken", 4, *flags)
    break_off(broken, 2)
    assert main([*broken, "--ckpt_path", "last"]) == 0
    a, b = weights(only_run(tmp_path / "whole")), weights(only_run(tmp_path / "broken"))
    assert same(a, b)
    plain = fit_command("unimatch", camvid, tmp_path / "plain", 1)
    assert main(plain) == 0
    assert weights(only_run(tmp_path / "plain")).keys() == a.keys()


class Small(Network):
    """One convolution, so that its code is generated in seconds."""

    def __init__(self, **common: Any) -> None:
        super().__init__(classes(3), ((0.0,) * 3, (1.0,) * 3), 1, 1, **common)
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head, self.feature_channels = nn.Conv2d(4, 3, 1), 4
        self.finish(4)

    def encode(self, image: Tensor) -> list[Tensor]:
        return [self.encoder(self.prepare(image))]

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        return self.output(self.head(stages[0]), stages[0], stages, size)


@pytest.mark.skipif(not compiled.find_cpp_compiler(), reason="needs a C++ compiler")
def test_generated_code_computes_the_same() -> None:
    compiled.compiled.cache_clear()
    torch._dynamo.reset()
    plain, other = Small().train(), Small(compile=True, channels_last=True).train()
    other.load_state_dict(plain.state_dict())
    assert_equal_steps(plain.double(), other.double())

"""Content transfer: content without style, which classes are pasted, and where."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pointwise import OFF, batch, method

from seglab.data.class_counts import ClassCounts
from seglab.methods import ContentTransfer
from seglab.methods.adaptation.content_transfer import like
from seglab.ops.norm import without_style
from seglab.types import SeglabError


def transfer(**arguments: Any) -> Any:
    torch.manual_seed(0)
    module = method(ContentTransfer, **{"strong": OFF} | arguments)
    module.tail[1] = True
    return module


def test_the_content_of_the_card() -> None:
    """1 and 3 over two cells: -1 and 1."""
    content = without_style(torch.tensor([1.0, 3.0]).view(1, 1, 1, 2), eps=0.0)
    assert content.flatten().tolist() == [-1.0, 1.0]


def test_another_style_is_the_same_content() -> None:
    x = torch.randn(2, 3, 4, 5)
    factor, shift = torch.rand(2, 3, 1, 1) + 0.5, torch.randn(2, 3, 1, 1)
    torch.testing.assert_close(without_style(factor * x + shift), without_style(x), rtol=0, atol=1e-4)
    assert without_style(torch.ones(1, 2, 1, 1)).tolist() == [[[[0.0]], [[0.0]]]], "one cell has no deviation"


@pytest.mark.parametrize(
    ("frequency", "share", "tail"),
    [([0.5, 0.1, 0.3, 0.1], 0.5, [1, 3]), ([0.7, 0.0, 0.2, 0.1], 0.5, [3]), ([0.6, 0.4, 0.0, 0.0], 1.0, [0, 1])],
)
def test_the_rarer_half_of_the_classes_that_the_source_shows(
    frequency: list[float], share: float, tail: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = method(ContentTransfer, classes=["a", "b", "c", "d"], share=share)
    counts = ClassCounts(("x",), np.array([[round(100 * part) for part in frequency]], np.uint32))
    monkeypatch.setattr(ContentTransfer, "class_counts", counts)
    module.on_fit_start()
    assert module.tail.nonzero().flatten().tolist() == tail


def test_the_terms_pixel_by_pixel() -> None:
    module, data = transfer(content=2.0), batch()
    module.strong = lambda image: image.square()
    terms = module.losses(data)
    source, target = data["labeled"], data["unlabeled"]
    contents = {
        (name, strong): without_style(module.student.encode(part["image"].square() if strong else part["image"])[0])
        for name, part in (("s", source), ("t", target))
        for strong in (False, True)
    }
    torch.testing.assert_close(
        terms["supervised"], F.cross_entropy(contents["s", False], source["mask"], ignore_index=255)
    )
    torch.testing.assert_close(module.student(source["image"]).logits, contents["s", False])
    away = [
        (contents[n, False] - contents[n, True]).abs().mean(1)[p["valid"]].mean()
        for n, p in (("s", source), ("t", target))
    ]
    torch.testing.assert_close(terms["content"], 2 * (away[0] + away[1]) / 2)
    pasted = source["mask"] == 1
    mixed = torch.where(pasted.unsqueeze(1), contents["s", False], contents["t", False])
    each = F.cross_entropy(mixed, source["mask"], reduction="none", ignore_index=255)
    torch.testing.assert_close(terms["transfer"], each[pasted].mean())


def test_without_a_rare_class_nothing_is_pasted() -> None:
    module, data = transfer(), batch()
    module.tail.zero_()
    terms = module.losses(data)
    assert terms["transfer"].item() == 0
    sum(terms.values()).backward()  # type: ignore[union-attr]
    assert all(torch.isfinite(x.grad).all() for x in module.student.parameters())


def test_sources_are_taken_in_turn_at_the_size_of_the_target() -> None:
    x = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    assert like(x, torch.zeros(3, 1, 4, 6)).shape == (3, 1, 4, 6)
    assert like(x, torch.zeros(3, 1, 2, 2))[:, 0, 0, 0].tolist() == [0.0, 1.0, 0.0]
    label = torch.tensor([[[[3, 255]]]])
    assert like(label, torch.zeros(1, 1, 1, 4)).tolist() == [[[[3, 3, 255, 255]]]]


@pytest.mark.parametrize(("argument", "value"), [("content", -1.0), ("transfer", -1.0), ("share", 0.0)])
def test_wrong_arguments_are_named(argument: str, value: float) -> None:
    with pytest.raises(SeglabError, match=rf"ContentTransfer\.{argument}"):
        transfer(**{argument: value})

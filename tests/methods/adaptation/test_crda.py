"""CRDA's relation between pixels against its formula."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointwise import OFF, batch, method

from seglab.methods import CRDA
from seglab.methods.adaptation.crda import similarities
from seglab.types import SeglabError


def crda(**arguments: Any) -> Any:
    return method(CRDA, classes=["road", "car"], strong=OFF, **arguments)


def test_the_card() -> None:
    """Student logits (1, 0) and (0, 1), teacher (1, 0) and (1, 1): 0.25; the same logits: 0."""
    student = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # B K n
    teacher = torch.tensor([[[1.0, 1.0], [0.0, 1.0]]])
    torch.testing.assert_close(similarities(student), torch.eye(2)[None])
    assert similarities(teacher)[0, 0, 1].item() == pytest.approx(0.707107, abs=1e-6)
    assert F.mse_loss(similarities(student), similarities(teacher)).item() == pytest.approx(0.25)
    assert F.mse_loss(similarities(3 * student), similarities(student)).item() == 0


def test_a_teacher_like_its_student_leaves_nothing_to_learn() -> None:
    module = crda()
    assert module.losses(batch())["relation"].item() == pytest.approx(0, abs=1e-10)


def test_all_pixels_of_mixed_images_are_compared_pair_by_pair_and_the_student_alone_learns() -> None:
    module, data = crda(pixels=1000, relation_weight=2.0), batch()
    for parameter in module.teacher.parameters():
        parameter.data += torch.randn_like(parameter)
    seen = []
    encode = module.student.encode
    module.student.encode = lambda image: seen.append(image) or encode(image)
    term = module.losses(data)["relation"]
    mixed = seen[-1][len(data["labeled"]["image"]) :]
    maps = [part(mixed).logits.flatten(2) for part in (module.student, module.teacher)]
    expected = torch.zeros(())
    for ours, theirs in zip(*maps, strict=True):  # K n
        pairs = [F.cosine_similarity(x[:, :, None], x[:, None, :], dim=0) for x in (ours, theirs)]
        expected = expected + (pairs[0] - pairs[1]).square().mean() / len(mixed)
    torch.testing.assert_close(term, 2 * expected)
    term.backward()
    assert all(parameter.grad is not None for parameter in module.student.parameters())
    assert all(parameter.grad is None for parameter in module.teacher.parameters())


@pytest.mark.parametrize(("argument", "value"), [("pixels", 1), ("relation_weight", -1.0)])
def test_wrong_arguments_are_named(argument: str, value: float) -> None:
    with pytest.raises(SeglabError, match=rf"CRDA\.{argument}"):
        crda(**{argument: value})

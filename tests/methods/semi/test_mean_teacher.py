"""Mean Teacher against its formulas, on a network of two 1x1 convolutions."""

import pytest
import torch
from pointwise import batch, constant, decoded, sharpen

from seglab.methods import MeanTeacher


@pytest.mark.parametrize("on_labeled", [True, False])
def test_is_the_squared_difference_over_pixels_and_classes(on_labeled: bool) -> None:
    module, data = decoded(MeanTeacher, weight=3.0, on_labeled=on_labeled), batch()
    sharpen(module.teacher.network, 2.0)
    consistency = module.losses(data)["consistency"].item()

    total, count = 0.0, 0
    for name in ["labeled", "unlabeled"] if on_labeled else ["unlabeled"]:
        image, valid = data[name]["image"], data[name]["valid"]  # type: ignore[literal-required]
        p, q = module.student(image).logits.softmax(1), module.teacher.network(image).logits.softmax(1)
        total += ((p - q).square() * valid[:, None]).sum().item()
        count += 2 * valid.sum().item()
    assert consistency == pytest.approx(3.0 * total / count, rel=1e-5)


def test_of_one_known_pixel() -> None:
    module = decoded(MeanTeacher, weight=1.0)
    constant(module.student, 0.8, 0.2)
    constant(module.teacher.network, 0.6, 0.4)
    assert module.losses(batch())["consistency"].item() == pytest.approx(0.04)


def test_after_two_steps() -> None:
    module = decoded(MeanTeacher)
    (weight, *_), (ours, *_) = module.student.parameters(), module.teacher.network.parameters()
    start, first, second = weight.detach().clone(), torch.randn_like(weight), torch.randn_like(weight)
    for step, value in enumerate((first, second)):
        weight.data = value
        module.teacher.update(module.student, step)
    torch.testing.assert_close(ours, 0.99**2 * start + 0.99 * 0.01 * first + 0.01 * second)


def test_weight_ramps_up() -> None:
    module, data = decoded(MeanTeacher, weight=1.0, ramp_up=10), batch()
    sharpen(module.teacher.network, 2.0)
    ramped = module.losses(data)["consistency"].item()
    module.ramp_up = 0
    assert ramped == pytest.approx(module.losses(data)["consistency"].item() * torch.exp(torch.tensor(-5.0)).item())

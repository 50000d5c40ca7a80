"""ops/mixing.py"""

import pytest
import torch
from jsonargparse import ArgumentParser

from seglab.compat import lazy_instance
from seglab.labels import IGNORE
from seglab.ops.boxes import AreaBox, BetaBox, BoxSampler, FixedAreaBox, HalfBox
from seglab.ops.mixing import (
    Pixels,
    block_mask,
    class_mask,
    classes_present,
    cutmix,
    cutmix_partner,
    cycled,
    ground_truth,
    half,
    paste,
    select,
    stretch,
)
from seglab.types import SeglabError

CPU = torch.device("cpu")


def is_rectangle(mask: torch.Tensor) -> bool:
    rows, columns = mask.any(1), mask.any(0)
    return bool(torch.equal(mask, rows[:, None] & columns)) and all(
        (side.int().diff() != 0).sum() <= 2 and side.any() for side in (rows, columns)
    )


def pixels(batch: int, size: int = 4) -> Pixels:
    """Image, label, weight and validity all tell which image a pixel came from."""
    index = torch.arange(batch).view(-1, 1, 1).expand(batch, size, size)
    return Pixels(index.unsqueeze(1).expand(-1, 3, -1, -1).float(), index, index / 10, index % 2 == 0)


class LeftHalf(BoxSampler):
    def __call__(self, batch, height, width, device):
        return (torch.arange(width, device=device) < width // 2).expand(batch, height, width)


def test_area_box_has_the_published_area_and_aspect():
    torch.manual_seed(0)
    masks = AreaBox(probability=1.0)(1000, 80, 80, CPU)
    share = masks.float().mean((1, 2))
    assert share.mean().item() == pytest.approx(0.209, abs=0.012)  # 0.21 less what int() cuts
    assert share.std().item() == pytest.approx(0.109, abs=0.012)
    assert share.max() <= 0.4
    aspect = masks.any(2).sum(1) / masks.any(1).sum(1)
    assert aspect.min() > 0.25
    assert aspect.max() < 4.0
    assert all(is_rectangle(mask) for mask in masks[:50])


def test_area_box_rejection_gives_the_same_law_as_drawing_until_it_fits():
    torch.manual_seed(0)
    size, tries, heights = 40, 4000, []
    while len(heights) < tries:  # the published loop, many attempts at once, at a fixed area
        ratio = torch.empty(tries).uniform_(0.3, 1 / 0.3)
        h, w = (0.4 * size**2 * ratio).sqrt().floor(), (0.4 * size**2 / ratio).sqrt().floor()
        top, left = torch.randint(size, (2, tries))
        heights += h[(top + h <= size) & (left + w <= size)].tolist()
    ours = AreaBox(area=(0.4, 0.4), probability=1.0)(tries, size, size, CPU).any(2).sum(1).float()
    theirs = torch.tensor(heights[:tries])
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), abs=0.3)
    assert ours.std().item() == pytest.approx(theirs.std().item(), abs=0.3)


def test_area_box_probability_is_per_image():
    torch.manual_seed(0)
    used = AreaBox()(1000, 20, 20, CPU).flatten(1).any(1).float().mean()
    assert used.item() == pytest.approx(0.5, abs=0.05)


def test_fixed_area_box_covers_half_the_image():
    torch.manual_seed(0)
    masks = FixedAreaBox()(300, 100, 200, CPU)
    assert masks.float().mean((1, 2)).sub(0.5).abs().max() < 0.008  # sides are rounded to pixels
    assert all(is_rectangle(mask) for mask in masks[:50])
    assert masks.any(2).sum(1).float().std() > 5  # the aspect varies
    assert masks.float().mean(0).std() > 0.05  # positions stay inside, so the centre is covered most


def test_three_toggled_boxes_have_the_published_area():
    torch.manual_seed(0)
    share = FixedAreaBox(boxes=3, proportion=(0.25, 0.5))(2000, 64, 64, CPU).float().mean((1, 2))
    assert share.mean().item() == pytest.approx(0.251, abs=0.01)
    assert share.std().item() == pytest.approx(0.069, abs=0.01)


def test_half_box_covers_half_the_image_and_more_than_half_its_width():
    torch.manual_seed(0)
    masks = HalfBox()(2000, 100, 200, CPU)
    assert masks.float().mean((1, 2)).sub(0.5).abs().max() < 0.005  # the height is rounded to pixels
    assert all(is_rectangle(mask) for mask in masks[:50])
    width = masks.any(1).sum(1)
    assert (width.min(), width.max()) == (101, 199)
    assert width.float().mean().item() == pytest.approx(150, abs=2)
    assert HalfBox()(3, 321, 321, CPU).float().mean((1, 2)).sub(0.5).abs().max() < 0.0016
    assert HalfBox()(2, 1, 1, CPU).shape == (2, 1, 1)
    assert not HalfBox(probability=0.0)(4, 8, 8, CPU).any()


@pytest.mark.parametrize(("parameters", "area"), [((4.0, 4.0), 0.358), ((8.0, 2.0), 0.163)])
def test_beta_box_has_the_published_area(parameters, area):
    torch.manual_seed(0)
    share = torch.cat([BetaBox(*parameters)(4, 64, 64, CPU).float().mean((1, 2)) for _ in range(1000)])
    assert share.mean().item() == pytest.approx(area, abs=0.012)


def test_beta_boxes_of_a_batch_have_one_size_and_centres_of_their_own(monkeypatch):
    fixed = torch.distributions.Beta
    monkeypatch.setattr(fixed, "sample", lambda self: torch.tensor([[0.75]]))  # half of the height and width pasted
    torch.manual_seed(0)
    masks = BetaBox()(200, 24, 40, CPU)
    assert all(is_rectangle(mask) for mask in masks[:50])
    assert (masks.any(2).sum(1).max(), masks.any(1).sum(1).max()) == (12, 20)
    assert not masks[:, 0].any(1).all()
    bottom = torch.where(masks.any(2), torch.arange(1, 25), 0).amax(1)  # centre + 6, or the border
    assert (bottom.min(), bottom.max()) == (24 // 8 + 6, 24)


@pytest.mark.parametrize("law", [AreaBox(), FixedAreaBox(boxes=2), HalfBox(), BetaBox()])
def test_laws_draw_on_the_device_without_waiting_and_repeat_with_the_seed(law, no_host_sync):
    torch.manual_seed(3)
    with no_host_sync:
        first = law(4, 17, 23, CPU)
    torch.manual_seed(3)
    assert torch.equal(law(4, 17, 23, CPU), first)
    assert first.shape == (4, 17, 23)
    assert first.dtype == torch.bool


def test_paste_works_for_images_labels_and_masks_of_any_dtype():
    mask = torch.tensor([[[True, False]]])
    for dtype in (torch.float32, torch.int64, torch.bool, torch.bfloat16):
        new, old = torch.ones(1, 1, 2, dtype=dtype), torch.zeros(1, 1, 2, dtype=dtype)
        assert paste(mask, new, old).tolist() == [[[1, 0]]]
        assert paste(mask, new.expand(3, 1, 1, 2), old.expand(3, 1, 1, 2))[2, 0, 0].tolist() == [1, 0]


@pytest.mark.parametrize("batch", [2, 3, 5])
def test_nobody_is_its_own_partner(batch):
    source = cutmix_partner(pixels(batch), pixels(1)).label[:, 0, 0]
    assert (source != torch.arange(batch)).all()
    assert source.sort().values.tolist() == list(range(batch))


def test_cutmix_moves_all_that_is_known_about_a_pixel():
    batch = pixels(3)
    mixed = cutmix(LeftHalf(), cutmix_partner(batch, batch), batch)
    assert mixed.label[:, 0].tolist() == [[2, 2, 0, 0], [0, 0, 1, 1], [1, 1, 2, 2]]
    assert torch.equal(mixed.image, mixed.label.unsqueeze(1).expand(-1, 3, -1, -1).float())
    torch.testing.assert_close(mixed.weight, mixed.label / 10)
    assert torch.equal(mixed.valid, mixed.label % 2 == 0)


def test_class_probabilities_are_mixed_like_labels():
    batch = pixels(2)
    soft = batch._replace(label=batch.label.unsqueeze(1).expand(-1, 5, -1, -1).float())  # B 5 H W
    mixed = cutmix(LeftHalf(), cutmix_partner(soft, soft), soft)
    assert torch.equal(mixed.label[:, 4], mixed.image[:, 0])


def test_a_single_image_meets_the_first_labeled_one_resized():
    mask = torch.tensor([[3, IGNORE], [3, 5]]).repeat_interleave(4, 0).repeat_interleave(4, 1)[None].expand(2, -1, -1)
    labeled = ground_truth(torch.full((2, 3, 8, 8), 0.25), mask, mask != 5)
    source = cutmix_partner(pixels(1), labeled)
    assert source.label.tolist() == [[[3, 3, IGNORE, IGNORE]] * 2 + [[3, 3, 5, 5]] * 2]
    assert torch.equal(source.valid, source.label != 5)
    assert torch.equal(source.weight, torch.ones(1, 4, 4))
    torch.testing.assert_close(source.image, torch.full((1, 3, 4, 4), 0.25))
    mixed = cutmix(LeftHalf(), source, pixels(1))
    assert mixed.label[0, 3].tolist() == [3, 3, 0, 0]
    assert (mixed.label.dtype, mixed.valid.dtype) == (torch.int64, torch.bool)


def test_swapping_the_law_in_a_config_keeps_no_area_of_the_old_one():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--boxes", type=BoxSampler, default=lazy_instance(AreaBox))
    config = parser.parse_args(["--boxes", "FixedAreaBox", "--boxes.boxes", "3"])
    assert config.boxes.init_args.proportion == FixedAreaBox().proportion
    assert "area" not in config.boxes.init_args


@pytest.mark.parametrize(
    ("law", "settings"),
    [
        (AreaBox, {"area": (0.0, 0.4)}),
        (AreaBox, {"area": (0.5, 0.4)}),
        (AreaBox, {"ratio": 0.0}),
        (AreaBox, {"probability": 1.5}),
        (FixedAreaBox, {"proportion": (0.5, 1.2)}),
        (FixedAreaBox, {"boxes": 0}),
        (HalfBox, {"probability": -0.1}),
    ],
)
def test_settings_out_of_range_are_named(law, settings):
    with pytest.raises(SeglabError, match=f"{law.__name__}.*{next(iter(settings))}"):
        law(**settings)


LABEL = torch.tensor([[[0, 0], [1, 2]]])


def chosen(*classes: int) -> torch.Tensor:
    return torch.isin(torch.arange(256), torch.tensor(classes)).unsqueeze(0)


def test_the_mask_covers_the_chosen_classes():
    assert select(LABEL, chosen(0)).tolist() == [[[True, True], [False, False]]]
    assert select(LABEL, chosen(0, 2)).tolist() == [[[True, True], [False, True]]]


@pytest.mark.parametrize(("classes", "pasted"), [(1, 1), (2, 1), (3, 2), (4, 2), (19, 10)])
def test_half_of_the_classes_rounded_up(classes, pasted):
    torch.manual_seed(0)
    label = torch.arange(classes).repeat(50, 2, 1)
    counts = class_mask(label)[:, 0].sum(1)
    assert counts.tolist() == [pasted] * 50


def test_every_class_is_as_likely_and_images_are_drawn_apart():
    torch.manual_seed(0)
    masks = class_mask(torch.tensor([3, 7, 11]).repeat(6000, 1, 1))[:, 0]
    assert masks.float().mean(0).sub(2 / 3).abs().max() < 0.02
    assert len(masks.unique(dim=0)) == 3


def test_whole_classes_are_in_or_out_whatever_the_image_next_to_it_shows():
    torch.manual_seed(0)
    label = torch.randint(0, 6, (8, 20, 30))
    label[4:] += 10
    mask = class_mask(label)
    for image, inside in zip(label, mask, strict=True):
        assert not set(image[inside].tolist()) & set(image[~inside].tolist())
        assert len(image[inside].unique()) == 3


def test_ignored_pixels_are_neither_pasted_nor_counted():
    torch.manual_seed(0)
    label = torch.tensor([0, 1, IGNORE]).repeat(100, 1, 1)
    mask = class_mask(label)[:, 0]
    assert not mask[:, 2].any()
    assert mask.sum(1).tolist() == [1] * 100
    assert not class_mask(torch.full((2, 3, 3), IGNORE)).any()


def test_classes_present_are_those_of_each_image():
    present = classes_present(torch.tensor([[[0, 4]], [[IGNORE, 2]]]))
    assert present.nonzero().tolist() == [[0, 0], [0, 4], [1, 2]]


def test_it_draws_without_waiting_for_the_device_and_repeats_with_the_seed(no_host_sync):
    label = torch.randint(0, 19, (2, 8, 8))
    torch.manual_seed(1)
    with no_host_sync:
        first = class_mask(label)
    torch.manual_seed(1)
    assert torch.equal(first, class_mask(label))
    assert half(torch.zeros(1, 256, dtype=torch.bool)).sum() == 0


def test_blocks_of_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor([[[0.2, 0.8], [0.71, 0.69]]]))
    mask = block_mask((1, 128, 128), 64, 0.7, torch.device("cpu"))
    quadrants = mask.view(1, 2, 64, 2, 64).sum((2, 4))
    assert quadrants.tolist() == [[[0, 4096], [4096, 0]]]


def test_a_side_that_is_no_multiple_has_blocks_of_equal_size() -> None:
    grid = torch.tensor([[[True], [False]]])
    assert stretch(grid, 96, 32).sum((1, 2)).tolist() == [48 * 32]
    assert block_mask((3, 96, 20), 64, 0.5, torch.device("cpu")).shape == (3, 96, 20)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_share_of_hidden_blocks(ratio: float) -> None:
    torch.manual_seed(0)
    mask = block_mask((50, 100, 100), 10, ratio, torch.device("cpu"))
    assert 1 - mask.float().mean().item() == pytest.approx(ratio, abs=0.02)
    assert mask[0].ne(mask[1]).any() == (0 < ratio < 1), "each image has a mask of its own"


def test_cycled_repeats_images_and_resizes_them():
    few = pixels(2)
    many = cycled(few, 5, torch.Size([4, 4]))
    assert many.label[:, 0, 0].tolist() == [0, 1, 0, 1, 0]
    assert cycled(few, 1, torch.Size([8, 6])).image.shape == (1, 3, 8, 6)

import pytest
import torch
from torch import nn

from seglab.ops.perturb import (
    complementary_dropout,
    complementary_masks,
    drop_channels,
    feature_noise,
    without_dropout,
)
from seglab.types import SeglabError


def test_channels_are_dropped_whole_and_the_others_doubled() -> None:
    torch.manual_seed(0)
    fine, coarse, token = torch.ones(4, 500, 6, 8), torch.ones(4, 300, 3, 4), torch.rand(4, 7)
    dropped = drop_channels([fine, coarse, token])
    for stage in dropped[:2]:
        assert torch.equal(stage, stage[:, :, :1, :1].expand_as(stage)), "one draw for a whole channel"
        assert set(stage.unique().tolist()) == {0.0, 2.0}
        assert stage.mean().item() == pytest.approx(1.0, abs=0.06)
    assert not torch.equal(dropped[0][0], dropped[0][1]), "one draw for each image"
    assert dropped[2] is token


def test_dropping_no_channel_changes_nothing_and_dropping_all_is_refused() -> None:
    stage = torch.rand(2, 5, 3, 3)
    assert torch.equal(drop_channels([stage], 0.0)[0], stage)
    with pytest.raises(SeglabError, match="share of dropped channels is 1"):
        drop_channels([stage], 1.0)


def test_complementary_masks_sum_to_two_and_leave_the_chosen_images_whole() -> None:
    torch.manual_seed(0)
    whole = torch.tensor([False, True, False, False])
    first, second = complementary_masks(whole, 1000).chunk(2)
    assert torch.equal(first + second, torch.full((4, 1000), 2.0))
    assert (first[1] == 1).all()
    assert (second[1] == 1).all()
    assert set(first[~whole].unique().tolist()) == {0.0, 2.0}
    assert first[~whole].mean().item() == pytest.approx(1.0, abs=0.05)  # E[mask x feature] = feature


@pytest.mark.parametrize(("batch", "whole"), [(1, 0), (2, 1), (5, 2), (8, 4)])
def test_half_of_the_images_rounded_down_keep_all_channels(batch: int, whole: int) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        views = complementary_dropout([torch.ones(2 * batch, 64, 2, 2)])[0][:, :, 0, 0]
        assert (views == 1).all(1).sum() == 2 * whole
        assert torch.equal(views[:batch] + views[batch:], torch.full((batch, 64), 2.0))


def test_maps_of_one_width_share_their_channels_and_tokens_pass() -> None:
    torch.manual_seed(0)
    token = torch.rand(4, 7)
    wide, narrow, again, last = complementary_dropout(
        [torch.ones(4, 64, 2, 2), torch.ones(4, 9, 4, 4), torch.ones(4, 64, 1, 1), token], intact=0.0
    )
    assert torch.equal(wide[:, :, 0, 0], again[:, :, 0, 0])
    assert torch.equal(narrow[:2] + narrow[2:], torch.full((2, 9, 4, 4), 2.0))
    assert last is token


def test_which_images_stay_whole_is_random() -> None:
    torch.manual_seed(0)
    draws = {
        tuple((complementary_dropout([torch.ones(8, 32, 1, 1)])[0][:4, :, 0, 0] == 1).all(1).tolist())
        for _ in range(20)
    }
    assert len(draws) > 2


def test_perturbations_keep_the_precision_and_the_host_free(no_host_sync) -> None:
    stages = [torch.rand(4, 8, 3, 3, dtype=torch.bfloat16), torch.rand(4, 0, 2, 2, dtype=torch.bfloat16)]
    with no_host_sync:
        results = [*drop_channels(stages), *complementary_dropout(stages)]
    assert {stage.dtype for stage in results} == {torch.bfloat16}


def test_without_dropout_only_dropout_is_off_and_only_inside() -> None:
    module = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Dropout(0.5).eval())
    with without_dropout(module):
        assert [part.training for part in module] == [False, True, False]
        assert torch.equal(module[0](torch.ones(2, 4)), torch.ones(2, 4))
    assert [part.training for part in module] == [True, True, False]


def test_feature_noise_is_relative_and_uniform() -> None:
    torch.manual_seed(0)
    stage, token = torch.full((2, 50, 20, 20), 2.0), torch.rand(2, 7)
    noisy = feature_noise([stage, token], 0.3)
    assert noisy[1] is token
    assert noisy[0].mean().item() == pytest.approx(2.0, abs=0.01)
    assert (noisy[0].min().item(), noisy[0].max().item()) == pytest.approx((1.4, 2.6), abs=0.01)
    assert feature_noise([stage], 0.0)[0] is stage
    with pytest.raises(SeglabError, match="the strength of feature noise is -1"):
        feature_noise([stage], -1.0)

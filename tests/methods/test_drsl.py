"""DRSL: its card's numbers, which cells are paired, modes of the length of embeddings, resuming and two ranks."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pointwise import OFF, batch, method
from probes import EXPERIMENTS, TWO_RANKS, break_off, column, fit_command, only_run, rows, run_seglab, same, weights

from seglab.cli import main
from seglab.methods import DACS, DRSL
from seglab.ops.clustering import mode_alignment, mode_cross_entropy, mode_distances, nearest_mode
from seglab.types import SeglabError

MODES = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]], [[3.0, 0.0], [3.0, 0.0]]])


def test_the_share_of_the_card() -> None:
    """e = 0, modes (1, 0), (-1, 0) of class 0 and (3, 0) of class 1: distances 1, 1, 9 and a share of 0.990925."""
    distance = mode_distances(torch.zeros(1, 2), MODES)
    assert distance.tolist() == [[[1.0, 1.0], [9.0, 9.0]]]
    one = torch.cat([distance[:, 0], distance[:, 1, :1], torch.full((1, 1), torch.inf)], 1).view(1, 2, 2)
    share = torch.exp(-mode_cross_entropy(one, torch.tensor([0])))
    expected = torch.tensor([2 * torch.tensor(-0.5).exp(), torch.tensor(-4.5).exp()])
    assert share.item() == pytest.approx((expected[0] / expected.sum()).item(), abs=1e-6)
    assert share.item() == pytest.approx(0.990925, abs=2e-6)
    assert mode_cross_entropy(distance, torch.tensor([255])).item() == 0


def test_the_pair_of_the_card_moves_both_cells_by_half() -> None:
    """(1, 2) and (0, 0): 5."""
    x, y = torch.tensor([[1.0, 2.0]], requires_grad=True), torch.zeros(1, 2, requires_grad=True)
    mode = torch.tensor([0])
    loss = mode_alignment(x, y, mode, mode, 1, number=64, least=1)
    assert loss.item() == pytest.approx(5.0)
    loss.backward()
    torch.testing.assert_close(x.grad, torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(y.grad, torch.tensor([[-1.0, -2.0]]))


def test_only_modes_that_both_domains_have_are_aligned() -> None:
    x, y = torch.zeros(6, 1, requires_grad=True), torch.tensor([[1.0], [1.0], [3.0], [9.0], [9.0], [9.0]])
    source, target = torch.tensor([0, 0, 1, 1, 2, 4]), torch.tensor([0, 0, 1, 4, 3, 3])
    loss = mode_alignment(x, y, source, target, 4, number=8, least=2)
    assert loss.item() == pytest.approx(1.0), "mode 0 alone: mode 1 has one target cell, 2 and 3 one domain, 4 is none"
    none = mode_alignment(x, y, source, target, 4, number=8, least=3)
    none.backward()
    assert none.item() == 0
    assert not x.grad.any()


def test_the_nearest_mode_is_one_of_the_own_class() -> None:
    distance = mode_distances(torch.tensor([[0.5, 0.0], [-2.0, 0.0], [0.9, 0.0], [0.0, 0.0]]), MODES)
    assert nearest_mode(distance, torch.tensor([0, 0, 1, 255])).tolist() == [0, 1, 2, 4]


def drsl(**arguments: Any) -> Any:
    torch.manual_seed(0)
    module = method(DACS, strong=OFF, additions=[DRSL(dim=4, least=1, **arguments)])
    return module, module.additions[0]


def test_modes_get_the_length_of_the_first_embeddings_once() -> None:
    module, part = drsl(threshold=0.0)
    before, data = part.centres.clone(), batch()
    module.losses(data)
    part.losses(module, data)
    cells = [part.cells(module, module.student(data[s]["image"]), data[s]["valid"].long())[0] for s in data]
    length = torch.cat(cells).norm(dim=1).mean()
    torch.testing.assert_close(part.centres.norm(dim=2).mean(), length)
    torch.testing.assert_close(part.centres / part.centres.norm(), before / before.norm())
    scaled = part.centres.clone()
    module.losses(data)
    part.losses(module, data)
    assert torch.equal(part.centres, scaled)


def test_every_part_learns_and_without_sure_labels_the_source_alone_counts() -> None:
    module, part = drsl(threshold=1.0)
    data = batch()
    module.losses(data)
    terms = part.losses(module, data)
    assert terms["alignment"].item() == 0
    sum(terms.values()).backward()  # type: ignore[union-attr]
    assert all(x.grad is not None and x.grad.any() for x in (part.centres, *part.head.parameters()))
    assert all(x.grad.any() for x in module.student.parameters())


@pytest.mark.parametrize(("argument", "value"), [("modes", 0), ("pairs", 0), ("weight", -1.0), ("threshold", 2.0)])
def test_wrong_arguments_are_named(argument: str, value: float) -> None:
    with pytest.raises(SeglabError, match=rf"DRSL\.{argument}"):
        DRSL(**{argument: value})  # type: ignore[arg-type]


FILE = ["-c", str(EXPERIMENTS / "addition/drsl.yaml"), "--trainer.val_check_interval", "2"]


def test_it_resumes_bit_for_bit(camvid: Path, tmp_path: Path) -> None:
    assert main(fit_command("dacs", camvid, tmp_path / "whole", 4, *FILE)) == 0
    broken = fit_command("dacs", camvid, tmp_path / "broken", 4, *FILE)
    break_off(broken, 3)
    assert main([*broken, "--ckpt_path", "last"]) == 0
    whole, resumed = only_run(tmp_path / "whole"), only_run(tmp_path / "broken")
    assert same(weights(whole), weights(resumed))
    assert rows(whole) == rows(resumed)
    assert column(whole, "train/loss/modes")


def test_two_ranks_agree(camvid: Path, tmp_path: Path) -> None:
    probe = json.dumps({"class_path": "probes.SaveRankState", "init_args": {"folder": str(tmp_path)}})
    flags = ["--data.labeled_batch", "4", "--data.unlabeled_batch", "4", f"--trainer.callbacks+={probe}"]
    done = run_seglab(*fit_command("dacs", camvid, tmp_path, 2, *FILE, *flags, *TWO_RANKS))
    assert done.returncode == 0, done.stderr
    zero, one = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same(zero["state"], one["state"])

from pathlib import Path

import torch
from probes import on_two_ranks

from seglab.ops.ranks import gather, total


def test_one_process_gets_its_own_rows_without_gradient():
    x = torch.arange(6.0).view(3, 2).requires_grad_()
    for result in (gather(x), total(x)):
        assert torch.equal(result, x)
        assert not result.requires_grad


def collect(rank: int, folder: Path) -> None:
    x = (torch.arange(6.0).view(3, 2) + 10 * rank).requires_grad_()
    results = {
        "rows": gather(x),
        "turned": gather(x.T),  # not contiguous
        "labels": gather(torch.tensor([rank, 255])),
        "flags": gather(torch.tensor([rank == 0])),
        "sum": total(x),
        "count": total(torch.tensor(rank + 1)),
        "x": x.detach(),
    }
    assert not results["rows"].requires_grad
    torch.save(results, folder / f"{rank}.pt")


def test_two_ranks_get_the_same_rows_and_sums(tmp_path):
    zero, one = on_two_ranks(collect, tmp_path)
    for name in set(zero) - {"x"}:
        assert torch.equal(zero[name], one[name]), name
    assert torch.equal(zero["rows"], torch.cat([zero["x"], one["x"]]))
    assert torch.equal(zero["turned"], torch.cat([zero["x"].T, one["x"].T]))
    assert zero["labels"].tolist() == [0, 255, 1, 255]
    assert zero["flags"].tolist() == [True, False]
    assert torch.equal(zero["sum"], zero["x"] + one["x"])
    assert torch.equal(zero["x"], torch.arange(6.0).view(3, 2)), "the argument stays as it is"
    assert zero["count"].item() == 3

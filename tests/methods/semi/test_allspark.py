"""AllSpark against its equations: attention between channels, the semantic memory, and what the method learns from."""

from pathlib import Path
from typing import Any

import pointwise
import pytest
import torch
from pointwise import OFF, TwoStages, batch
from probes import fit_command, only_run, weights
from torch import nn

from seglab.cli import main
from seglab.methods import AllSpark
from seglab.networks.allspark import AllSparkBlock, ChannelAttention, tokens
from seglab.types import SeglabError


def allspark(**arguments: Any) -> AllSpark:
    return pointwise.method(AllSpark, network=TwoStages, **{"strong": OFF, "grid": 4, "dropout": 0.0} | arguments)


@pytest.mark.parametrize("separate", [True, False])
def test_attention_is_its_formula(separate: bool) -> None:
    """Written out for each query channel: scores standardised over the whole map of a head, softmax, weighted sum."""
    torch.manual_seed(0)
    heads, width, cells, images = 2, 3, 5, 2
    layer = ChannelAttention(width, heads, separate, 0.0)
    x, source = torch.randn(1, cells, width), torch.randn(1, 1 if separate else images, cells, width)
    out = layer(x, source)

    q = x[0] @ layer.query.weight.T  # N heads*width
    k, v = (torch.cat([y @ part.weight.T for y in source[0]], 1) for part in (layer.key, layer.value))
    groups = [range(h * width, (h + 1) * width) for h in range(heads)] if separate else [range(heads * width)]
    mixed = torch.zeros(cells, heads * width)
    for number, rows in enumerate(groups):
        columns = list(rows) if separate else list(range(images * heads * width))
        scores = torch.tensor([[(q[:, i] @ k[:, j]).item() for j in columns] for i in rows])
        scores = (scores - scores.mean()) / (scores.var(unbiased=False) + 1e-5).sqrt()
        for place, weight in enumerate(scores.softmax(1)):
            # the official code lays heads out behind channels
            where = place * heads + number if separate else place
            mixed[:, where] = sum(w * v[:, j] for w, j in zip(weight, columns, strict=True))
    torch.testing.assert_close(out[0], mixed @ layer.out.weight.T, atol=1e-5, rtol=1e-4)


def test_a_memory_of_the_unlabeled_channels_gives_what_those_give(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    block = AllSparkBlock(6, num_classes=2, grid=3).eval()
    labeled, unlabeled, logits = torch.randn(1, 6, 3, 3), torch.randn(2, 6, 3, 3), torch.randn(2, 2, 3, 3)
    cells = block.before(tokens(block.enter(unlabeled)))  # two images as the channels of two classes
    block.memory.storage[:-1] = cells.detach().transpose(1, 2).flatten(0, 1)
    monkeypatch.setattr(block, "remember", lambda *_: None)
    (one, _), (other, _) = (block.reborn([labeled], [unlabeled], logits, use) for use in (False, True))
    torch.testing.assert_close(one[0], other[0])


def test_channels_join_the_class_whose_logits_they_resemble_and_the_pointer_wraps() -> None:
    block = AllSparkBlock(4, num_classes=2, grid=2)
    logits = torch.tensor([[[5.0, 0], [0, 0]], [[0, 0], [0, 5.0]]]).unsqueeze(0)  # classes at opposite corners
    first, second = [1.0, 0, 0, 0], [0, 0, 0, 1.0]
    cells = torch.tensor([first, second, first, first]).T.unsqueeze(0)  # B N C
    block.remember(cells, (2, 2), logits)
    assert block.memory.pointer.tolist() == [3, 1]
    kept, label = block.memory.contents()
    assert kept[label == 0].tolist() == [first] * 3
    assert kept[label == 1].tolist() == [second]
    block.remember(cells, (2, 2), logits)
    assert block.memory.pointer.tolist() == [(3 + 3) % 4, 2]
    assert block.memory.filled.tolist() == [4, 2]


def test_at_inference_an_image_does_not_depend_on_its_batch() -> None:
    torch.manual_seed(0)
    module, image = allspark().eval(), torch.rand(3, 3, 8, 8)
    together = module.student(image).logits
    torch.testing.assert_close(together, torch.cat([module.student(one).logits for one in image.split(1)]))
    plain = module.student.decode(module.student.encode(image), (8, 8)).logits
    assert not torch.allclose(together, plain)


def test_terms_learn_from_truth_and_from_labels_in_evaluation_mode() -> None:
    module, data = allspark(weight=2.0, memory_from=5), batch(shape=(4, 4))
    labeled, image, valid = data["labeled"], data["unlabeled"]["image"], data["unlabeled"]["valid"]
    label = module.eval().student(image).logits.argmax(1)
    module.train()
    terms = module.losses(data)
    block = module.student.heads["bridge"]
    stages = [module.student.encode(x) for x in (labeled["image"], image)]
    out_l, out_u = (module.student.decode(x, (4, 4)) for x in block.reborn(*stages, torch.zeros(2, 2, 4, 4), False))
    nll = nn.functional.cross_entropy(out_u.logits, label, reduction="none")
    assert terms["unsupervised"].item() == pytest.approx(2 * nll[valid].mean().item(), rel=1e-5)
    supervised = nn.functional.cross_entropy(out_l.logits, labeled["mask"], ignore_index=255)
    assert terms["supervised"].item() == pytest.approx(supervised.item(), rel=1e-5)


@pytest.mark.parametrize("memory_from", [0, 5])
def test_every_parameter_learns_and_nothing_waits_for_the_device(memory_from: int, no_host_sync) -> None:
    module, data = allspark(memory_from=memory_from), batch()
    before = module.student.heads["bridge"].memory.storage.clone()
    with no_host_sync:
        terms = module.losses(data)
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in module.student.parameters())
    assert not torch.equal(module.student.heads["bridge"].memory.storage, before)


def test_streams_of_other_sizes_are_interpolated() -> None:
    module, data, small = allspark(memory_from=5), batch(shape=(8, 8)), batch(1, (4, 6))
    data["unlabeled"] = small["unlabeled"]
    assert module.losses(data)["supervised"].isfinite()


def test_another_method_may_begin_as_this_student(camvid: Path, tmp_path: Path) -> None:
    assert main(fit_command("allspark", camvid, tmp_path / "one", 2)) == 0
    run = only_run(tmp_path / "one")
    assert main(fit_command("supervised", camvid, tmp_path / "two", 2, "--init_from", str(run))) == 0
    assert not any("bridge" in key for key in weights(only_run(tmp_path / "two")))


@pytest.mark.parametrize(("setting", "value"), [("heads", 0), ("dropout", 1.0)])
def test_a_wrong_setting_is_named(setting: str, value: float) -> None:
    with pytest.raises(SeglabError, match=rf"AllSpark\.{setting}"):
        allspark(**{setting: value})

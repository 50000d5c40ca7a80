"""What methods of a student, most with a teacher, have in common, on a network of two 1x1 convolutions."""

from typing import Any

import pytest
import torch
from pointwise import CALM, NO_BOX, Normed, batch, decoded, sharpen

from seglab.methods import (
    AEL,
    CWBASS,
    AugSeg,
    CorrMatch,
    CutMixSeg,
    FixMatch,
    MeanTeacher,
    Method,
    UniMatch,
    UniMatchV2,
)
from seglab.ops.adaptive_mixing import AdaptiveCopyPaste, AdaptiveCutMix
from seglab.types import SeglabError

ALL: list[type[Method]] = [AEL, AugSeg, CorrMatch, CutMixSeg, CWBASS, FixMatch, MeanTeacher, UniMatch, UniMatchV2]


@pytest.mark.parametrize("kind", ALL)
def test_gradient_reaches_all_of_the_student_and_nothing_of_the_teacher(kind: type[Method]) -> None:
    module = decoded(kind, Normed)
    sum(module.losses(batch()).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in module.student.parameters())
    if module.has_teacher:
        assert all(p.grad is None and not p.requires_grad for p in module.teacher.parameters())


@pytest.mark.parametrize("kind", [k for k in ALL if k not in (CWBASS, MeanTeacher)])
@pytest.mark.parametrize("update_bn_on_strong", [True, False])
def test_strong_views_stay_out_of_the_running_statistics(kind: type[Method], update_bn_on_strong: bool) -> None:
    unmixed = (
        {"copy_paste": AdaptiveCopyPaste(probability=0.0)} if kind is AEL else {}
    )  # else its labeled images are mixed, too
    module, data = decoded(kind, Normed, update_bn_on_strong=update_bn_on_strong, **unmixed), batch()
    clean = decoded(kind, Normed).student
    clean.load_state_dict(module.student.state_dict())
    if kind in (CorrMatch, UniMatch):  # its weak views are clean too, and come first
        clean(data["unlabeled"]["image"])
    clean(data["labeled"]["image"])
    module.losses(data)
    norms = [(net.encoder[1], net.decoder[0]) for net in (module.student, clean)]
    for ours, theirs in zip(*norms, strict=True):
        assert torch.allclose(ours.running_mean, theirs.running_mean) != update_bn_on_strong  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ALL)
def test_losses_are_float32_and_equal_in_bfloat16_up_to_rounding(kind: type[Method]) -> None:
    calm: dict[type[Method], dict[str, Any]] = {
        MeanTeacher: {"weight": 1.0},
        CWBASS: {"limits": (0.0, 0.0)},
        AEL: {"threshold": 0.0, "cutmix": AdaptiveCutMix(component_area=1.0, boxes=NO_BOX), "sampling": 0.0},
    }
    module, data = decoded(kind, **calm.get(kind, CALM | {"threshold": 0.0})), batch()
    if module.has_teacher:
        sharpen(module.teacher.network, 3.0)
    torch.manual_seed(0)
    exact = module.losses(data)
    if module.has_teacher:
        module.teacher._answer = None
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = module.losses(data)
    for name, value in exact.items():
        assert rounded[name].dtype == torch.float32
        assert rounded[name].item() == pytest.approx(value.item(), rel=0.05, abs=0.01)


@pytest.mark.parametrize("kind", ALL)
def test_in_bfloat16_every_parameter_gets_the_gradient_it_gets_in_float32(kind: type[Method]) -> None:
    """A weight that autocast first casts under no_grad would keep that copy, and lose its gradient."""
    module, data = decoded(kind), batch()
    with torch.autocast("cpu", torch.bfloat16):
        total = sum(module.losses(data).values())
    total.backward()  # type: ignore[union-attr]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.student.parameters())


@pytest.mark.parametrize("kind", ALL)
def test_a_step_never_waits_for_the_device(kind: type[Method], no_host_sync: Any) -> None:
    module, data = decoded(kind, Normed), batch()
    with no_host_sync:
        module.losses(data)


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        (AugSeg, "threshold", 1.5),
        (AugSeg, "weight", -1.0),
        (CorrMatch, "threshold", 1.5),
        (CorrMatch, "momentum", -1.0),
        (CorrMatch, "correlation_weight", 2.0),
        (CorrMatch, "regions", -1),
        (CorrMatch, "dropout", 1.0),
        (AEL, "threshold", 1.5),
        (AEL, "sampling", -0.5),
        (AEL, "gamma", -1.0),
        (CWBASS, "gamma", -1.0),
        (CWBASS, "confidence_decay", 1.1),
        (CWBASS, "boundary_weight", -1.0),
        (CWBASS, "weight", -1.0),
        (FixMatch, "threshold", 1.5),
        (UniMatch, "threshold", -0.1),
        (UniMatch, "dropout", 1.0),
        (UniMatch, "views", 0),
        (UniMatch, "feature_noise", -1.0),
        (UniMatchV2, "threshold", 2.0),
        (UniMatchV2, "intact", -1.0),
        (CutMixSeg, "threshold", 2.0),
        (MeanTeacher, "weight", -1.0),
    ],
)
def test_a_wrong_setting_is_named(kind: type[Method], setting: str, value: float) -> None:
    with pytest.raises(SeglabError, match=f"{kind.__name__}.{setting} is {value}"):
        decoded(kind, **{setting: value})

"""Private names of other packages: each still exists, and nothing but seglab/compat.py touches one."""

import ast
import inspect
from pathlib import Path
from pkgutil import resolve_name

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

from seglab import compat
from seglab.ops.boxes import FixedAreaBox

SOURCE = Path(compat.__file__).parent
OPTIONAL = {"wandb-workspaces": "wandb_workspaces"}
PUBLIC = {"_replace", "_asdict", "_fields", "_make", "_exit", "_name_"}  # of named tuples, and os._exit: documented


@pytest.mark.parametrize("name", compat.NAMES)
def test_a_name_is_still_there(name: str) -> None:
    package = compat.NAMES[name][0]
    if package in OPTIONAL:
        pytest.importorskip(OPTIONAL[package])
    assert getattr(compat, name) is not None, f"gone from {package} {compat.installed(package)}"


@pytest.mark.parametrize("owner", compat.OVERRIDDEN)
def test_methods_that_are_overridden_are_still_there(owner: str) -> None:
    package = owner.partition(".")[0]
    for name in compat.OVERRIDDEN[owner]:
        assert callable(getattr(resolve_name(owner), name, None)), (
            f"{owner}.{name} is gone from {package} {compat.installed(package)}"
        )


def test_torch_moves_and_copies_lists_of_tensors() -> None:
    ours, theirs = [torch.zeros(2), torch.ones(3)], [torch.ones(2), torch.full((3,), 3.0)]
    compat.lerp_all(ours, theirs, 0.5)
    assert [x.tolist() for x in ours] == [[0.5] * 2, [2.0] * 3], f"changed in torch {torch.__version__}"
    compat.copy_all(ours, theirs)
    assert all(map(torch.equal, ours, theirs)), f"changed in torch {torch.__version__}"


def test_lightning_says_what_it_logs_and_votes_on_signals() -> None:
    version = compat.installed("lightning")
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    assert isinstance(compat.is_logging_step(trainer), bool), f"changed in lightning {version}"
    assert compat.logged_step(trainer) == 0, f"changed in lightning {version}"
    assert "_broadcast_sigterm_tensor" in inspect.getsource(_TrainingEpochLoop.advance), f"not called in {version}"
    compat.disable_signal_vote(trainer)


def test_tensorboard_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger

    opened: list[dict] = []
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", lambda **options: opened.append(options) or object())
    logger = TensorBoardLogger(tmp_path)
    for step in (None, 3):
        if step is not None:
            compat.purge_from(logger, step)
        assert logger.experiment
        assert opened[-1].get("purge_step") == step, f"changed in lightning {compat.installed('lightning')}"
    assert len(opened) == 2


def test_wandb_workspaces_become_specifications_and_come_back() -> None:
    ws = pytest.importorskip("wandb_workspaces.workspaces")
    workspace = ws.Workspace(name="all", entity="e", project="p", sections=[])
    again = compat.from_model(ws.Workspace, compat.to_model(workspace))
    assert again.name == "all", f"changed in wandb-workspaces {compat.installed('wandb-workspaces')}"
    assert len(compat.internal_names(workspace)) == 2


def test_default_arguments_of_one_class_keep_settings_of_their_own() -> None:
    first = compat.lazy_instance(FixedAreaBox, boxes=3, proportion=(0.1, 0.1))
    compat.lazy_instance(FixedAreaBox)
    box = first(1, 60, 60, torch.device("cpu"))
    assert box.sum() < 0.2 * box.numel()  # with the settings of the second one it were half of the image
    assert first.boxes == 3


def test_nothing_else_touches_a_private_name_of_another_package() -> None:
    own = set()
    trees = {path: ast.parse(path.read_text()) for path in SOURCE.rglob("*.py") if path.name != "compat.py"}
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                own.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                own.add(node.id)
    found = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.Attribute):
                names = [node.attr] if node.attr not in own else []
            elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("seglab"):
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                names += ["_internal"] if "internal" in names else []
            found += [
                f"{path.relative_to(SOURCE)}:{node.lineno}: {name}"
                for name in names
                if name.startswith("_") and not name.startswith("__") and name not in PUBLIC
            ]
    assert not found, "\n".join(found)

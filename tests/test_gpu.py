"""What only a GPU shows; `make gpu` runs it with the other tests whose names end in on_a_gpu."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from probes import EXPERIMENTS, fit_command, only_run, rows
from torch import nn

from seglab.cli import main
from seglab.methods.optim import Schedule, build_optimizer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GPU = ["--trainer.accelerator", "gpu", "--trainer.devices", "1", "--trainer.log_every_n_steps", "100"]
BOTH = ["--network.compile", "true", "--network.channels_last", "true", "--trainer.precision", "bf16-mixed"]


def test_a_compiled_step_never_waits_on_a_gpu(camvid: Path, tmp_path: Path) -> None:
    probe = json.dumps({"class_path": "probes.RaiseOnSync"})
    flags = [*GPU, *BOTH, f"--trainer.callbacks+={probe}"]
    assert main(fit_command("unimatch", camvid, tmp_path, 6, *flags)) == 0


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_one_kernel_steps_all_tensors_on_a_gpu(kind: type[torch.optim.Optimizer]) -> None:
    def stepped(**options: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2)).cuda()
        optimizer, _ = build_optimizer(module, lambda groups: kind(groups, lr=0.1, **options), Schedule(), 10)
        assert all(group["fused"] is (None if options else True) for group in optimizer.param_groups)
        for _ in range(3):
            optimizer.zero_grad()
            module(torch.ones(4, 8, device="cuda")).square().sum().backward()
            optimizer.step()
        return [parameter.detach() for parameter in module.parameters()]

    for one, several in zip(stepped(), stepped(foreach=True), strict=True):
        torch.testing.assert_close(one, several)


def test_a_run_begun_on_a_cpu_goes_on_on_a_gpu(camvid: Path, tmp_path: Path) -> None:
    assert main(fit_command("fixmatch", camvid, tmp_path, 2)) == 0
    run = only_run(tmp_path)
    assert main(["fit", str(run), *GPU, "--trainer.max_steps", "4"]) == 0
    assert rows(run)


def test_unimatch_launches_few_kernels_on_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(EXPERIMENTS / "bench")
    kernels = importlib.import_module("kernels")
    turns = importlib.import_module("_turns")
    turns.draw(tmp_path, 4, (64, 96))
    flags = turns.config("unimatch", tmp_path, EXPERIMENTS / "network/tiny.yaml", (64, 96), 2)
    watch = kernels.Watch(3, 1)
    kernels.measure(flags, tmp_path / "runs", watch)
    assert 300 < watch.launches.total() < 1700, watch.launches.most_common(20)

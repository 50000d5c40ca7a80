"""``seglab.load`` in a program of one's own."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from probes import ROOT, fit_command

from seglab.cli import main

PROGRAM = """
import random, sys
import numpy as np, torch
random.seed(1), np.random.seed(2), torch.manual_seed(3)
def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), torch.initial_seed()
before = states()
import seglab
model = seglab.load(sys.argv[1])
assert states() == before
assert not model.training and torch.is_grad_enabled()
assert model(torch.zeros(1, 3, 32, 48)).shape == (1, 11, 32, 48)
"""


def test_loading_has_no_side_effects_and_says_nothing(camvid: Path, tmp_path: Path) -> None:
    assert main(fit_command("supervised", camvid, tmp_path, 1, "--run_dir", str(tmp_path / "run"))) == 0
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_here_states_stay_too(camvid: Path, tmp_path: Path) -> None:
    import seglab

    assert main(fit_command("supervised", camvid, tmp_path, 1, "--run_dir", str(tmp_path / "run"))) == 0
    torch.manual_seed(123)
    states = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    seglab.load(tmp_path / "run")
    assert torch.initial_seed() == 123
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states  # noqa: NPY002

"""Runs that are killed at random moments again and again, and go on until they are done: ``make torture``.

Environment: ``TORTURE_SEED`` repeats the moments of a round, ``TORTURE_KILLS`` is the number of them in each run.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from harness import assert_alike, children, command, end_session, last_words, session, started, wait
from probes import run_seglab
from warm_start import Process

from seglab.files import holder

STEPS = 24
KILLS = int(os.environ.get("TORTURE_KILLS") or 10)
SEED = int(os.environ.get("TORTURE_SEED") or time.time_ns() % 10**9)
METHODS = ("supervised", "fixmatch", "cps", "u2pl", "daformer", "advent")
MOMENTS = ("start", "step", "writing", "writing")
VICTIMS = {1: ("all", "run", "TERM", "USR1"), 2: ("all", "run", "rank 1", "TERM", "USR1")}


@pytest.mark.torture
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_survives_everything(method: str, ranks: int, camvid: Path, tmp_path: Path) -> None:
    draw = random.Random(f"{SEED} {method} {ranks}")
    print(f"\nTORTURE_SEED={SEED} {method}, {ranks} ranks:", end=" ", flush=True)
    run, whole = tmp_path / "run", tmp_path / "whole"
    words = command(camvid, run, "--ckpt_path", "last", method=method, ranks=ranks, steps=STEPS)
    killed = []
    for _ in range(KILLS):
        moment, victim, steps, pause = (
            draw.choice(MOMENTS), draw.choice(VICTIMS[ranks]), draw.randrange(3), draw.uniform(0, 0.1),
        )  # fmt: skip
        with started(*words) as process:
            if not reached(process, run, moment, steps, pause):
                break
            attack(process, victim)
            killed.append(f"{victim} at {moment}")
            wait(lambda process=process: not session(process.pid))
    done = run_seglab(*words)
    print(f"{len(killed)} kills ({', '.join(killed)})", flush=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert run_seglab(*command(camvid, whole, method=method, ranks=ranks, steps=STEPS)).returncode == 0
    assert_alike(run, whole)


def reached(process: Process, run: Path, moment: str, steps: int, pause: float) -> bool:
    """Wait for a moment in the life of a process; False if it ended before."""
    metrics = run / "metrics.csv"

    def begun() -> bool:
        held = holder(run)
        return ended() or bool(held and held.process == process.pid)

    def ended() -> bool:
        return process.poll() is not None

    def lines() -> int:
        return metrics.read_bytes().count(b"\n") if metrics.is_file() else 0

    wait(begun)
    first = lines()
    if moment != "start":
        # resuming cuts rows that come after the checkpoint, hence "other than"
        wait(lambda: ended() or lines() not in range(first - 1, first + 1 + steps), pause=0.01)
    if moment == "writing":
        wait(lambda: ended() or list((run / "checkpoints").glob(".*")), pause=0.0005)
        pause /= 20
    time.sleep(pause)
    if not ended():
        return True
    assert process.returncode == 0, last_words(process)[1]
    return False


def attack(process: Process, victim: str) -> None:
    """Kill a run or a part of it, and see it end as it should."""
    match victim:
        case "all":
            end_session(process)
        case "run":
            process.kill()
            process.wait()
        case "rank 1":
            for rank in children(process.pid, rank=1):
                os.kill(rank, signal.SIGKILL)
                code, said = last_words(process)
                assert code in (0, 1), said  # 0: its work was done
                assert code == 0 or "seglab: error: rank 1 was killed by SIGKILL" in said, said
                return
            process.kill()  # it has started none yet
        case name:
            number = signal.Signals[f"SIG{name}"]
            process.send_signal(number)
            code, said = last_words(process)
            assert code in (0, 128 + number, -number), said  # 0: it came after the last step; or before the first

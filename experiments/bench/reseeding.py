"""What reproducibility costs: seeding every step, and torch's deterministic mode.

    OMP_NUM_THREADS=1 python experiments/bench/reseeding.py

``seed`` is ``Method.on_train_batch_start``, which seeds the generators from (seed, step, rank), against the step of the
same method. ``deterministic`` is the step with ``torch.use_deterministic_algorithms``, as ``--trainer.deterministic
true`` sets it, against the step without: in turns, on the same batch and in the same process. Operations that have no
deterministic form are named instead of failing, as ``--trainer.deterministic warn`` does.
"""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _turns import (
    NETWORK,
    Bare,
    compare,
    config,
    draw,
    finish,
    quiet,
    spread,
    step_arguments,
    table,
    take_turns,
)

SEEDS = 200  # at a time: one is too short for a clock


def main() -> None:
    parser = step_arguments(__file__, __doc__, 8, ["supervised", "fixmatch", "dacs", "u2pl"])
    options = parser.parse_args()
    if options.quick:
        options.network, options.crop, options.rounds = NETWORK.with_name("tiny.yaml"), (64, 96), 1
    quiet()

    result: dict[str, Any] = {}
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), max(4, options.batch), options.crop)
        for name in options.methods:
            bare = Bare(config(name, Path(folder), options.network, options.crop, options.batch))
            batch = bare.batch()

            def seed(bare: Bare = bare) -> None:
                for _ in range(SEEDS):
                    bare.method.on_train_batch_start({}, 0)  # type: ignore[typeddict-item]

            def deterministic(step: Callable[[], object]) -> None:
                torch.use_deterministic_algorithms(True, warn_only=True)
                step()
                torch.use_deterministic_algorithms(False)

            step = lambda bare=bare, batch=batch: bare.step(batch)  # noqa: E731
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                deterministic(step)
            without = sorted({str(w.message).partition(" ")[0] for w in caught if "deterministic" in str(w.message)})
            turns = {"plain": step, "deterministic": lambda step=step: deterministic(step), "seed": seed}
            seconds = take_turns(turns, options.rounds, warmup=0 if options.quick else 2)
            one = compare({**seconds, "seed": [spent / SEEDS for spent in seconds["seed"]]}, "plain")
            result[name] = {**one, "not_deterministic": without}
            lines.append(
                [
                    *(name, f"{1e3 * one['plain']['median']:.1f}", f"{1e6 * one['seed']['median']:.0f}"),
                    *(f"{one['seed']['ratio']:.5f}", spread(one["deterministic"]), ", ".join(without) or "none"),
                ]
            )
    head = ["method", "ms / step", "seed, us", "of a step", "deterministic", "without a deterministic form"]
    print(table(head, lines))
    setup = {"network": options.network.stem, "crop": options.crop, "batch": options.batch, "rounds": options.rounds}
    finish(options.output, setup | {"methods": result})


if __name__ == "__main__":
    main()

"""Start of the command line against importing torch and Lightning.

    python experiments/bench/startup.py

Every turn is a process of its own; counted are its seconds of processor time, which do not depend on what else the
machine does, and those of the clock beside them. ``seglab fit --help`` builds the parser of every class and cannot do
without the imports.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from _turns import arguments, compare, finish, spread, table

ROOT = Path(__file__).parents[2]
BASELINE = "import torch, lightning"
COMMANDS = {
    "import torch": ["-c", "import torch"],
    BASELINE: ["-c", "import torch, lightning.pytorch"],
    "seglab --help": ["-m", "seglab", "--help"],
    **{f"seglab list {what}": ["-m", "seglab", "list", what] for what in ("methods", "networks", "data", "benchmarks")},
    "seglab fit --help": ["-m", "seglab", "fit", "--help"],
}


def spent(arguments: list[str]) -> tuple[float, float]:
    """Seconds of the processor and of the clock that a Python process takes."""
    start = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it, too
    if process.returncode:
        raise SystemExit(f"{arguments} failed")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - start


def main() -> None:
    options = arguments(__file__, __doc__, 5).parse_args()
    commands = dict(COMMANDS)
    if options.quick:
        options.rounds = 1
        commands = {name: COMMANDS[name] for name in (BASELINE, "seglab --help", "seglab list methods")}
    processor: dict[str, list[float]] = {name: [] for name in commands}
    clock: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(0 if options.quick else -1, options.rounds):  # the first round fills the disk cache
        for name, words in commands.items():
            seconds = spent(words)
            if number >= 0:
                processor[name].append(seconds[0])
                clock[name].append(seconds[1])

    by_processor, by_clock = compare(processor, BASELINE), compare(clock, BASELINE)
    lines = [
        [name, f"{one['median']:.2f}", spread(one), f"{by_clock[name]['median']:.2f}", spread(by_clock[name])]
        for name, one in by_processor.items()
    ]
    print(table(["command", "CPU s", f"x `{BASELINE}`", "clock s", f"x `{BASELINE}`"], lines))
    finish(options.output, {"rounds": options.rounds, "processor": by_processor, "clock": by_clock})


if __name__ == "__main__":
    main()

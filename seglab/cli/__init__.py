"""The command line. Heavy imports come late: ``--help`` answers at once, and processes that draw streets stay light."""

from __future__ import annotations

import sys
from pathlib import Path

from seglab.types import SeglabError

HELP = """seglab: semantic segmentation that learns from few labels or from another domain's labels.

  seglab fit BENCHMARK METHOD [--KEY VALUE ...]                   train (--ckpt_path last: resume the same command),
       [-c FILE.yaml]                                             as in seglab fit camvid unimatch --data.labeled 1/8
  seglab fit RUN_DIR                                              continue a run
  seglab validate RUN_DIR [--ckpt_path best]                      score a run on the validation part
  seglab test RUN_DIR [--ckpt_path best]                          score a run on the test part
       [--export FOLDER --format cityscapes|voc|acdc|ids]         and write predictions for a benchmark server
  seglab predict RUN_DIR --images FOLDER|VIDEO --output FOLDER    label-id PNGs and overlays of any images or a video;
       [--probabilities true]                                     those of all classes as .npz
  seglab export RUN_DIR --to onnx|torch|safetensors               take the network away: uint8 in, classes out; or its
       --output FOLDER [--size H W --by teacher]                  weights with a model card, which seglab.load reads
  seglab pseudo-label RUN_DIR --output FOLDER                     label a run's unlabeled images, for its next stage
  seglab pick RUN_DIR | BENCHMARK --pixels 10 --output FILE.csv   ask for the classes of a few pixels of each image, for
       [--score margin|least_confidence|entropy|random]           --data.points: a list, and a page to answer it on
       [--top 0.05] [--simulate true]                             or answers from the masks

  seglab sweep FILE.yaml [--jobs N] [--dir FOLDER] [--dry-run]    many runs; again: skips finished, resumes dead ones
       [--launcher local|slurm|wandb] [--slurm.KEY VALUE ...]     here, as a SLURM job array, or by agents of W&B
  seglab sweep status FOLDER [--format json]                      what became of them
  seglab chain FILE.yaml [--seed_everything S --KEY VALUE ...]    runs of which each takes weights or labels of earlier
       [--launcher local|slurm] [--run_dir FOLDER] [--dry-run]    ones; again: continues what is not finished
  seglab chain status FOLDER [--format json]                      what became of its stages
  seglab submit BENCHMARK METHOD | RUN_DIR --slurm.KEY VALUE ...            one run as a SLURM job

  seglab compare [FOLDER ...] [--baseline METHOD] [--by KEY]      methods: means over seeds, differences, cost
       [--metric val/mIoU] [--format markdown|csv|json|latex]     as text, for a paper or a program
       [--html FILE] [--export-figures FOLDER]                    a page to share; figures as PDF and PNG
  seglab dashboard [--runs FOLDER ...] [--project P]              W&B workspaces and a report of them, as a file;
       [--push FILE]                                              creates what the file defines

  seglab list methods|additions|benchmarks|published|networks     what there is; also criteria, data, sweeps, chains
  seglab data init FOLDER [--output FILE.yaml]                    look at your own images and masks: a benchmark file
                                                                  and a contact sheet of them
  seglab data streets --root FOLDER [--images N] [--seed S]       generate street scenes in two domains
  seglab data check BENCHMARK [--data.root FOLDER]                verify a data set before training
       [--sheet FILE.png] [--bad FILE]                            draw a contact sheet; list images to leave out
  seglab data cache BENCHMARK --output FOLDER                     decode every file once; then --data.cache FOLDER
       [--scale 0.5] [--workers N] [--verify true]                or check a written cache

Every command takes --help.
"""


def main(args: list[str] | None = None) -> int:
    """Entry point of ``seglab``; returns the exit code."""
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.append(str(Path.cwd()))  # a config may name a class of a file here; as `python -m seglab` finds it
    try:
        _run(sys.argv[1:] if args is None else args)
    except SeglabError as error:
        # an error in a loader process arrives wrapped in that process's traceback
        print(f"seglab: error: {str(error).rpartition('SeglabError: ')[2].strip()}", file=sys.stderr)
        return error.exit_code
    return 0


def _run(args: list[str]) -> None:
    match args:
        case ["fit" | "validate" | "test" | "predict", *_]:
            from seglab.cli import train

            train.run(args)
        case ["pseudo-label", *flags]:
            from seglab.cli.commands.pseudo_label import pseudo_label

            pseudo_label(flags)
        case ["pick", *flags]:
            from seglab.cli.commands.pick import pick

            pick(flags)
        case ["export", *flags]:
            from seglab.cli.commands.export import export

            export(flags)
        case ["sweep", *flags]:
            from seglab.cli.commands.sweep import sweep

            sweep(flags)
        case ["chain", *flags]:
            from seglab.cli.commands.chain import chain

            chain(flags)
        case ["dashboard", *flags]:
            from seglab.cli.commands.dashboard import dashboard

            dashboard(flags)
        case ["compare", *flags]:
            from seglab.cli.commands.compare import compare

            compare(flags)
        case ["submit", *flags]:
            from seglab.cli.commands.submit import submit

            submit(flags)
        case ["list", *what]:
            from seglab.cli.commands.listing import show

            show(what)
        case ["data", *flags]:
            from seglab.cli.commands.data import data

            data(flags)
        case [] | ["-h" | "--help"]:
            print(HELP, end="")
        case _:
            raise SeglabError(f"no command {args[0]!r}; `seglab --help` lists them")

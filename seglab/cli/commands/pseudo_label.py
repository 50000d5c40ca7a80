"""``seglab pseudo-label``: the step between two stages of a method."""

import argparse
from pathlib import Path

import yaml
from rich.console import Console

from seglab.cli.commands.flags import RunParser
from seglab.cli.commands.predictor import open_predictor, single_process
from seglab.ops.pseudo import ClassBalanced, Fixed
from seglab.training.pseudo_labels import Rule, print_coverage, write_pseudo_labels


def parse(args: list[str]) -> tuple[argparse.Namespace, list[str], Rule]:
    """The flags of ``pseudo-label``, those of ``validate``, and the rule that chooses thresholds.

    Raises:
        SeglabError: a flag of ``pseudo-label`` is wrong.
    """
    parser = RunParser(
        "pseudo-label",
        "Label the unlabeled training images of a run's data. Flags of `seglab validate`, such as --data.root or "
        "--trainer.accelerator, are taken too. Runs in one process, on one device.",
    )
    parser.add_argument("--output", type=Path, required=True, help="Folder for PNGs and pseudo_labels.json.")
    parser.add_argument("--quantile", type=float, default=0.5, help="Share of a class's pixels below its threshold.")
    parser.add_argument("--cap", type=float, default=0.9, help="Largest threshold of a class.")
    parser.add_argument("--threshold", type=float, help="One threshold for all classes instead.")
    options, flags = parser.parse_known_args(args)
    fixed = options.threshold is not None
    return options, flags, Fixed(options.threshold) if fixed else ClassBalanced(options.quantile, options.cap)


def pseudo_label(args: list[str]) -> None:
    """Run ``pseudo-label``: label the unlabeled images of a run's data with its network, in this process alone.

    Args:
        args: command line after the command's name.

    Raises:
        SeglabError: no such run or checkpoint, several processes, or the output cannot be written.
    """

    options, flags, rule = parse(args)
    single_process("pseudo-label")
    session, checkpoint, _, label, stream = open_predictor(options.run_dir, options.ckpt_path, options.by, flags)
    file = checkpoint.stat()
    named = {"by": options.by, "checkpoint": str(checkpoint)}
    source = yaml.safe_load(session.config.text) | named | {"bytes": file.st_size, "changed": file.st_mtime_ns}
    about = {"run": options.run_dir, **named, "rule": repr(rule)}
    thresholds, coverage = write_pseudo_labels(options.output, label, session.data, rule, source, about, stream)
    print_coverage(thresholds, coverage, Console())
    print(f"seglab: pseudo-labels written to {options.output}")

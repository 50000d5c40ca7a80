"""Command lines of runs as lists of words: run directories in place of files, files before flags."""

import itertools
import re
from pathlib import Path

from seglab.runs import directory

NAMED_FILE = re.compile(r"--config\.\w+=")


def expand_run(args: list[str]) -> list[str]:
    """``fit RUN_DIR ...`` -> the run's own config, directory and checkpoint, then the flags.

    ``--config.NAME=FILE`` is ``-c FILE`` before all flags: in a sweep, where every parameter has a name of its own and
    flags must win over files. Files apply in the order of their names, after those given by ``-c``, because Weights &
    Biases promises no order. It also writes None for null.
    """
    named = sorted(arg for arg in args if NAMED_FILE.match(arg))
    if named:
        given, flags = files_first([arg for arg in args[1:] if arg not in named])
        files = [word for arg in named for word in ("-c", arg.partition("=")[2])]
        return [args[0], *given, *files, *(re.sub("^(--[^=]+)=None$", r"\1=null", flag) for flag in flags)]
    if len(args) < 2 or args[1].startswith("-"):
        return args
    command, folder, *flags = args
    directory.read_config(Path(folder))
    resume = ["--ckpt_path", "last"] if command == "fit" else []
    return [command, "-c", str(Path(folder) / directory.CONFIG), "--run_dir", folder, *resume, *flags]


def files_first(args: list[str]) -> tuple[list[str], list[str]]:
    """``-c FILE`` in every spelling, and the rest."""
    files, rest, words = [], [], iter(args)
    for word in words:
        if word in ("-c", "--config"):
            files += [word, *itertools.islice(words, 1)]
        elif word.startswith("--config="):
            files.append(word)
        else:
            rest.append(word)
    return files, rest

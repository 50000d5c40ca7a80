"""Command lines of runs as lists of words: run directories in place of files, files before flags."""

import itertools
import re
from pathlib import Path

from seglab.runs import directory, recipes

NAMED_FILE = re.compile(r"--config\.\w+=")
KINDS = {"method": ("method", "published")}  # of experiments that a name of `--config.KIND` may mean


def expand_run(args: list[str]) -> list[str]:
    """The words of a command as its parser takes them.

    ``fit RUN_DIR ...`` becomes the run's own config, directory and checkpoint, then the flags; ``fit camvid unimatch``
    the files of these names, completed by ``recipes.complete``.

    ``--config.NAME=FILE`` is ``-c FILE`` before all flags: in a sweep, where every parameter has a name of its own and
    flags must win over files. Files apply in the order of their names, after those given by ``-c``, because Weights &
    Biases promises no order. It also writes None for null.

    Raises:
        SeglabError: a name is unknown, or the folder is not a run directory.
    """
    command, words = args[0], recipes.leading(args[1:])
    flags = args[1 + len(words) :]
    if words and is_run(words[0]):
        directory.read_config(Path(words[0]))
        resume = ["--ckpt_path", "last"] if command == "fit" else []
        flags = [*words[1:], *flags]
        return [command, "-c", str(Path(words[0]) / directory.CONFIG), "--run_dir", words[0], *resume, *flags]
    flags = [*recipes.named(words), *flags]
    if swept := sorted(flag for flag in flags if NAMED_FILE.match(flag)):
        given, rest = files_first([flag for flag in flags if flag not in swept])
        flags = [*given, *_files(swept), *(re.sub("^(--[^=]+)=None$", r"\1=null", flag) for flag in rest)]
    return [command, *recipes.complete(flags)]


def is_run(word: str) -> bool:
    """Whether a word is meant as a run directory: a name of an experiment is neither a path nor a folder with a run."""
    return (Path(word) / directory.CONFIG).is_file() or (len(Path(word).parts) > 1 and Path(word).suffix != ".yaml")


def _files(swept: list[str]) -> list[str]:
    """``--config.benchmark=camvid`` as ``-c FILE``; a path stays what it is."""
    given: list[str] = []
    benchmark = ""
    for flag in swept:
        name, _, value = flag.partition("=")
        kind = name.rpartition(".")[2]
        if not Path(value).suffix and "/" not in value:
            value = str(
                recipes.find(value, KINDS.get(kind, (kind,) if kind in recipes.KINDS else recipes.KINDS), benchmark)
            )
        if Path(value).parent.name == "benchmark":
            benchmark = Path(value).stem
        given += ["-c", value]
    return given


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

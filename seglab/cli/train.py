"""``seglab fit|validate|test|predict``: parse, build, run."""

import gc
import logging
import os
import warnings
from functools import cache

from lightning.pytorch import seed_everything
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from seglab.cli.config import build, parse
from seglab.cli.help import show_help
from seglab.files import release
from seglab.training.failures import explained
from seglab.training.place import find_place, rank
from seglab.training.ranks import FIRST, end_with_first
from seglab.training.session import Session
from seglab.types import SeglabError

# Lightning's advertisements and notes about choices that are ours.
NOISE = (
    ".*weights_only` was not set.*",
    ".*treespec, LeafSpec.*",
    ".*have overridden `on_after_batch_transfer`.*",
    ".*does not have many workers.*",
    ".*found .* module.* in eval mode.*",
    ".*`srun` command is available on your system but is not used.*",
    ".*smaller than the logging interval.*",
    ".*callbacks used to create the checkpoint need to be provided.*",
    ".*`srun` command is available.*",  # a machine that has SLURM, and a run without it
    ".*method of metric SegmentationMetric was called before the.*",  # this rank saw no labeled image, others did
)


def run(args: list[str]) -> None:
    """Run ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        args: command line without the program's name.

    Raises:
        SeglabError: the config is wrong or the run fails for a reason that the user can mend.
    """
    if args[1:] and args[1] in ("-h", "--help"):
        show_help(args[0], args[2:])
        return
    silence()
    _keep_imports()
    if rank():
        end_with_first()
    else:
        os.environ[FIRST] = str(os.getpid())
    try:
        open_session(args).run()
    except MisconfigurationException as error:
        raise SeglabError(str(error)) from error
    except (OSError, RuntimeError) as error:
        if (told := explained(error)) is error:
            raise
        raise told from error
    finally:
        release()


def open_session(args: list[str]) -> Session:
    """The session of a command line, ready to run.

    Raises:
        SeglabError: the config is wrong.
    """
    config = parse(args)
    seed_everything(config.options.seed_everything, workers=True, verbose=False)
    place = find_place(config)
    return Session(config, place, build(config, place.checkpoint))


@cache
def _keep_imports() -> None:
    """Spare the garbage collector what imports made: looking through it takes longer than listing a data set.

    Once per process: what a first run leaves is garbage for the next one.
    """
    gc.freeze()


def silence() -> None:
    """Filter what Lightning says that does not help."""
    for message in NOISE:
        warnings.filterwarnings("ignore", message)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)

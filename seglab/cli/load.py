"""The network of a run, for programs of one's own."""

from pathlib import Path

from seglab.cli.config import build, parse, same_random_state
from seglab.methods import Method
from seglab.training.place import find_place
from seglab.training.session import loaded


def load(run_dir: str | Path, checkpoint: str = "last") -> Method:
    """The method of a run with the weights of a checkpoint, in evaluation mode. Global random states stay as they are.

    Args:
        run_dir: run directory.
        checkpoint: ``last``, ``best`` or the path of a checkpoint file.

    Raises:
        SeglabError: it is not a run directory, or the checkpoint is missing or damaged.
    """
    with same_random_state():
        config = parse(["validate", str(run_dir), "--ckpt_path", checkpoint])
        file = str(find_place(config).checkpoint)
        return loaded(build(config, file).method, file)

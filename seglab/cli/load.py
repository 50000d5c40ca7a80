"""The network of a run, for programs of one's own."""

from pathlib import Path

from seglab.cli.config import build, parse, same_random_state
from seglab.methods import Method
from seglab.networks.tensor_files import is_state_dict, read_tensors
from seglab.training.place import find_place
from seglab.training.session import loaded
from seglab.types import SeglabError

WEIGHTS, EXPORTED, CARD = "model.safetensors", "config.yaml", "README.md"  # of what `seglab export` writes


def load(run_dir: str | Path, checkpoint: str = "last") -> Method:
    """The method of a run with the weights of a checkpoint, in evaluation mode. Global random states stay as they are.

    Args:
        run_dir: run directory, or a folder of ``seglab export --to safetensors``.
        checkpoint: ``last``, ``best`` or the path of a checkpoint file.

    Raises:
        SeglabError: it is not a run directory, or the checkpoint is missing or damaged.
    """
    with same_random_state():
        if (Path(run_dir) / WEIGHTS).is_file():
            return _exported(Path(run_dir))
        config = parse(["validate", str(run_dir), "--ckpt_path", checkpoint])
        file = str(find_place(config).checkpoint)
        return loaded(build(config, file).method, file)


def _exported(folder: Path) -> Method:
    """The method of an exported folder, whose student has the exported weights."""
    config = parse(["fit", "-c", str(folder / EXPORTED)])
    state = read_tensors(folder / WEIGHTS, "weights")
    method = build(config, str(folder / WEIGHTS)).method
    method.configure_model()
    expected = method.student.state_dict()
    if not is_state_dict(state) or {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in expected.items()}:
        raise SeglabError(f"{folder / WEIGHTS} is of another network than {folder / EXPORTED}: export both again")
    method.student.load_state_dict(state)
    return method.eval()

"""What a config or a run directory says, without running it."""

from pathlib import Path
from typing import Any, cast

import yaml

from seglab.cli.train import SeglabCLI, method_name
from seglab.methods import Method
from seglab.runs import directory
from seglab.runs.arguments import expand_run
from seglab.training.checkpoints import AtomicCheckpointIO


class Loader(SeglabCLI):
    """Builds what a config says and runs nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass

    def loaded(self) -> Method:
        """The method with the weights of the checkpoint, in evaluation mode."""
        method = cast(Method, self.model)
        method.configure_model()
        state = AtomicCheckpointIO().load_checkpoint(self.config.validate.ckpt_path)
        method.on_load_checkpoint(state)
        method.load_state_dict(state["state_dict"])
        return method.eval()


class _Parse(Loader):
    """Reads a config and builds nothing."""

    def _set_seed(self) -> None:
        pass

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass


def check(args: list[str]) -> Any:
    """Parse a command line of ``fit`` as it would be when it ran; returns its config.

    Raises:
        SeglabError: a file, key or value in it is wrong.
    """
    return _Parse(expand_run(args)).config[args[0]]


def parse(args: list[str]) -> tuple[Any, dict[str, Any]]:
    """``check``, and the config as a run directory would hold it.

    Raises:
        SeglabError: a file, key or value in it is wrong.
    """
    cli = _Parse(expand_run(args))
    return cli.config[args[0]], yaml.safe_load(cli._config_text())


def new_folder(config: Any) -> Path:
    """The run directory that a config of ``fit`` would get now."""
    parent = directory.folder_of(config.runs, config.benchmark, method_name(config))
    return Path(config.run_dir or parent / directory.new_id(parent, config.seed_everything))


def load(run_dir: str | Path, checkpoint: str = "last") -> Method:
    """The method of a run with the weights of a checkpoint, in evaluation mode.

    Args:
        run_dir: run directory.
        checkpoint: ``last``, ``best`` or the path of a checkpoint file.

    Raises:
        SeglabError: it is not a run directory, or the checkpoint is missing or damaged.
    """
    return Loader(expand_run(["validate", str(run_dir), "--ckpt_path", checkpoint])).loaded()

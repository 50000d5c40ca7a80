"""The network of an earlier run: a frozen teacher, or where the next stage of a paper begins."""

import logging
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, Self

from jsonargparse import ArgumentParser
from torch import Tensor

from seglab.labels import LabelSpace
from seglab.networks.base import Network, NetworkFactory
from seglab.networks.weights import read_file, some, unwrap
from seglab.runs.directory import BEST, LAST, read_config
from seglab.types import Output, SeglabError, require

log = logging.getLogger(__name__)


class NetworkOfRun(Network):
    """The trained network of a run directory. Building it gives a network of that run's class, with its options.

    Built twice it is the same network twice, so CPS, whose two networks must differ, has no use for it.

    Args:
        space: classes to tell apart, those of the run in their order.
        run: the run directory.
        which: the run's student, or its teacher.
        checkpoint: its last one or the best on the validation images.

    Raises:
        SeglabError: no run, no such checkpoint, no teacher in it, or other classes.
    """

    def __new__(
        cls,
        space: LabelSpace,
        run: str,
        which: Literal["student", "teacher"] = "student",
        checkpoint: Literal["last", "best"] = "last",
    ) -> Self:
        require(bool(run), "run of NetworkOfRun", "empty", "give the run directory of a trained network")
        folder = Path(run).expanduser()
        section = deepcopy(read_config(folder).get("network"))
        if not isinstance(section, dict):
            raise SeglabError(f"{folder}: its config has no section `network`")
        without_weights(section)  # the checkpoint has them
        network = build(section, space)
        path = folder / {"last": LAST, "best": BEST}[checkpoint]
        require(path.is_file(), "network.checkpoint", checkpoint, f"{path} does not exist, so let the run get so far")
        load_network(network, str(path), which)
        return network  # type: ignore[return-value]

    def __init__(self, *_: Any, **__: Any) -> None:
        """Never called, nor are the two below: the instance is of another class."""

    def encode(self, image: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        raise NotImplementedError


def without_weights(section: Any) -> None:
    """Let the ``network`` section of a config, and the networks that it wraps, begin with random weights."""
    arguments = section.get("init_args", {})
    if "weights" in arguments:
        arguments["weights"] = "none"
    if "network" in arguments:
        without_weights(arguments["network"])


def build(section: dict[str, Any], space: LabelSpace) -> Network:
    """A network from the ``network`` section of a config."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--network", type=NetworkFactory)
    factory: NetworkFactory = parser.instantiate(parser.parse_object({"network": section})).network
    return factory(space)


def load_network(network: Network, checkpoint: str, which: str = "student") -> list[str]:
    """Give a network the weights of the student or the teacher of a run.

    Heads beside the classifier (``Network.heads``) that only one of the two has are left out; all else must fit.

    Returns:
        the names of the heads that were left out.

    Raises:
        SeglabError: no checkpoint of a run, no teacher in it, or a network that differs or has other classes.
    """
    prefix = {"student": "student.", "teacher": "teacher.network."}[which]
    content = read_file(checkpoint)
    state = {
        key.removeprefix(prefix): value for key, value in unwrap(content, checkpoint).items() if key.startswith(prefix)
    }
    if not state and which != "student":
        raise SeglabError(f"checkpoint {checkpoint!r} has no {which}: its method trains without one")
    classes = content.get("classes") if isinstance(content, dict) else None
    if classes and tuple(classes) != network.space.names:
        raise SeglabError(
            f"checkpoint {checkpoint!r} has the classes {', '.join(classes)}, "
            f"but the network is to have {', '.join(network.space.names)}: give the data that run's classes"
        )
    own = network.state_dict()
    ours, theirs = ({head_name(key) for key in part} for part in (own, state))
    left_out = sorted(ours ^ theirs)
    keys = {key for key in own.keys() | state.keys() if head_name(key) not in left_out}
    wrong = sorted(key for key in keys if key not in own or key not in state or own[key].shape != state[key].shape)
    if wrong:
        raise SeglabError(
            f"the {which} of checkpoint {checkpoint!r} is another network or has other classes: {len(wrong)} tensors "
            f"differ: {some(wrong)}. Start from a run with the same network section"
        )
    network.load_state_dict({**own, **{key: state[key] for key in keys}})
    if left_out:
        log.warning("%s of %s: heads that one side lacks are left out: %s", which, checkpoint, ", ".join(left_out))
    return left_out


def head_name(key: str) -> str:
    """The head beside the classifier that a key of a network's state dict is of; empty for all else."""
    while key.startswith("network."):  # of a network that wraps one
        key = key.removeprefix("network.")
    return key.split(".")[1] if key.startswith("heads.") else ""

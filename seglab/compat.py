"""Every private name of other packages that seglab touches, in one place; tests/test_compat.py says which one broke."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

Kind = TypeVar("Kind")

__all__ = [
    *("IMPORT_MAPPING", "NAME_MAPPING", "ExperimentWriter", "BatchNorm", "Dropout", "ReportViewspec", "View"),
    *("copy_all", "disable_signal_vote", "purge_from", "is_logging_step", "lerp_all", "logged_values", "logged_step"),
    *("internal_names", "from_model", "to_model", "LazyInstance", "lazy_instance"),
    *("allow_graphs", "find_cpp_compiler", "has_triton"),
]

# Name here -> package, module, name there. Imported when asked for, so that light commands stay light.
NAMES = {
    "BatchNorm": ("torch", "torch.nn.modules.batchnorm", "_BatchNorm"),  # the base of all batch norms
    "Dropout": ("torch", "torch.nn.modules.dropout", "_DropoutNd"),  # the base of all dropouts
    "ExperimentWriter": ("lightning", "lightning.fabric.loggers.csv_logs", "_ExperimentWriter"),  # writes metrics.csv
    "IMPORT_MAPPING": ("python", "_compat_pickle", "IMPORT_MAPPING"),  # Python 2's modules, as pickle reads them
    "LazyInstance": ("jsonargparse", "jsonargparse.typing", "_LazyInitBaseClass"),  # a default that --help can show
    "NAME_MAPPING": ("python", "_compat_pickle", "NAME_MAPPING"),  # Python 2's names, as pickle reads them
    "ReportViewspec": (
        "wandb-workspaces",
        "wandb_workspaces.reports.v2.internal",
        "ReportViewspec",
    ),  # a report
    "View": ("wandb-workspaces", "wandb_workspaces.workspaces.internal", "View"),  # a workspace as JSON
}

# Private methods that subclasses here override: class there -> methods.
OVERRIDDEN = {
    "lightning.fabric.loggers.csv_logs:_ExperimentWriter": ("_check_log_dir_exists", "_rewrite_with_new_header"),
    "lightning.pytorch.callbacks:RichProgressBar": ("_get_train_description",),
}


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    package, module, there = NAMES[name]
    try:
        return getattr(import_module(module), there)
    except AttributeError as error:
        told = f"{module}.{there} is not in {package} {installed(package)}: install another version"
        raise ImportError(told) from error


def installed(package: str) -> str:
    """Its version; empty where it has none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


# torch


def lerp_all(ours: Any, theirs: Any, weight: float) -> None:
    """Move each of ``ours`` towards ``theirs`` in place, by a few kernels for all; torch has no public function."""
    import torch

    torch._foreach_lerp_(ours, theirs, weight)


def copy_all(ours: Any, theirs: Any) -> None:
    """Copy ``theirs`` into ``ours`` by a few kernels for all; torch has no public function."""
    import torch

    torch._foreach_copy_(ours, theirs)


def has_triton() -> bool:
    """Whether Triton is installed and knows the GPU."""
    from torch.utils._triton import has_triton as has

    return has()


def find_cpp_compiler() -> str:
    """The C++ compiler that torch.compile would use; empty if there is none."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        return get_cpp_compiler()
    except InvalidCxxCompiler:
        return ""


def allow_graphs(number: int) -> None:
    """Let torch.compile make so many graphs of one function before it gives up and runs the function as it is."""
    import torch

    torch._dynamo.config.recompile_limit = number


# Lightning


def is_logging_step(trainer: Any) -> bool:
    """Whether loggers get what is logged now; a value that no logger reads costs the host as much as one that is."""
    return trainer._logger_connector.should_update_logs


def logged_values(trainer: Any) -> dict[str, Any]:
    """What was logged in this step and no logger has received yet; it belongs into a checkpoint of this step."""
    return trainer._logger_connector.metrics["log"]


def logged_step(trainer: Any) -> int:
    """The step by which Lightning will log ``logged_values``."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def disable_signal_vote(trainer: Any) -> None:
    """Lightning's broadcast in every step synchronises with the GPU, and hears the signals of rank 0 alone."""
    loop = trainer.fit_loop.epoch_loop
    assert hasattr(loop, "_broadcast_sigterm_tensor")
    loop._broadcast_sigterm_tensor = lambda: None


def purge_from(logger: Any, step: int) -> None:
    """Have Lightning's TensorBoard logger open its files anew and hide what earlier ones say of ``step`` and later."""
    logger._kwargs["purge_step"] = step
    logger._experiment = None


# jsonargparse


def lazy_instance(kind: type[Kind], **arguments: Any) -> Kind:
    """A default argument that flags can change: ``kind(**arguments)``, made when it is first used.

    As ``jsonargparse.lazy_instance``, which reads the source of all its callers: for the defaults of our methods, a
    fifth of the time in which ``seglab fit`` starts.
    """
    name = f"{kind.__module__}.{kind.__qualname__}"
    names = {"__module__": __name__, "__qualname__": name}
    own: Any = type(name, (__getattr__("LazyInstance"), kind), names)  # a class each: it keeps what a call calls
    return own(kind, arguments)


# wandb-workspaces


def to_model(part: Any) -> Any:
    """The specification of a workspace or report, to keep in a file; publicly it is only sent to a server."""
    return part._to_model()


def from_model(kind: Any, model: Any) -> Any:
    """The workspace or report of a specification."""
    return kind._from_model(model)


def internal_names(workspace: Any) -> tuple[str, str]:
    """Name and id that the server gave to a saved workspace, to update the same one next time."""
    return workspace._internal_name, workspace._internal_id

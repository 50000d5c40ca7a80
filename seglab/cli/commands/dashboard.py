"""``seglab dashboard``: the comparison as W&B workspaces and a report."""

import re
from pathlib import Path
from typing import Any

from seglab.cli.commands.flags import FlagParser
from seglab.runs.reading import find_runs
from seglab.types import SeglabError

OUTPUT = "dashboard.json"
PLACE = r"[^/\\#?%:]{1,128}"  # as W&B checks names of projects
NAME = r"[\w .:,()/-]{1,100}"  # and of workspaces


def dashboard(flags: list[str]) -> None:
    """Write the definition of a W&B dashboard to a file, or create what such a file defines.

    Args:
        flags: command line after the command's name.

    Raises:
        SeglabError: a flag or file is wrong, a package is missing, or the server cannot be reached.
    """
    parser = FlagParser("dashboard", "Define W&B workspaces and a report that compare methods by benchmark.")
    parser.add_argument(
        "--runs", type=str, nargs="+", default=[], help="Run directories or folders of them, for names."
    )
    parser.add_argument("--project", type=str, default="", help="W&B project. Default: seglab.")
    parser.add_argument("--entity", type=str, default="", help="W&B team or user. Default: that of the login.")
    parser.add_argument("--name", type=str, default="", help="Title of the report. Default: seglab.")
    parser.add_argument("--output", type=str, default="", help=f"The file. Default: {OUTPUT}.")
    parser.add_argument("--push", type=str, default="", help="A file written before: create or update what it defines.")
    options = parser.parse_args(flags)
    for flag, pattern in {"project": PLACE, "entity": PLACE, "name": NAME}.items():
        if options[flag] and not re.fullmatch(pattern, options[flag]):
            raise SeglabError(f"--{flag} {options[flag]!r}: W&B wants a name that matches {pattern}")
    if options.push:
        _push(options)
        return
    report = _library()
    logged = report.logged_metrics(find_runs(options.runs))
    if options.runs and not logged:
        raise SeglabError(
            f"--runs {' '.join(options.runs)}: no run there that has logged anything; give another folder"
        )
    path = Path(options.output or OUTPUT)
    definition = report.define(options.project or "seglab", options.entity, options.name or "seglab", logged)
    report.write(path, definition)
    what = ", ".join(logged) or "all runs, classes by pattern; --runs DIR names them"
    print(f"seglab: {path} defines {len(definition['workspaces'])} workspace(s) and a report: {what}")
    print(f"seglab: to create them, log in once with `wandb login`, then `seglab dashboard --push {path}`")


def _push(options: Any) -> None:
    for flag in ("runs", "name", "output"):
        if options[flag]:
            raise SeglabError(f"--push creates what its file says: leave --{flag} out, or write the file anew with it")
    for address in _library().push(Path(options.push), options.project, options.entity):
        print(address)


def _library() -> Any:
    try:
        from seglab.report import dashboard
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("wandb"):
            raise
        raise SeglabError('dashboards need the package wandb-workspaces: pip install "seglab[dashboard]"') from error
    return dashboard

"""``seglab compare``: a table of methods, with everything it must not hide."""

import io
import sys
from pathlib import Path

from rich.console import Console

from seglab.cli.commands.flags import FlagParser
from seglab.files import write_output
from seglab.report import comparison, records, table
from seglab.runs.reading import find_runs
from seglab.types import SeglabError

FORMATS = ("table", "markdown", "csv", "json", "latex")
WIDTH = 140  # columns of a table that no terminal limits


def compare(flags: list[str]) -> None:
    """Print means over seeds, differences to a baseline and costs of the runs in some folders.

    Args:
        flags: command line after the command's name.

    Raises:
        SeglabError: a flag or folder is wrong, or there is no run.
    """
    parser = FlagParser("compare", "Compare runs: means over seeds, paired differences, cost. Reads run directories.")
    parser.add_argument("folders", type=str, nargs="*", default=["runs"], help="Runs, sweeps, or folders of them.")
    parser.add_argument("--metric", type=str, default="val/mIoU", help="A score: val/IoU/car, test/mIoU, ...")
    parser.add_argument(
        "--baseline", type=str, default="", help="Method or row that differences are to. Default: supervised."
    )
    parser.add_argument("--by", type=str, default="", help="Config keys, as in a,b: a row for each of their values.")
    parser.add_argument("--stages", action="store_true", help="Rows for the earlier stages of chains too.")
    parser.add_argument("--checkpoint", type=str, default="both", help="last, best or both.")
    parser.add_argument(
        "--network", type=str, default="all", help="student; teacher (the student of methods that have none); or all."
    )
    parser.add_argument("--format", type=str, default="table", help=f"{', '.join(FORMATS)}.")
    parser.add_argument("--digits", type=int, default=1, help="Decimals of a percentage.")
    parser.add_argument("--output", type=str, default="", help="Write to this file, not to the screen.")
    parser.add_argument("--html", type=str, default="", help="Write a page with figures and pictures to this file.")
    parser.add_argument("--images", type=str, default="", help="Images on the page, as keys a,b. Default: the first.")
    parser.add_argument("--export-figures", type=str, default="", help="Folder for figures as PDF and PNG.")
    options = parser.parse_args(flags)
    checkpoints = {"last": ("last",), "best": ("best",), "both": ("last", "best")}
    if options.checkpoint not in checkpoints:
        raise SeglabError(f"--checkpoint {options.checkpoint}: give {', '.join(checkpoints)}")
    if options.format not in FORMATS:
        raise SeglabError(f"--format {options.format}: give {', '.join(FORMATS)}")
    if not 0 <= options.digits <= 6:
        raise SeglabError(f"--digits {options.digits}: give 0 to 6 decimals")
    folders = options.folders or ["runs"]
    runs = find_runs(folders, options.stages)
    if not runs:
        raise SeglabError(f"no run in {', '.join(folders)}: a run directory has a config.yaml")
    by = [key for key in options.by.split(",") if key]
    compared = comparison.compare(
        runs, options.metric, options.baseline, by, checkpoints[options.checkpoint], options.network
    )
    _show(compared, options.format, options.digits, options.output)
    if options.html:
        from seglab.report.page import write_page

        images = [key for key in options.images.split(",") if key]
        title = f"Comparison of {', '.join(folders)}"
        write_page(runs, compared, Path(options.html), title, images, options.digits)
        print(f"seglab: page written to {options.html}", file=sys.stderr)
    if options.export_figures:
        from seglab.report.figures import write_figures

        written = write_figures(compared, Path(options.export_figures))
        print(f"seglab: {len(written)} files written to {options.export_figures}", file=sys.stderr)


def _show(compared: comparison.Comparison, form: str, digits: int, output: str) -> None:
    if form == "table" and not output:
        console = Console()
        table.to_rich(compared, console if console.is_terminal else Console(width=WIDTH), digits)
        return
    if form == "table":
        text = io.StringIO()
        table.to_rich(compared, Console(file=text, width=WIDTH), digits)
        content = text.getvalue()
    elif form in ("csv", "json"):
        content = records.to_csv(compared) if form == "csv" else records.to_json(compared)
    else:
        content = (table.to_markdown if form == "markdown" else table.to_latex)(compared, digits)
    if form == "csv":  # the one format that has no place for them
        for title, lines in table.remarks(compared):
            print("\n  ".join([f"seglab: note: {title}", *lines]), file=sys.stderr)
    if output:
        write_output(Path(output), content)
        print(f"seglab: written to {output}", file=sys.stderr)
    else:
        print(content, end="")

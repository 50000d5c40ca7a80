"""A comparison as tables and lists: for a terminal, Markdown or LaTeX."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from seglab.report.comparison import Comparison, Row, Score, seeds_of
from seglab.report.estimate import Estimate
from seglab.runs.reading import Run

NONE = "–"
UNFAIR = "†"  # behind a row whose runs were configured unlike the others
CLEAR = "*"  # behind a difference whose interval excludes 0


@dataclass(frozen=True)
class Cell:
    """One entry of a sheet; ``strong`` is set in bold."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Sheet:
    """One table: a title, column heads, and a row per line."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]


def sheets(comparison: Comparison, digits: int = 1) -> list[Sheet]:
    """Scores and cost of each benchmark, in percent with ``digits`` decimals."""
    found = []
    for benchmark in comparison.benchmarks:
        rows = comparison.of(benchmark)
        baseline = next((row.method for row in rows if row.baseline), "")
        columns = ["method"]
        for checkpoint in comparison.checkpoints:
            columns += [f"{checkpoint} checkpoint", *([f"minus {baseline}"] if baseline else [])]
        lines = [_line(comparison, row, name, digits, bool(baseline)) for row in rows for name in row.networks]
        found.append(Sheet(f"{benchmark}: {comparison.metric} in %", tuple(columns), lines))
        found.append(_cost_sheet(benchmark, rows))
    return found


def footnotes(comparison: Comparison) -> list[str]:
    """How the numbers came about."""
    lines = [
        "Mean ± sample standard deviation (n - 1) over seeds, number of seeds in parentheses; finished runs only.",
    ]
    if any(row.baseline for row in comparison.rows):
        lines.append(
            "Difference to the baseline: mean of the differences paired by seed, with the 95 % interval of Student's t "
            f"(seeds - 1 degrees of freedom); one common seed gives no interval. {CLEAR} the interval excludes 0, not "
            "corrected for the number of comparisons. A second network is compared to the baseline's, if it has one, "
            "or else to its student."
        )
    if "best" in comparison.checkpoints:
        lines.append("Best: the validation with the student's highest val/mIoU; chosen on what it is scored on.")
    if comparison.deviations:
        lines.append(f"{UNFAIR} differs from the others in more than method and seed: see below.")
    return lines


def remarks(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Titled lists: unfair comparisons, runs that do not count, and notes. Empty ones are left out."""
    unfair = []
    for d in comparison.deviations:
        changes = ", ".join(f"{key}: {own} (others: {usual})" for key, (own, usual) in d.keys.items())
        unfair.append(f"{d.benchmark}: {d.label} ({seeds_of(d.runs)}): {changes}")
    grouped: dict[tuple[str, str, str, str], list[Run]] = {}
    for run, reason in comparison.incomplete:
        grouped.setdefault((run.status, run.benchmark, run.method, reason), []).append(run)
    incomplete = [
        f"{status}: {benchmark}: {method} ({seeds_of(runs)}): {reason}"
        for (status, benchmark, method, reason), runs in sorted(grouped.items(), key=lambda item: item[0])
    ]
    titled = [
        ("Unfair: differs from the others in more than method and seed", unfair),
        (f"Runs that do not count ({len(comparison.incomplete)})", incomplete),
        ("Notes", comparison.notes),
    ]
    return [(title, lines) for title, lines in titled if lines]


def to_rich(comparison: Comparison, console: Console, digits: int = 1) -> None:
    """Print tables and remarks."""
    for sheet in sheets(comparison, digits):
        table = Table(title=sheet.title, box=box.SIMPLE, title_justify="left", padding=(0, 1), pad_edge=False)
        for index, column in enumerate(sheet.columns):
            # where it is narrow, names are folded, not numbers
            whole = index > 0 and column != "device"
            table.add_column(column, justify="right" if index else "left", overflow="fold", no_wrap=whole)
        for cells in sheet.rows:
            table.add_row(*(Text(cell.text, "bold green" if cell.strong else "") for cell in cells))
        console.print(table)
    for line in footnotes(comparison):
        console.print(Text(line, "dim"))
    for title, lines in remarks(comparison):
        console.print(Text(f"\n{title}", "bold"))
        for line in lines:
            console.print(Padding(Text(line), (0, 0, 0, 2)))


def to_markdown(comparison: Comparison, digits: int = 1) -> str:
    """Tables, footnotes and remarks."""
    parts = []
    for sheet in sheets(comparison, digits):
        head = [f"| {' | '.join(map(_pipe, sheet.columns))} |", f"|---{'|---:' * (len(sheet.columns) - 1)}|"]
        body = [f"| {' | '.join(_bold(_pipe(cell.text), cell) for cell in cells)} |" for cells in sheet.rows]
        parts.append("\n".join([f"**{_pipe(sheet.title)}**", "", *head, *body]))
    parts += map(_pipe, footnotes(comparison))
    for title, lines in remarks(comparison):
        parts.append("\n".join([f"**{title}**", "", *(f"- {_pipe(line)}" for line in lines)]))
    return "\n\n".join(parts) + "\n"


def to_latex(comparison: Comparison, digits: int = 1) -> str:
    """A booktabs table per sheet; remarks are comments. Needs ``\\usepackage{booktabs}``."""
    parts = []
    for sheet in sheets(comparison, digits):
        rows = [" & ".join(_strong_latex(cell) for cell in cells) + r" \\" for cells in sheet.rows]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"  \centering",
                    f"  \\caption{{{_latex(sheet.title)}}}",
                    f"  \\begin{{tabular}}{{l{'r' * (len(sheet.columns) - 1)}}}",
                    r"    \toprule",
                    f"    {' & '.join(map(_latex, sheet.columns))} \\\\",
                    r"    \midrule",
                    *(f"    {row}" for row in rows),
                    r"    \bottomrule",
                    r"  \end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    said = [*footnotes(comparison), *(line for title, lines in remarks(comparison) for line in (title, *lines))]
    parts.append("\n".join(f"% {line}" for line in said))
    return "% needs \\usepackage{booktabs}\n" + "\n\n".join(parts) + "\n"


def percent(estimate: Estimate, digits: int = 1) -> str:
    """``43.9 ± 0.4 (3)``; without the deviation for one value."""
    if not estimate.n:
        return NONE
    spread = f" ± {100 * estimate.std:.{digits}f}" if estimate.n > 1 else ""
    return f"{100 * estimate.mean:.{digits}f}{spread} ({estimate.n})"


def percent_difference(score: Score, baseline: bool = False, digits: int = 1) -> str:
    """``+1.2 [-0.3, 2.7]``, with the number of pairs where it is not the number of seeds."""
    difference = score.difference
    if baseline or difference is None:
        return "baseline" if baseline else NONE
    pairs = "" if difference.n == score.estimate.n else f" ({difference.n})"
    if difference.n < 2:
        return f"{100 * difference.mean:+.{digits}f}{pairs}"
    interval = f"[{100 * difference.low:.{digits}f}, {100 * difference.high:.{digits}f}]"
    return f"{100 * difference.mean:+.{digits}f} {interval}{pairs}{f' {CLEAR}' if difference.excludes_zero else ''}"


def _line(comparison: Comparison, row: Row, network: str, digits: int, differences: bool) -> tuple[Cell, ...]:
    label = row.label if network == row.networks[0] else ""
    label += f" {UNFAIR}" if label and comparison.deviates(row) else ""
    if network != "student":
        label = f"{label} ({network})" if label else f"  ({network})"
    cells = [Cell(label)]
    for checkpoint in comparison.checkpoints:
        score = row.scores[network, checkpoint]
        cells.append(Cell(percent(score.estimate, digits), score.leads))
        if differences:
            better = bool(score.difference and score.difference.low > 0)
            cells.append(Cell(percent_difference(score, row.baseline, digits), better))
    return tuple(cells)


def _cost_sheet(benchmark: str, rows: Sequence[Row]) -> Sheet:
    columns = ("method", "runs", "hours per run", "peak memory", "images/s", "parameters", "device")
    lines = []
    for row in rows:
        unit = "/".join(sorted({run.cost.unit for run in row.runs}))
        parameters = max(run.parameters for run in row.runs)
        texts = (
            *(row.label, str(len(row.runs))),
            _number(row.cost("device_hours"), "{:.3g} " + unit + " h"),
            _number(row.cost("peak_memory_bytes") / 2**30, "{:.1f} GiB"),
            _number(row.cost("images_per_second"), "{:.1f}"),
            f"{parameters / 1e6:.1f} M" if parameters else NONE,
            row.device or NONE,
        )
        lines.append(tuple(Cell(text) for text in texts))
    return Sheet(f"{benchmark}: cost, mean over seeds", columns, lines)


def _number(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else NONE


def _bold(text: str, cell: Cell) -> str:
    return f"**{text}**" if cell.strong else text


def _pipe(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*")


def _strong_latex(cell: Cell) -> str:
    return f"\\textbf{{{_latex(cell.text)}}}" if cell.strong else _latex(cell.text)


def _latex(text: str) -> str:
    special = {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
        UNFAIR: r"$^\dagger$", CLEAR: "$^*$", NONE: "--", "+": "$+$",
    }  # fmt: skip
    for character in "&%$#_{}":
        special[character] = f"\\{character}"
    escaped = "".join(special.get(character, character) for character in text)
    return re.sub(r"-(?=\d+\.\d)", "$-$", escaped)

"""``seglab pick``: ask for the pixels whose classes would teach a network most, the step between PixelPick's rounds."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveInt
from rich.progress import track

from seglab.cli.commands.flags import FlagParser, split_flags
from seglab.files import write_output
from seglab.runs.arguments import is_run
from seglab.types import SeglabError

OWN = ("--pixels", "--score", "--top", "--seed", "--simulate", "--output", "--page", "--ckpt_path", "--by")
Score = Literal["margin", "least_confidence", "entropy", "random"]


def parse(args: list[str]) -> tuple[Any, list[str]]:
    """The flags of ``pick``, and the run directory or names with the flags of ``fit`` or ``validate``.

    Raises:
        SeglabError: a flag of ``pick`` is wrong, or nothing says which data are meant.
    """
    own, rest = split_flags(args, OWN)
    parser = FlagParser(
        "pick",
        "Ask for pixels of a run's labeled images: the least sure ones of its network, and those that its list has "
        "already. With names in place of RUN_DIR, as for `seglab fit`: random pixels, for a first round. All other "
        "flags are theirs.",
    )
    parser.add_argument("--pixels", type=PositiveInt, default=10, help="New pixels of each image.")
    parser.add_argument("--score", type=Score, default="margin", help="How unsure the network is of a pixel.")
    parser.add_argument("--top", type=ClosedUnitInterval, default=0.05, help="Share of least sure pixels drawn from.")
    parser.add_argument(
        "--seed", type=NonNegativeInt | None, default=None, help="Of what is drawn. Default: the run's."
    )
    parser.add_argument("--simulate", type=bool, default=False, help="Read the classes from the masks.")
    parser.add_argument("--output", type=str, default="points.csv", help="List to write, for --data.points.")
    parser.add_argument("--page", type=str, default="", help="HTML page to answer on. Default: beside the list.")
    parser.add_argument("--ckpt_path", type=str, default="last", help="last, best or a checkpoint file.")
    parser.add_argument("--by", type=str, default="student", help="The network: student, or teacher if there is one.")
    options = parser.parse_args(own)
    if not rest and not {"-h", "--help"} & set(args):
        raise SeglabError("seglab pick RUN_DIR, or seglab pick BENCHMARK for random pixels of a first round")
    return options, rest


def pick(args: list[str]) -> None:
    """Run ``pick``, in this process alone.

    Args:
        args: command line after the command's name.

    Raises:
        SeglabError: no such run or data, a list that exists, or an image without the mask that would answer.
    """
    options, words = parse(args)
    from seglab.cli.commands.predictor import single_process
    from seglab.data import DataSet
    from seglab.data.answers import write_answers_page
    from seglab.data.decode import Files
    from seglab.data.points import Point, format_points, read_points
    from seglab.evaluation.picking import pick_pixels, shares

    single_process("pick")
    output = Path(options.output)
    page = Path(options.page) if options.page else output.with_suffix(".html")
    if output.exists():
        raise SeglabError(f"{output} exists: answers may be in it, so choose another --output")
    data, score = _source(options, words)
    side = cast(DataSet, data.evaluated)
    before = side.points and side.points.resolve() != output.resolve()  # a chain names what is to be written
    known = read_points(side.points, side.space) if side.points and before else []
    seed = data.seed if options.seed is None else options.seed
    items = side.askable
    answers = Files(side.space) if options.simulate else None
    picked: list[Point] = []
    rounds = pick_pixels(items, known, options.pixels, options.top, seed, score, answers)
    for points in track(rounds, "picking", len(items), disable=not sys.stderr.isatty(), transient=True):
        picked += points
    points = [*known, *picked]
    write_output(output, format_points(points, side.space))
    print(f"seglab: {output}: {len(picked)} new pixels of {len(items)} images, {len(points)} in all")
    if options.simulate:
        named = ", ".join(f"{name} {count}" for name, count in shares(picked, side.space.names).items())
        print(f"seglab: classes of the new ones: {named}")
    if any(point.label is None for point in points):
        asked = write_answers_page(page, points, {item.key: item for item in items}, side.space)
        print(f"seglab: open {page} to answer {asked} of them, and save its list as {output}")
    else:
        print(f"seglab: train with --data.points {output}")


def check_answers(points: Path, page: Path) -> None:
    """Raise ``SeglabError`` while pixels of a list have no class."""
    lines = points.read_text().splitlines()[1:]
    if left := sum(line.endswith(",") for line in lines):
        raise SeglabError(
            f"{left} of {len(lines)} pixels in {points} have no class yet: open {page} in a browser, answer, save its "
            "list in the place of that one, and give the same command again"
        )


def _source(options: Any, words: Sequence[str]) -> tuple[Any, Callable | None]:
    """The data, and how unsure the network of a run is of the pixels of an image; None: drawn at random."""
    if not is_run(words[0]):
        from seglab.cli.config import build
        from seglab.cli.config import parse as parse_config

        # the method does not matter for the data
        return build(parse_config(["fit", *words, "--model=Supervised"])).data, None
    from seglab.cli.commands.predictor import open_predictor
    from seglab.ops.uncertainty import UNCERTAINTY

    of_run = open_predictor(words[0], options.ckpt_path, options.by, words[1:])
    if options.score == "random":
        return of_run.session.data, None
    score = UNCERTAINTY[options.score]
    return of_run.session.data, lambda image: score(of_run.predict(image).float())[0]

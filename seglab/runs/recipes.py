"""Files of ``experiments/``: found by name, completed by what a recipe extends and by what it says of a split."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from seglab.files import read_yaml
from seglab.types import SeglabError

PACKAGE = Path(__file__).parents[1]
KINDS = ("benchmark", "method", "published", "addition", "logger", "trainer")  # of files that a name may mean
FRAGMENTS = {"network": "network", "trainer": "schedule", "taxonomy": "taxonomy"}  # flag -> kind of its files
KEYS = ("extends", "splits")  # of a recipe: what the command line reads before the config is parsed
FILE_FLAGS = ("-c", "--config")
SCORE = "score"  # the entry of a split that is no setting
OLD = re.compile(r"(camvid|cityscapes|voc|streets)_(1_\d+|full|\d+)|(unimatch|u2pl)_voc_blended")


def folders() -> list[Path]:
    """Where experiments lie: here, in the installed package, or in the checkout that is installed."""
    places = (Path("experiments"), PACKAGE / "experiments", PACKAGE.parent / "experiments")
    return [place for place in places if (place / "benchmark").is_dir()]


def files(kind: str) -> dict[str, Path]:
    """Name -> file of every experiment of a kind; the first folder that has a name counts."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted((folder / kind).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def find(name: str, kinds: Sequence[str], benchmark: str = "") -> Path:
    """The file that a name means: of the first kind that has it.

    Args:
        name: stem of a file; of a published recipe also its ``method``, as in ``unimatch-paper``.
        kinds: folders of experiments, in the order in which they are searched.
        benchmark: which of the published recipes of one name is meant.

    Raises:
        SeglabError: there is none, or it is for other benchmarks; names the nearest.
    """
    for kind in kinds:
        if path := files(kind).get(name):
            return path
        if kind == "published" and (recipes := _published(name)):
            if benchmark in recipes:
                return recipes[benchmark]
            if len(recipes) == 1 and not benchmark:
                return next(iter(recipes.values()))
            given = f"is not for {benchmark}" if benchmark else "is for several benchmarks"
            raise SeglabError(f"{name} {given}: give one of {', '.join(recipes)} before it")
    _refuse_old(name)
    known = dict.fromkeys(known for kind in kinds for known in files(kind))
    if "published" in kinds:
        known |= dict.fromkeys(str(read(path).get("method")) for path in files("published").values())
    near = get_close_matches(name, known, 5, 0.5)
    hint = f"the nearest are {', '.join(near)}" if near else f"`seglab list {kinds[0]}s` shows what there is"
    raise SeglabError(f"{name} is not a run directory and not a name of {', '.join(kinds)}: {hint}")


def named(words: Sequence[str]) -> list[str]:
    """Names at the beginning of a command line as ``-c FILE``: benchmark, method or published recipe, then additions.

    Files given by ``-c`` may stand among them.

    Raises:
        SeglabError: a name is unknown.
    """
    given: list[str] = []
    kinds, benchmark = list(KINDS), ""
    for before, word in itertools.pairwise(["", *words]):
        if word in FILE_FLAGS:
            continue
        is_file = before in FILE_FLAGS or Path(word).suffix == ".yaml"
        path = Path(word) if is_file else find(word, kinds, benchmark)
        kind = path.parent.name
        if kind == "benchmark":
            benchmark = path.stem
        taken = {"benchmark": ["benchmark"], "method": ["benchmark", "method", "published"]}
        taken["published"] = taken["method"]
        kinds = [other for other in kinds if other not in taken.get(kind, [])]
        given += ["-c", str(path)]
    return given


def leading(words: Sequence[str]) -> list[str]:
    """The names at the beginning of a command line, and the files by ``-c`` among them."""
    end = 0
    while end < len(words) and (words[end] in FILE_FLAGS or not words[end].startswith("-")):
        step = 2 if words[end] in FILE_FLAGS else 1
        if end + step > len(words):  # a flag without its file is for the parser to name
            break
        end += step
    return list(words[:end])


def complete(words: Sequence[str]) -> list[str]:
    """A command line whose recipes have what they extend before them and the settings of the split after them.

    The benchmark's name gets the split: ``camvid@1/8``. Flags such as ``--network tiny`` get the file of that name.

    Args:
        words: files by ``-c``, and flags.

    Raises:
        SeglabError: a recipe stands on another benchmark or method than it extends, or says nothing of the split.
    """
    words = list(_fragments(words))
    at = [index for index, word in enumerate(words) if word in FILE_FLAGS and index + 1 < len(words)]
    whole: list[str] = []
    given = [read(Path(words[index + 1])) for index in at]
    for index, word in enumerate(words):
        if index - 1 in at and (extends := read(Path(word)).get("extends")):
            whole[-1:-1] = _missing(Path(word), extends, given, given[: at.index(index - 1)])
        whole.append(word)
    paths = [Path(after) for word, after in itertools.pairwise(whole) if word in FILE_FLAGS]
    split = _labeled([read(path) for path in paths], paths, whole)
    done: list[str] = []
    for before, word in zip(["", *whole], whole, strict=False):
        done.append(word)
        if before in FILE_FLAGS and (table := read(Path(word)).get("splits")):
            done += _settings(Path(word), table, split, _last_flag(words, "trainer.max_steps") is not None)
    if split == "all":
        return done
    names = [name for path in paths if (name := read(path).get("benchmark"))]
    name = _last_flag(words, "benchmark") or (str(names[-1]) if names else "custom")
    return [*done, f"--benchmark={name.partition('@')[0]}@{split_name(split)}"]


def split_name(labeled: str) -> str:
    """How a benchmark's name shows ``data.labeled``: ``1/8``, ``92``, or the end of a list's path."""
    if re.fullmatch(r"(1/)?\d+", labeled):
        return labeled
    return "/".join(Path(labeled).with_suffix("").parts[-2:])


def read(path: Path) -> dict[str, Any]:
    """The content of a config file; nothing of one that is absent or no config, which the parser names.

    Raises:
        SeglabError: it is no YAML, or a file of an older seglab.
    """
    if not path.is_file():
        _refuse_old(path.stem)
        return {}
    content = read_yaml(path)
    return content if isinstance(content, dict) else {}


def _published(name: str) -> dict[str, Path]:
    """Benchmark -> published recipe of this name."""
    contents = {path: read(path) for path in files("published").values()}
    return {found["extends"]["benchmark"]: path for path, found in contents.items() if found.get("method") == name}


def _refuse_old(stem: str) -> None:
    if not (old := OLD.fullmatch(stem)):
        return
    name, split, method = old.groups()
    if method:
        raise SeglabError(f"{stem} is now part of {method}-paper: `seglab fit voc {method}-paper --data.labeled 1/8`")
    split = "all" if split == "full" else split.replace("_", "/")
    raise SeglabError(f"{stem} is now `{name} --data.labeled {split}`: splits are a key, not a file each")


def _missing(
    recipe: Path, extends: Any, given: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Files that a recipe extends and that no one gave; what stands after it may change its method on purpose."""
    if not isinstance(extends, dict) or set(extends) != {"benchmark", "method"}:
        raise SeglabError(f"{recipe}: extends is {extends!r}: write {{benchmark: NAME, method: NAME}}")
    benchmarks = [str(found["benchmark"]).partition("@")[0] for found in given if found.get("benchmark")]
    if wrong := [name for name in benchmarks if name != extends["benchmark"]]:
        raise SeglabError(
            f"{recipe} is a recipe for {extends['benchmark']}, not for {wrong[0]}: give the one it is for"
        )
    method = find(extends["method"], ["method"])
    own = _class(read(method))
    others = [found for found in before if _class(found) and "extends" not in found]
    if wrong := [name for found in others if (name := _class(found)) != own]:
        raise SeglabError(f"{recipe} is a recipe of {own}, not of {wrong[0]}: leave the file of {wrong[0]} out")
    missing = [] if benchmarks else ["-c", str(find(extends["benchmark"], ["benchmark"]))]
    return missing if others else [*missing, "-c", str(method)]


def _class(content: Mapping[str, Any]) -> str:
    model = content.get("model")
    return str((model.get("class_path") if isinstance(model, dict) else model) or "").rpartition(".")[2]


def _settings(recipe: Path, table: Any, split: str, steps_given: bool) -> list[str]:
    """Flags of the split's row."""
    rows = {str(key): row for key, row in table.items()} if isinstance(table, dict) else {}
    if split in rows:
        return [f"--{key}={json.dumps(value)}" for key, value in rows[split].items() if key != SCORE]
    if steps_given:
        return []
    raise SeglabError(
        f"{recipe} says nothing of --data.labeled {split}: it has {', '.join(rows)}. For others give "
        "--trainer.max_steps and --trainer.val_check_interval"
    )


def _labeled(contents: Sequence[Mapping[str, Any]], paths: Sequence[Path], words: Sequence[str]) -> str:
    """``data.labeled`` as the parser will find it."""
    for flag in ("data.labeled", "data.init_args.labeled"):
        if value := _last_flag(words, flag):
            return value
    for content, path in reversed(list(zip(contents, paths, strict=True))):
        data = content.get("data")
        if isinstance(data, str) and data.endswith(".yaml"):
            data = read(path.parent / data)
        if isinstance(data, dict):
            arguments = data.get("init_args")
            found = {**data, **(arguments if isinstance(arguments, dict) else {})}.get("labeled")
            if found is not None:
                return str(found)
    return "all"


def _last_flag(words: Sequence[str], name: str) -> str | None:
    value = None
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word == f"--{name}":
            value = after
        elif word.startswith(f"--{name}="):
            value = word.partition("=")[2]
    return value


def _fragments(words: Sequence[str]) -> Iterator[str]:
    """Flags that take the file of an experiment, with the file in place of its name."""
    flag = ""
    for word in words:
        name, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        kind = FRAGMENTS.get((name or flag).rpartition(".")[2].removeprefix("--"))
        path = files(kind).get(value) if kind and value else None
        yield f"{name}{equals}{path or value}"
        flag = name if not equals else ""

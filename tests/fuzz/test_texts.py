"""Label spaces, taxonomies, lists, sweeps and configs that are wrong in any way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from probes import EXPERIMENTS

from seglab.cli.config import check
from seglab.data.files import Item
from seglab.data.lists import choose_labeled, leave_out
from seglab.files import read_json, read_yaml
from seglab.labels import Taxonomy, label_space
from seglab.launch.sweep import preview, read_sweep

NAMES = st.sampled_from(["road", "car", "sky", ""]) | st.text(max_size=5)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**30, -1, "1e-5", "null", "../x", "os.system", float("nan")])
)
VALUES = st.recursive(
    SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(NAMES, part, max_size=3), max_leaves=6
)
SPOILT = st.sampled_from(
    [
        b"\xff\xfe",
        b"\t",
        b"\0",
        b"&a [*a]",
        b"{",
        b"!!python/object/apply:os.abort []",
        b"a: 1\na: 2",
        b"- ",
        b": :",
        b"\r",
    ]
)


@given(
    st.lists(NAMES, max_size=4),
    st.dictionaries(st.integers(-2, 300), NAMES, max_size=5),
    st.lists(st.integers(-2, 300)),
)
def test_label_spaces(named: Callable, names: list[str], ids: dict[int, str], void: list[int]) -> None:
    space = named(lambda: label_space(names, ids, void), *names, *ids, *void, "classes", "class")
    if hasattr(space, "decode"):
        assert space.decode.shape == space.encode.shape == (256,)


@given(
    st.lists(NAMES, max_size=4),
    st.dictionaries(NAMES, NAMES, max_size=4),
    st.lists(st.sampled_from(["road", "car", "sky"]), min_size=1, unique=True),
)
def test_taxonomies(named: Callable, classes: list[str], mapping: dict[str, str], own: list[str]) -> None:
    space = label_space(own)
    new = named(lambda: space.converted(Taxonomy(tuple(classes), mapping)), "taxonomy")
    if hasattr(new, "decode"):
        assert new.names == tuple(classes)


LINES = st.lists(
    st.sampled_from(
        [
            "a.png",
            "train/a.png",
            "b",
            "../a.png",
            "/etc/passwd",
            "a.png b.png",
            "x\ty",
            "c/../../a.png",
            "b.jpg",
            "\x85",
            "\0",
        ]
    )
    | st.text(max_size=10),
    max_size=5,
).map("\n".join)


@given(LINES.map(str.encode) | st.binary(max_size=40))
def test_lists(named: Callable, tmp_path: Path, content: bytes) -> None:
    root = tmp_path / "data"
    items = [Item(key, root / "train" / f"{key}.png", root / f"{key}_mask.png") for key in ("a", "b")]
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    for chosen in (
        named(lambda: choose_labeled(items, str(path)), path),
        named(lambda: leave_out(items, path, ()), path),
    ):
        assert not isinstance(chosen, list) or set(chosen) <= set(items)


@given(st.binary(max_size=60) | SPOILT | VALUES.map(lambda value: yaml.safe_dump(value).encode()))
def test_any_text_as_yaml_and_json(named: Callable, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    named(lambda: read_yaml(path), path)
    named(lambda: read_json(path), path)


PARAMETERS = st.dictionaries(
    st.sampled_from(["seed_everything", "optimizer.lr", "config.method", "a"]) | NAMES,
    st.dictionaries(
        st.sampled_from(["value", "values", "distribution", "min", "max", "q", "mu", "sigma", "probabilities"]),
        SCALARS
        | st.lists(SCALARS, max_size=3)
        | st.sampled_from(["uniform", "log_uniform_values", "int_uniform", "q_normal"]),
        max_size=4,
    )
    | VALUES,
    max_size=3,
)
SWEEPS = st.fixed_dictionaries(
    {"method": st.sampled_from(["grid", "random", "bayes"]) | VALUES, "parameters": PARAMETERS | VALUES},
    optional={
        "run_cap": st.integers(1, 5) | SCALARS,
        "command": st.just(["${env}", "seglab", "fit", "${args}"]) | VALUES,
        "metric": VALUES,
        "name": VALUES,
    },
)


@given(SWEEPS.map(lambda sweep: yaml.safe_dump(sweep).encode()) | st.binary(max_size=60) | SPOILT)
def test_sweeps(named: Callable, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(content)
    for read in (read_sweep, preview):
        runs = named(lambda read=read: read(path), path)
        for run in runs if isinstance(runs, list) else ():
            assert "/" not in run.name
            assert json.dumps(run.parameters)


FEW = settings(max_examples=max(3, settings().max_examples // 10))  # building a parser takes most of a second
BENCHMARK = (EXPERIMENTS / "benchmark/streets.yaml").read_bytes()
KEYS = st.sampled_from(
    [
        *(
            "benchmark",
            "seed_everything",
            "runs",
            "run_dir",
            "checkpoint_every",
            "network",
            "optimizer",
            "schedule",
            "evaluation",
        ),
        *("criterion", "additions", "init_from", "panels", "trainer", "data", "trainer.max_steps", "trainer.callbacks"),
        *(
            "data.class_path",
            "data.init_args",
            "data.init_args.crop",
            "optimizer.class_path",
            "model",
            "config",
            "fit",
            "1",
        ),
    ]
)


@FEW
@given(st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=2))
def test_configs_with_other_values(named: Callable, tmp_path: Path, changes: list[tuple[str, Any]]) -> None:
    content: dict[str, Any] = {}
    for key, value in changes:
        *sections, last = key.split(".")
        part = content
        for section in sections:
            part = part[section] = part[section] if isinstance(part.get(section), dict) else {}
        part[last] = value
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    named(lambda: check(_fit(path)), path, *content, *(key.rpartition(".")[2] for key, _ in changes), "Option", "key")


@FEW
@given(st.integers(0, len(BENCHMARK)), SPOILT | st.binary(max_size=3))
def test_configs_with_other_bytes(named: Callable, tmp_path: Path, place: int, spoilt: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(BENCHMARK[:place] + spoilt + BENCHMARK[place:])
    named(lambda: check(_fit(path)))


def _fit(path: Path) -> list[str]:
    files = (EXPERIMENTS / "benchmark/streets.yaml", EXPERIMENTS / "method/supervised.yaml", path)
    return ["fit", *(word for file in files for word in ("-c", str(file)))]


@pytest.mark.parametrize("depth", [2000])
def test_nesting_that_is_too_deep(named: Callable, tmp_path: Path, depth: int) -> None:
    path = tmp_path / "deep"
    path.write_text("[" * depth + "]" * depth)
    named(lambda: read_yaml(path), path)
    path.write_text('{"a":' * 50 * depth + "1" + "}" * 50 * depth)
    named(lambda: read_json(path), path)

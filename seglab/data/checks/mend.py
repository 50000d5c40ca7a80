"""The lines of YAML that mend what ``seglab data check`` found, where it can tell."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import yaml

from seglab.data.checks.findings import Part
from seglab.data.checks.plausible import MANY, binary, misread, unpacked
from seglab.data.dataset import DataSet
from seglab.data.init.content import count, name_classes
from seglab.data.sets.folder import Folder
from seglab.labels import IGNORE, UNKNOWN, LabelSpace


def mending(data: DataSet, parts: list[Part]) -> list[str]:
    """Lines for ``init_args`` of a data set; none where nothing is wrong or nobody can tell."""
    labeled = [part for part in parts if part.space is data.space]
    if not labeled:
        return []
    stored = np.sum([part.stored for part in labeled], axis=0)
    wrong = sum((part.wrong for part in labeled), Counter[int]())
    known = {int(id) for id in np.flatnonzero(data.space.decode != UNKNOWN)}
    stored = stored + np.array([wrong[id] if id in known else 0 for id in range(256)])
    unknown = {id: pixels for id, pixels in wrong.items() if id not in known}
    lines = list(_ids(data, stored, unknown)) if not data.space.stored_colours else list(_colours(data, unknown))
    painted = [path for part in labeled for path in part.painted]
    if isinstance(data, Folder) and painted and not data.space.stored_colours:
        content = count(painted, colours=True)
        classes = name_classes(data.root, content, colours=True)
        colours: dict[str, Any] = {}
        for colour, name in classes.names.items():
            colours.setdefault(name, []).append(list(colour) if isinstance(colour, tuple) else colour)
        shown = {name: own[0] if len(own) == 1 else own for name, own in colours.items()}
        lines += [f"classes: {_flow(list(shown))} # write your own names", f"colors: {_flow(shown)}"]
        if classes.void:
            void = [list(colour) for colour in classes.void if isinstance(colour, tuple)]
            lines.append(f"void_colors: {_flow(void)}")
    broken = [item for part in parts for item in part.bad]
    if broken and not lines and 2 * len(broken) < sum(len(part.items) for part in parts):
        lines.append("skip: bad.txt # once `seglab data check` has written it: --bad bad.txt")
    return lines


def _ids(data: DataSet, stored: np.ndarray, unknown: dict[int, int]) -> Iterator[str]:
    space = data.space
    if not isinstance(data, Folder):
        problem = misread(stored, space) or ""
        if "labelTrainIds" in problem:
            yield "ids: labelTrainIds"
        return
    if data.own_space is not space:
        return
    if binary(stored, space):
        yield f"ids: {_flow(dict(zip((0, IGNORE), space.names, strict=True)))}"
        return
    present = [int(id) for id in np.flatnonzero(stored) if space.decode[id] != IGNORE]
    every = sorted({*present, *(id for id in unknown if 0 <= id <= 255)})
    if unknown and max(unknown) <= 255 and len(every) == space.num_classes:
        yield f"ids: {_flow(dict(zip(every, space.names, strict=True)))} # in ascending order: right?"
        return
    if unknown and max(unknown) <= 255 and len(unknown) < MANY:
        named = {**_map(space), **{id: f"class_{id}" for id in sorted(unknown)}}
        yield f"classes: {_flow([*space.names, *(f'class_{id}' for id in sorted(unknown))])} # write your own names"
        yield f"ids: {_flow(named)}"
        yield f"void: {_flow(sorted({*space.void, *unknown}))} # in place of both, where they should be ignored"
        return
    absent = [name for index, name in enumerate(space.names) if not stored[space.decode == index].any()]
    ignored = [int(id) for id in np.flatnonzero(stored) if space.decode[id] == IGNORE]
    if len(absent) == len(ignored) == 1 and stored[ignored].sum() >= 0.5 * stored.sum():
        kept = {id: name for id, name in _map(space).items() if name not in absent}
        yield f"ids: {_flow({**kept, ignored[0]: absent[0]})}"
        yield f"void: {_flow([id for id in space.void if id not in ignored])}"


def _colours(data: DataSet, unknown: dict[int, int]) -> Iterator[str]:
    if isinstance(data, Folder) and unknown and len(unknown) < MANY:
        void = [
            list(colour) for index, colour in enumerate(data.own_space.stored_colours) if index in data.own_space.void
        ]
        new = [list(unpacked(colour - 256)) for colour in sorted(unknown, key=lambda colour: -unknown[colour])]
        yield f"void_colors: {_flow(void + new)} # or name them under colors"


def _map(space: LabelSpace) -> dict[int, str]:
    """Stored id -> class."""
    return {int(id): space.names[space.decode[id]] for id in np.flatnonzero(space.decode < space.num_classes)}


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True).strip()

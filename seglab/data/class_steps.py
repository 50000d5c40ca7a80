"""Classes that arrive in steps: class-incremental segmentation."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Literal

import numpy as np

from seglab.labels import LabelSpace
from seglab.types import SeglabError, require


@dataclass(frozen=True)
class ClassSteps:
    """Which classes arrive in which step, and which step this run is.

    The masks of a step show its own classes; every other class, old or to come, is background. Its labeled images are
    those that show one of its classes. Scores count the classes that have arrived; the pixels of others are ignored.

    Attributes:
        steps: ``15-1``: the first 15 classes of the data set beside the background, then one by one; or the names of
            each step's classes, in lists. Classes that no list names never arrive. Empty: all classes at once.
        step: of this run, from 0 on.
        protocol: ``overlapped``: images of a step may show classes of later ones; ``disjoint``: they do not.
        background: class for all that the masks of a step do not show, one of the data set or a new one. It comes first
            and belongs to step 0.
        void_is_background: ids that are ignored, other than 255, are background too, as 0 of ADE20K is.
    """

    steps: str | list[list[str]] = field(default_factory=list)
    step: int = 0
    protocol: Literal["overlapped", "disjoint"] = "overlapped"
    background: str = "background"
    void_is_background: bool = False

    def classes(self, space: LabelSpace) -> list[list[str]]:
        """The classes of each step, without the background.

        Raises:
            SeglabError: a step is empty, repeats a class or names one that the data set lacks, or there is no such
                step as that of this run.
        """
        names = [name for name in space.names if name != self.background]
        steps = _counted(self.steps, names) if isinstance(self.steps, str) else [list(step) for step in self.steps]
        for name, times in Counter(name for step in steps for name in step).items():
            require(times == 1, "class_steps.steps", steps, f"{name} comes {times} times: let it arrive once")
            require(
                name != self.background, "class_steps.steps", steps, f"leave {name} out: the background comes first"
            )
            if name not in names:
                near = get_close_matches(name, names, 1)
                raise SeglabError(
                    f"class_steps.steps names {name}{f', perhaps {near[0]}' if near else ''}: the data set has "
                    f"{', '.join(names)}"
                )
        require(all(steps), "class_steps.steps", steps, "give every step a class")
        require(0 <= self.step < len(steps), "class_steps.step", self.step, f"give 0 to {len(steps) - 1}")
        return steps

    def spaces(self, space: LabelSpace) -> tuple[LabelSpace, LabelSpace]:
        """The label spaces of the scores and of the masks to learn from: the same classes, by the step they came in.

        The first ignores what has not arrived; the second makes background of all but the step's own classes.

        Raises:
            SeglabError: as ``classes``.
        """
        steps = self.classes(space)[: self.step + 1]
        names = (self.background, *(name for step in steps for name in step))
        position = {name: index for index, name in enumerate(names)}
        colours = {self.background: (0, 0, 0), **dict(zip(space.names, space.palette, strict=True))}
        stored = {id: space.names[index] for id, index in enumerate(space.decode) if index < space.num_classes}
        void = [id for id in space.void if self.void_is_background and id != 255]
        seen = {id: position[name] for id, name in stored.items() if name in position} | dict.fromkeys(void, 0)
        own = {id: position[name] if name in steps[-1] else 0 for id, name in stored.items()} | dict.fromkeys(void, 0)
        first = len(steps[0]) + 1
        scored = replace(
            space,
            names=names,
            palette=tuple(colours[name] for name in names),
            ids=seen,
            void=tuple(sorted({*space.void, *stored} - seen.keys())),
            steps=(first, *map(len, steps[1:])),
            subsets={"mIoU_old": tuple(range(first)), "mIoU_new": tuple(range(first, len(names)))} if self.step else {},
        )
        return scored, replace(scored, ids=own, void=tuple(id for id in space.void if id not in own))

    def shows(self, pixels: np.ndarray, space: LabelSpace) -> np.ndarray:
        """Which images belong to the step.

        Args:
            pixels: N x K, of each class in each image.
            space: with those classes.

        Returns:
            N bool.
        """
        steps = self.classes(space)

        def shown(classes: Sequence[str]) -> np.ndarray:
            return np.asarray(pixels[:, [space.names.index(name) for name in classes]].any(1))

        later = [name for step in steps[self.step + 1 :] for name in step]
        own = shown(steps[self.step])
        return own & ~shown(later) if self.protocol == "disjoint" else own


def _counted(text: str, names: list[str]) -> list[list[str]]:
    """``15-1`` as lists of names."""
    found = re.fullmatch(r"([1-9]\d*)-([1-9]\d*)", text)
    rest = len(names) - int(found[1]) if found else -1
    if not found or rest < 0 or rest % int(found[2]):
        raise SeglabError(
            f"class_steps.steps is {text}: give two numbers as in 15-1, of which the second divides what the first "
            f"leaves of {len(names)} classes, or lists of names"
        )
    first, size = int(found[1]), int(found[2])
    return [names[:first], *(names[start : start + size] for start in range(first, len(names), size))]

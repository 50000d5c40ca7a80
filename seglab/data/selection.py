"""Which training images are labeled, and which are unlabeled."""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property

from seglab.data.files import Item, describe
from seglab.data.lists import choose_labeled, is_list
from seglab.types import SeglabError


class Selection:
    """The labeled and the unlabeled images of one data set; each list is resolved once.

    Args:
        items: the training images in file order.
        candidates: those that a fraction chooses from; a list may name any image that has a mask.
        elsewhere: lists images that cannot be chosen, for the message when a list names one of them.
        labeled, unlabeled: as in ``DataSet``.
        pointed: keys of the images that have labeled pixels; None: masks are the labels.
    """

    def __init__(
        self,
        items: Sequence[Item],
        candidates: Sequence[Item],
        elsewhere: Callable[[], list[Item]],
        labeled: str,
        unlabeled: str,
        pointed: Collection[str] | None = None,
    ) -> None:
        self.items, self.candidates, self.elsewhere = items, candidates, elsewhere
        self._labeled, self._unlabeled, self._pointed = labeled, unlabeled, pointed

    def _others(self, bare: list[Item]) -> Iterator[Item]:
        """What a list may not name, listed where a name is not found among the others."""
        yield from bare
        yield from self.elsewhere()

    def choose(self, need_masks: bool) -> list[Item]:
        """The images that ``labeled`` means, whether or not a pixel of them is labeled.

        Args:
            need_masks: a list may not name an image without mask; without need, images are chosen from all where none
                has one.

        Raises:
            SeglabError: as ``choose_labeled``.
        """
        if not is_list(self._labeled):
            return choose_labeled(self.candidates if need_masks else self.candidates or self.items, self._labeled)
        bare = [item for item in self.items if item.mask is None and need_masks]
        others = [item for item in self.items if item.mask is not None or not need_masks]
        return choose_labeled(others, self._labeled, self._others(bare))

    @cached_property
    def labeled(self) -> list[Item]:
        """
        Raises:
            SeglabError: as ``choose_labeled``.
        """
        if self._pointed is None:
            return self.choose(need_masks=True)
        return [item for item in self.choose(need_masks=False) if item.key in self._pointed]

    @cached_property
    def unlabeled(self) -> list[Item]:
        """
        Raises:
            SeglabError: as ``choose_labeled``; or an image is in the labeled list too.
        """
        if self._unlabeled == "all":
            return list(self.items)
        labeled = {item.key for item in self.labeled}
        if self._unlabeled == "rest":
            return [item for item in self.items if item.key not in labeled] or list(self.items)
        chosen = choose_labeled(self.items, self._unlabeled, self._others([]))
        if both := [item.key for item in chosen if item.key in labeled]:
            raise SeglabError(
                f"{len(both)} images are in the labeled and in the unlabeled list: {describe(both)}. Remove their "
                f"lines from {self._unlabeled}, or set unlabeled to rest, which is every image that is not labeled"
            )
        return chosen

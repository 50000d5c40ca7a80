"""Which training images are labeled, and which are unlabeled."""

from collections.abc import Callable, Iterator, Sequence
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
    """

    def __init__(
        self,
        items: Sequence[Item],
        candidates: Sequence[Item],
        elsewhere: Callable[[], list[Item]],
        labeled: str,
        unlabeled: str,
    ) -> None:
        self.items, self.candidates, self.elsewhere = items, candidates, elsewhere
        self._labeled, self._unlabeled = labeled, unlabeled

    def _others(self, bare: list[Item]) -> Iterator[Item]:
        """What a list may not name, listed where a name is not found among the others."""
        yield from bare
        yield from self.elsewhere()

    @cached_property
    def labeled(self) -> list[Item]:
        """
        Raises:
            SeglabError: as ``choose_labeled``.
        """
        if not is_list(self._labeled):
            return choose_labeled(self.candidates, self._labeled)
        bare = [item for item in self.items if item.mask is None]
        masked = [item for item in self.items if item.mask is not None]
        return choose_labeled(masked, self._labeled, self._others(bare))

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

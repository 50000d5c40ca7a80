"""What the user is told once about the choice of data."""

import sys
from functools import lru_cache

from lightning.pytorch.utilities import rank_zero_only

from seglab.labels import LabelSpace, Taxonomy


def note_losses(name: str, own: LabelSpace, taxonomy: Taxonomy) -> None:
    """Tell which classes a taxonomy loses, and which it cannot fill."""
    lost = [old for old in own.names if old not in taxonomy.mapping]
    empty = [new for new in taxonomy.classes if new not in taxonomy.mapping.values()]
    if lost:
        note(f"the taxonomy ignores these classes of {name}: {', '.join(lost)}")
    if empty:
        note(f"the taxonomy gives no class of {name} to: {', '.join(empty)}")


@lru_cache
@rank_zero_only
def note(text: str) -> None:
    """Print a note, once."""
    print(f"seglab: note: {text}", file=sys.stderr)

"""One colour per method, the same in every figure and on the page, told apart by colour-blind readers too."""

from collections.abc import Sequence

# Okabe and Ito, "Color Universal Design", 2008; black is the baseline's, yellow comes last: it is faint on white
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
BASELINE = "#000000"
DASHES = ("solid", "dash", "dot", "dashdot")  # plotly's names


def method_colours(methods: Sequence[str], baseline: str | None = None) -> dict[str, str]:
    """Method -> ``#rrggbb``, in order of first appearance; the baseline is black.

    Seven colours besides black; from the eighth method on they repeat, and ``method_dashes`` tells them apart.
    """
    others = [method for method in dict.fromkeys(methods) if method != baseline]
    colours = {method: OKABE_ITO[index % len(OKABE_ITO)] for index, method in enumerate(others)}
    return {method: colours.get(method, BASELINE) for method in dict.fromkeys(methods)}


def method_dashes(methods: Sequence[str], baseline: str | None = None) -> dict[str, str]:
    """Method -> ``solid``, ``dash``, ``dot`` or ``dashdot``: another one for each round through the colours."""
    others = [method for method in dict.fromkeys(methods) if method != baseline]
    dashes = {method: DASHES[index // len(OKABE_ITO) % len(DASHES)] for index, method in enumerate(others)}
    return {method: dashes.get(method, DASHES[0]) for method in dict.fromkeys(methods)}

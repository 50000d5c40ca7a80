"""``seglab fit --help``: what fits on two screens, and each section for itself."""

import re
from collections.abc import Callable
from contextlib import suppress

from seglab.cli.config import make_parser
from seglab.types import SeglabError

# Sections of a config -> what they are. Classes take options of their own.
CLASSES = {
    "model": "the method (FixMatch, DACS, ...)",
    "data": "the data set (Cityscapes, Folder, ...)",
    "network": "the network (DeepLabV3Plus, ...)",
    "criterion": "the supervised loss of a pixel",
    "optimizer": "of torch.optim (SGD, AdamW, ...)",
    "evaluation": "how images are predicted (Whole, Slide)",
    "additions": "list of additions to the method (MIC, ...)",
}
GROUPS = {
    "schedule": "learning rates over the steps",
    "panels": "pictures of predictions during training",
    "trainer": "Lightning's Trainer: max_steps, val_check_interval, devices, precision, ...",
}


def show_help(command: str, words: list[str]) -> None:
    """Print the help of ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        command: its name.
        words: none; a section; or a section and a class.

    Raises:
        SeglabError: no such section, or no such class.
    """
    match words:
        case []:
            print(_page(command))
        case [section] if section in GROUPS:
            print("".join(_options(command, lambda flag: flag.startswith(f"--{section}."))), end="")
        case [section, name] if section in CLASSES:
            with suppress(SystemExit):  # with which argparse ends a help
                make_parser(command).parse_args([f"--{section}.help", name])
        case [section] if section in CLASSES:
            print(f"{section}: {CLASSES[section]}. The options of a class: seglab {command} --help {section} CLASS")
            print("".join(_options(command, lambda flag: flag == f"--{section}")), end="")
        case _:
            raise SeglabError(f"--help {' '.join(words)}: the sections are {', '.join([*CLASSES, *GROUPS])}")


def _page(command: str) -> str:
    plain = _options(command, lambda flag: "." not in flag and flag[2:] not in {*CLASSES, *GROUPS, "print_config"})
    lines = [
        f"usage: seglab {command} RUN_DIR | -c FILE.yaml [-c FILE.yaml ...]  [--KEY VALUE ...]",
        "",
        "Later files win over earlier ones, and flags over files. Keys of sections have dots: --data.root X.",
        "",
        *"".join(plain).rstrip().splitlines(),
        "",
        "Sections that name a class, and take its options as keys (--model FixMatch --model.threshold 0.9):",
        *(f"  --{name:<12} {what}" for name, what in CLASSES.items()),
        "Other sections:",
        *(f"  --{name + '.KEY':<12} {what}" for name, what in GROUPS.items()),
        "",
        f"All keys of a section: seglab {command} --help trainer",
        f"The options of a class: seglab {command} --help model FixMatch",
    ]
    return "\n".join(lines)


def _options(command: str, wanted: Callable[[str], bool]) -> list[str]:
    """The blocks of jsonargparse's help whose flag is wanted."""
    blocks = re.split(r"(?m)^(?=  -)", make_parser(command).format_help())[1:]
    found = []
    for block in blocks:
        block = re.split(r"(?m)^(?=\S)|^\s*\n", block)[0]
        flag = re.search(r"--[\w.]+", block)
        if flag and wanted(flag[0]):
            found.append(block)
    return found

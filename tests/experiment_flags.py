"""Flags that bring any experiment file down to tiny data and a tiny network."""

from pathlib import Path

from probes import EXPERIMENTS

FAST = [
    *("--network", str(EXPERIMENTS / "network/tiny.yaml")),
    *("--trainer.max_steps", "2", "--trainer.accelerator", "cpu"),
]
SMALL = {"workers": 0, "crop": "[32,48]", "labeled_batch": 2, "unlabeled_batch": 2, "labeled": "1/2"}


def small(prefix: str, root: Path) -> list[str]:
    return [f"--{prefix}.root={root}", *(f"--{prefix}.{key}={value}" for key, value in SMALL.items())]


def data_flags(section: dict, roots: dict[str, Path], prefix: str = "data") -> list[str]:
    """Flags that point a data section at tiny data sets."""
    if section["class_path"] == "DomainAdaptation":
        parts = section["init_args"]
        few = ["--data.target_labeled_batch=1"] if "target_labeled_batch" in parts else []
        sides = [f for name in ("source", "target") for f in data_flags(parts[name], roots, f"{prefix}.{name}")]
        return [*sides, *few]
    root = roots["sequences" if "sequences" in section["init_args"] else section["class_path"]]
    outside = [f"--{prefix}.outside={root / 'outside'}"] if "outside" in section["init_args"] else []
    return [*small(prefix, root), *outside]

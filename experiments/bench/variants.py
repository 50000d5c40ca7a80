"""Faster ways to run the same training step of a network: bf16, channels_last, a fused optimiser, compile, CUDA graphs.

    OMP_NUM_THREADS=1 python experiments/bench/variants.py
    python experiments/bench/variants.py --encoder resnet50 --crop 513 513 --batch 8 --trace step.json    # for a GPU

Forward, cross-entropy, backward and AdamW on one batch; every variant has a network of its own with the same weights,
and they take turns. ``compile`` is ``network.compile()`` in place, with the compilation outside the clock; it needs a
compiler, and is left out of ``--variants`` on a CPU. ``graph`` is a CUDA graph of the whole step. ``--trace`` writes a
profiler's trace of the first variant, for chrome://tracing, and prints what takes its time.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from _turns import DEVICE, arguments, compare, finish, spread, table, take_turns
from torch.profiler import profile

from seglab.labels import CITYSCAPES
from seglab.networks import Segmenter

VARIANTS = ["plain", "bf16", "channels_last", "fused", "compile", "graph"]
ON_A_CPU = ["plain", "bf16", "channels_last", "fused"]


def build(variant: str, encoder: str, crop: tuple[int, int], batch: int) -> Callable[[], object]:
    """A training step, ready to be timed."""
    torch.manual_seed(0)
    network = Segmenter(CITYSCAPES, encoder=encoder, weights="none").to(DEVICE)
    image = torch.rand(batch, 3, *crop, device=DEVICE)
    label = torch.randint(19, (batch, *crop), device=DEVICE)
    if variant == "channels_last":
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        image = image.to(memory_format=torch.channels_last)
    if variant == "compile":
        network.compile()
    options = {"fused": True} if variant == "fused" else {"capturable": True} if variant == "graph" else {}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, **options)  # type: ignore[arg-type]

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(DEVICE.type, torch.bfloat16) if variant == "bf16" else nullcontext():
            logits = network(image).logits
        F.cross_entropy(logits.float(), label).backward()
        optimizer.step()

    return _graph(step) if variant == "graph" else step


def _graph(step: Callable[[], object]) -> Callable[[], object]:
    """The step recorded once and replayed; its tensors stay where they are."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # as torch asks for: the first steps allocate
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def main() -> None:
    parser = arguments(__file__, __doc__, 7)
    parser.add_argument("--encoder", default="tu-tf_efficientnet_lite0")
    parser.add_argument("--crop", type=int, nargs=2, default=(96, 192), help="height and width")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--trace", type=Path, default=None, help="file for a profiler's trace")
    on_this = VARIANTS if DEVICE.type == "cuda" else ON_A_CPU
    parser.add_argument("--variants", nargs="+", default=on_this, choices=VARIANTS, metavar="NAME")
    options = parser.parse_args()
    if options.quick:
        options.encoder, options.crop, options.rounds = "tu-test_efficientnet", (64, 96), 1
    names = ["plain", *(name for name in options.variants if name != "plain")]
    steps = {name: build(name, options.encoder, tuple(options.crop), options.batch) for name in names}
    for step in steps.values():  # compilation and the choice of algorithms
        step()
    variants = compare(take_turns(steps, options.rounds, warmup=0 if options.quick else 2), "plain")
    lines = [[name, f"{1e3 * one['median']:.1f}", spread(one)] for name, one in variants.items()]
    print(table(["variant", "ms / step", "x plain"], lines))
    if options.trace:
        with profile() as trace:
            steps[names[0]]()
        trace.export_chrome_trace(str(options.trace))
        print(trace.key_averages().table(sort_by=f"self_{DEVICE.type}_time_total", row_limit=20))
    setup = {"encoder": options.encoder, "crop": options.crop, "batch": options.batch, "rounds": options.rounds}
    finish(options.output, setup | {"variants": variants})


if __name__ == "__main__":
    main()

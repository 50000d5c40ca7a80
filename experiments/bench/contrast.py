"""Contrastive and queue losses: time and peak memory against loops over classes and against pixels.

    OMP_NUM_THREADS=1 python experiments/bench/contrast.py

Three losses, forward and backward, on random embeddings of 19 classes, of which the last is rare:

    prototypes  SPCL: running class means, and the cross-entropy of pixels against them
    queue       U2PL: anchors of each class against its centre and a full queue of negatives
    pairs       CLUDA: every pixel against 2048 keys, those of its class as positives

``x loop`` is seglab against the loop at the same number of pixels: below 1 it is faster, or smaller. ``growth`` is what
all pixels cost against eight times an eighth of them: 1 is linear, below it a part does not depend on them. Peak memory
is what tensors take beyond those that were there: the profiler's events on a CPU, CUDA's allocator on a GPU.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from _turns import DEVICE, arguments, compare, finish, spread, table, take_turns
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from seglab.ops.contrast import prototype_cross_entropy, supervised_info_nce
from seglab.ops.memory import Prototypes
from seglab.ops.regional_contrast import Cells, QueueContrast, QueueSettings

CLASSES, DIM = 19, 256
ANCHORS, NEGATIVES, QUEUE, KEYS = 256, 50, 30_000, 2048
Loss = Callable[[], object]


def pixels(number: int) -> tuple[Tensor, Tensor]:
    """Embeddings N D and labels N, nearly a third of one class and a thousandth of another."""
    share = torch.tensor([8.0, *[1.0] * (CLASSES - 2), 0.02])
    label = torch.multinomial(share, number, replacement=True)
    return torch.randn(number, DIM, device=DEVICE).requires_grad_(), label.to(DEVICE)


def learn(loss: Tensor, embedding: Tensor) -> None:
    embedding.grad = None
    loss.backward()


# Prototypes.


def prototypes(number: int, size: int) -> tuple[Loss, Loss]:
    feature, label = pixels(number)
    bank, own = Prototypes(CLASSES, DIM, 0.9).to(DEVICE), torch.zeros(CLASSES, DIM, device=DEVICE)

    def ours() -> None:
        bank.update(feature.detach(), label)
        maps = feature.T.reshape(1, DIM, 1, number)
        learn(prototype_cross_entropy(maps, label.view(1, 1, number), bank.mean, 1.0), feature)

    def loop() -> None:
        total = feature.new_zeros(())
        for index in range(CLASSES):
            of_class = feature[label == index]
            if len(of_class):
                own[index] = 0.9 * own[index] + 0.1 * of_class.detach().mean(0)
        for index in range(CLASSES):
            of_class = feature[label == index]
            if len(of_class):
                total = total - (of_class @ own.T).log_softmax(1)[:, index].sum()
        learn(total / number, feature)

    return ours, loop


# The queue.


def queue(number: int, size: int) -> tuple[Loss, Loss]:
    feature, label = pixels(number)
    probability = torch.rand(number, CLASSES, device=DEVICE).softmax(1)
    negative = torch.rand(number, CLASSES, device=DEVICE) < 0.3
    settings = QueueSettings(DIM, size, size, 4096, ANCHORS, NEGATIVES, anchor_confidence=0.0, temperature=0.5)
    contrast = QueueContrast(settings, CLASSES).to(DEVICE)
    full = torch.randn(CLASSES, size, DIM, device=DEVICE)
    contrast.queue.enqueue(full, torch.ones_like(full[..., 0], dtype=torch.bool))
    queues = list(full.half())

    def ours() -> None:
        learn(contrast(Cells(feature, feature.detach(), probability, label, negative), True), feature)

    def loop() -> None:
        total, counted = feature.new_zeros(()), 0
        for index in range(CLASSES):
            keys = F.normalize(feature.detach()[negative[:, index]], dim=1).half()
            keys = keys[torch.randperm(len(keys), device=DEVICE)[:4096]]
            queues[index] = torch.cat([queues[index], keys])[-size:]
            chosen = feature[label == index]
            if not len(chosen):
                continue
            centre = F.normalize(chosen.detach().mean(0), dim=0)
            anchor = F.normalize(chosen[torch.randperm(len(chosen), device=DEVICE)[:ANCHORS]], dim=1)
            others = queues[index][torch.randint(len(queues[index]), (len(anchor), NEGATIVES), device=DEVICE)].float()
            logits = torch.cat([(anchor @ centre)[:, None], torch.einsum("nd,nmd->nm", anchor, others)], 1) / 0.5
            target = torch.zeros(len(anchor), dtype=torch.int64, device=DEVICE)
            total, counted = total + F.cross_entropy(logits, target), counted + 1
        learn(total / counted, feature)

    return ours, loop


# Pairs.


def pairs(number: int, size: int) -> tuple[Loss, Loss]:
    (anchor, label), (key, key_label) = pixels(number), pixels(KEYS)
    key = key.detach()

    def ours() -> None:
        learn(supervised_info_nce(anchor, key, label, key_label, 1.0).mean(), anchor)

    def loop() -> None:
        total = anchor.new_zeros(())
        for index in range(CLASSES):
            of_class, same = anchor[label == index], key_label == index
            if len(of_class) and same.any():
                similar = of_class @ key.T
                positive, opposed = similar[:, same], similar[:, ~same].logsumexp(1, keepdim=True)
                total = total + F.softplus(opposed - positive).mean(1).sum()
        learn(total / number, anchor)

    return ours, loop


LOSSES: dict[str, Callable[[int, int], tuple[Loss, Loss]]] = {"prototypes": prototypes, "queue": queue, "pairs": pairs}


def peak_bytes(loss: Loss) -> int:
    """Of tensors, beyond those that were there before."""
    if DEVICE.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        loss()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        loss()
    events = [event for event in trace.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = highest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        highest = max(highest, held)
    return highest


def main() -> None:
    parser = arguments(__file__, __doc__, 7)
    parser.add_argument("--pixels", type=int, default=8192, help="of the larger of the two sizes")
    options = parser.parse_args()
    size = QUEUE
    if options.quick:
        options.pixels, options.rounds, size = 1600, 1, 2000
    torch.manual_seed(0)

    result: dict[str, dict[str, object]] = {}
    lines = []
    few = options.pixels // 8
    for name, build in LOSSES.items():
        (ours_few, loop_few), (ours, loop) = build(few, size), build(options.pixels, size)
        turns = {"ours": ours, "loop": loop, "ours_few": ours_few, "loop_few": loop_few}
        seconds = take_turns(turns, options.rounds, warmup=0 if options.quick else 1)
        peak = {key: peak_bytes(turn) for key, turn in turns.items()}
        against = compare(seconds, "loop")["ours"]
        growth = compare(seconds, "ours_few")["ours"]["ratio"] / (options.pixels / few)
        result[name] = one = {
            "time": against,
            "time_growth": growth,
            "time_growth_of_loop": compare(seconds, "loop_few")["loop"]["ratio"] / (options.pixels / few),
            "bytes": peak,
            "bytes_ratio": peak["ours"] / peak["loop"],
            "bytes_growth": peak["ours"] / peak["ours_few"] / (options.pixels / few),
        }
        lines.append(
            [
                *(name, f"{1e3 * against['median']:.1f}", spread(against), f"{growth:.2f}"),
                *(f"{peak['ours'] / 2**20:.0f}", f"{one['bytes_ratio']:.2f}", f"{one['bytes_growth']:.2f}"),
            ]
        )
    head = ["loss", "ms", "x loop", "growth with pixels", "peak MiB", "x loop", "growth with pixels"]
    print(table(head, lines))
    finish(options.output, {"pixels": options.pixels, "rounds": options.rounds, "losses": result})


if __name__ == "__main__":
    main()

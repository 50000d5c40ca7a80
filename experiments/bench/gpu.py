"""Training steps on a GPU: UniMatch's recipe for Pascal VOC, and beside it the official code where there is a checkout.

    python experiments/bench/gpu.py                                  # or: make gpu
    UNIMATCH=../UniMatch python experiments/bench/gpu.py             # github.com/LiheYoung/UniMatch, commit 0324f3d

ResNet-101, crops of 321, 8 labeled and 8 unlabeled images, synthetic, already loaded: a step is that of ``seglab fit``
from one batch in bytes to the next. The official step is its own ``main``, with data, process group, evaluation and
pictures of the losses replaced; ``official, DDP`` is as its scripts start it, on one GPU. Every line is a process of
its own with a time limit, and is written to the JSON at once: what fails leaves the others. ``launches`` and ``idle``
as in ``kernels.py``; the first step, which compiles, is apart.

``--items NAME ...`` for some lines alone, ``--every true`` for all methods, ``--seconds N`` ends after so long.
"""

import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # the processes of the lines use the GPU, not this one

import numpy as np
from _turns import DEVICE, EXPERIMENTS, METHODS, arguments, finish, flag, quiet, table, teachers
from kernels import Watch, measure
from PIL import Image
from torch import Tensor

from seglab.training.session import Session

LAST = ["network.channels_last=true"]
BF16 = ["trainer.precision=bf16-mixed"]
COMPILE = ["network.compile=true"]
TUNED = ["trainer.benchmark=true"]
GRAPHS = ["graphs"]  # CUDA graphs under the compiled pieces
ITEMS: dict[str, tuple[str, list[str], int]] = {  # name -> method or official, flags, most seconds
    "official": ("official", [], 60),
    "official, DDP": ("official", ["ddp"], 60),
    "unimatch": ("unimatch", [], 60),
    "unimatch, bf16, channels_last, benchmark": ("unimatch", BF16 + LAST + TUNED, 60),
    "unimatch, bf16, channels_last, compile": ("unimatch", BF16 + LAST + COMPILE + TUNED, 150),
    "official, bf16": ("official", ["bf16"], 60),
    "unimatch, bf16": ("unimatch", BF16, 60),
    "supervised, bf16, channels_last, benchmark": ("supervised", BF16 + LAST + TUNED, 45),
    "supervised, benchmark": ("supervised", TUNED, 45),
    "unimatch, channels_last, benchmark": ("unimatch", LAST + TUNED, 60),
    "unimatch, bf16, benchmark": ("unimatch", BF16 + TUNED, 60),
    "unimatch, benchmark": ("unimatch", TUNED, 60),
    "supervised, bf16, channels_last, compile": ("supervised", BF16 + LAST + COMPILE + TUNED, 120),
    "unimatch, bf16, channels_last, compile, CUDA graphs": ("unimatch", BF16 + LAST + COMPILE + TUNED + GRAPHS, 150),
    "unimatch, channels_last, compile": ("unimatch", LAST + COMPILE + TUNED, 150),
    "unimatch, bf16, compile": ("unimatch", BF16 + COMPILE + TUNED, 150),
}
MAIN = list(ITEMS)  # the others are in the table that --every adds
for method in METHODS:
    ITEMS.setdefault(f"{method}, fp32", (method, LAST + TUNED, 45))
    ITEMS.setdefault(f"{method}, bf16", (method, BF16 + LAST + TUNED, 45))
QUICK = ["unimatch", "unimatch, bf16, channels_last, benchmark"]


def draw(root: Path, number: int = 32) -> None:
    """Images and masks in the layout of Pascal VOC."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(0)
    names = [f"2007_{index:06d}" for index in range(number)]
    for name in names:
        coarse = Image.fromarray(draws.integers(256, size=(12, 16, 3), dtype=np.uint8))
        coarse.resize((500, 375)).save(root / f"JPEGImages/{name}.jpg")
        ids = Image.fromarray(draws.integers(21, size=(12, 16), dtype=np.uint8))
        ids.resize((500, 375), Image.Resampling.NEAREST).save(root / f"SegmentationClass/{name}.png")
    for part, own in {"train": names, "val": names[:2]}.items():
        (root / f"ImageSets/Segmentation/{part}.txt").write_text("\n".join(own) + "\n")


class Same:
    """A loader whose batches are all its first one."""

    def __init__(self, loader: Any) -> None:
        pinned = DEVICE.type == "cuda"  # or each copy to the GPU would wait for it
        self.first = {
            name: {key: x.pin_memory() if pinned and isinstance(x, Tensor) else x for key, x in sample.items()}
            for name, sample in next(iter(loader))[0].items()
        }

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield {name: dict(sample) for name, sample in self.first.items()}


def ours(method: str, flags: list[str], watch: Watch, root: Path, quick: bool) -> None:
    """A method on the recipe, or on its data and network where it has another setting."""
    files = [EXPERIMENTS / "benchmark/voc.yaml", EXPERIMENTS / f"method/{method}.yaml"]
    if method == "unimatch":
        files.append(EXPERIMENTS / "published/unimatch_voc.yaml")
    given = [part for file in files for part in ("-c", str(file))]
    network = EXPERIMENTS / "network/deeplabv3plus_resnet101s.yaml"
    given += ["--network", str(network), "--network.weights", "none", *teachers(method, network)]
    given += [f"--data.root={root}", "--data.labeled=1/2", "--data.workers=0", "--data.crop=[321,321]"]
    given += ["--data.labeled_batch=8", "--data.unlabeled_batch=8"]
    given += [f"--{flag}" for flag in flags if flag not in GRAPHS]
    if quick:
        given += ["--network.encoder=test_resnet", "--data.crop=[65,65]", "--data.labeled_batch=2"]
        given += ["--data.unlabeled_batch=2"]

    def prepare(session: Session) -> None:
        load = session.data.train_dataloader
        session.data.train_dataloader = lambda: Same(load())

    measure(given, root / "runs", watch, prepare)


class Stop(Exception):
    """Enough steps were seen."""


def official(flags: list[str], watch: Watch, root: Path, quick: bool) -> None:
    """The ``main`` of a checkout of LiheYoung/UniMatch, named by the variable UNIMATCH, until enough steps are seen."""
    sys.path.insert(0, str(Path(os.environ["UNIMATCH"]).resolve()))
    os.chdir(root)
    import torch.utils.data.distributed
    import unimatch  # type: ignore[import-not-found]
    from model.backbone import resnet  # type: ignore[import-not-found]

    batch, side = (2, 65) if quick else (8, 321)
    image = lambda: torch.randn(batch, 3, side, side)  # noqa: E731
    label = torch.randint(21, (batch, side, side))
    box = torch.zeros(batch, side, side)
    box[:, : side // 2, : side // 2] = 1
    labeled = image(), label
    unlabeled = image(), image(), image(), torch.zeros_like(label), box, box.flip(1)
    if DEVICE.type == "cuda":
        labeled, unlabeled = (tuple(x.pin_memory() for x in part) for part in (labeled, unlabeled))
    else:
        Tensor.cuda = torch.nn.Module.cuda = lambda self, *_: self  # type: ignore[assignment, method-assign]
    sampler = SimpleNamespace(set_epoch=lambda epoch: None)

    class Loader:
        """Of one part: the labeled images, or the unlabeled ones, which are asked for twice per step."""

        def __init__(self, part: str, **_: object) -> None:
            self.part, self.sampler = part, sampler

        def __len__(self) -> int:
            return 1000

        def __iter__(self) -> Iterator[object]:
            started = False
            while True:
                if self.part == "train_l":  # the first of a step that is asked
                    if started:
                        watch.end()
                    if watch.number == watch.last:
                        raise Stop
                    started = True
                    torch.clear_autocast_cache()  # the weights have changed
                    watch.begin()
                given = labeled if self.part == "train_l" else unlabeled
                yield given if DEVICE.type == "cuda" else tuple(x.clone() for x in given)  # it writes to its copies

    class Part(str):
        """Stands for a data set."""

        ids = ("image",) * 1000

    make = resnet.__dict__["_resnet"]
    resnet._resnet = lambda arch, block, layers, pretrained, **options: make(
        arch, block, [1, 1, 1, 1] if quick else layers, False, **options
    )
    unimatch.SemiDataset = lambda name, folder, mode, *_, **__: Part(mode)
    unimatch.DataLoader = Loader
    unimatch.SummaryWriter = lambda *_: SimpleNamespace(add_scalar=lambda *_: None)
    unimatch.setup_distributed = lambda port=None: (0, 1)
    torch.utils.data.distributed.DistributedSampler = lambda data: sampler  # type: ignore[assignment, misc]
    os.environ["LOCAL_RANK"] = "0"
    if "ddp" in flags and DEVICE.type == "cuda":
        torch.distributed.init_process_group("nccl", init_method=f"file://{root}/group", rank=0, world_size=1)
    else:
        torch.nn.parallel.DistributedDataParallel = lambda model, **_: model  # type: ignore[assignment, misc]
        torch.distributed.barrier = lambda: None  # type: ignore[assignment]

    (root / "official.yaml").write_text(OFFICIAL.format(side=side, batch=batch))
    paths = ["--labeled-id-path", "none", "--unlabeled-id-path", "none", "--save-path", str(root)]
    sys.argv = ["unimatch.py", "--config", str(root / "official.yaml"), *paths]
    try:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled="bf16" in flags):
            unimatch.main()
    except Stop:
        pass


# Numbers of configs/pascal.yaml.
OFFICIAL = """
{{dataset: pascal, nclass: 21, crop_size: {side}, data_root: none, epochs: 80, batch_size: {batch}, lr: 0.001,
lr_multi: 10.0, criterion: {{name: CELoss, kwargs: {{ignore_index: 255}}}}, conf_thresh: 0.95, model: deeplabv3plus,
backbone: resnet101, replace_stride_with_dilation: [false, false, true], dilations: [6, 12, 18]}}
"""


def line(name: str, root: Path, quick: bool, output: Path) -> None:
    """One line, in a process of its own."""
    quiet()
    kind, flags, _ = ITEMS[name]
    if set(GRAPHS) & set(flags):
        import torch._inductor.config

        torch._inductor.config.triton.cudagraphs = True
    watch = Watch(1, 1) if quick else Watch(6, 20)
    began = time.monotonic()
    try:
        if kind == "official":
            official(flags, watch, root, quick)
        else:
            ours(kind, flags, watch, root, quick)
        seen = watch.result(30) | {"seconds": round(time.monotonic() - began, 1)}
    except Exception as error:
        seen = {"error": f"{type(error).__name__}: {error}"[:1000], "trace": traceback.format_exc()[-3000:]}
    output.write_text(json.dumps(seen))


def run(name: str, root: Path, quick: bool, limit: float) -> dict[str, Any]:
    """What ``line`` saw; or why it saw nothing."""
    output = root / "line.json"
    output.unlink(missing_ok=True)
    process = CONTEXT.Process(target=line, args=(name, root, quick, output))
    process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        return {"error": f"took longer than {limit:.0f} s"}
    return json.loads(output.read_text()) if output.is_file() else {"error": f"exit code {process.exitcode}"}


CONTEXT: Any = multiprocessing.get_context("forkserver")  # whose processes start with the imports done


def main() -> None:
    parser = arguments(__file__, __doc__, 1)
    parser.add_argument("--items", nargs="+", default=None, metavar="NAME")
    parser.add_argument("--seconds", type=float, default=240, help="for all lines")
    parser.add_argument("--every", type=flag, default=False, help="true: every method too, in both precisions")
    options = parser.parse_args()
    if DEVICE.type != "cuda" and not options.quick:
        sys.exit("gpu.py: no CUDA device here: this table is of a GPU")
    CONTEXT.set_forkserver_preload(["seglab.cli.load", "seglab.methods", "seglab.data", "lightning", "timm"])

    official_names = [name for name in MAIN if ITEMS[name][0] == "official"]
    names = options.items or (QUICK if options.quick else MAIN) + (list(ITEMS)[len(MAIN) :] if options.every else [])
    if not os.environ.get("UNIMATCH"):
        names = [name for name in names if name not in official_names]
    elif options.quick and not options.items:
        names = ["official", *names]
    began, result = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw(root)
        for name in names:
            left = options.seconds - (time.monotonic() - began)
            if left < 8:
                break
            result[name] = run(name, root, options.quick, min(left, ITEMS[name][2]))
            told = {key: value for key, value in result[name].items() if key not in ("names", "trace")}
            print(f"{time.monotonic() - began:6.0f} s  {name}: {json.dumps(told)}", flush=True)
            finish(options.output, {"items": result})
    print(table(HEAD, [row(name, one, result) for name, one in result.items()]))


HEAD = ["step", "ms", "x official", "launches", "idle", "peak MiB"]


def row(name: str, one: dict[str, Any], result: dict[str, dict[str, Any]]) -> list[str]:
    if "error" in one:
        return [name, one["error"].partition("\n")[0][:80], "", "", "", ""]
    base = result.get("official", {}).get("ms")
    ratio = f"{base / one['ms']:.2f}" if base else ""
    idle = f"{100 * one['idle']:.0f} %" if "idle" in one else ""
    return [name, f"{one['ms']:.1f}", ratio, str(one["launches"]), idle, str(one.get("peak_MiB", ""))]


if __name__ == "__main__":
    main()

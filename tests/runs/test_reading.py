"""Run directories as a report reads them: whole, broken, waiting."""

import json
import math
import os
import re
from pathlib import Path

import pytest
from fake_runs import write_run

from seglab.runs.reading import Run, find_runs
from seglab.runs.status import last_line
from seglab.types import SeglabError


def only(path: Path) -> Run:
    (run,) = find_runs([path])
    return run


def test_a_finished_run_is_read_whole(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "FixMatch", 3, 0.5, classes=("road", "traffic light"), pictures=1)
    run = only(tmp_path)
    assert (run.benchmark, run.method, run.seed) == ("streets_1_64", "FixMatch", 3)
    assert (run.status, run.reason, run.step, run.steps) == ("finished", "", 600, 600)
    assert run.classes == ["road", "traffic light"]
    assert run.networks == ["student", "teacher"]
    assert run.score("val/mIoU") == run.last["val/mIoU"] > 0.3
    assert run.score("val/IoU/road", "best", "teacher") == run.best["val_teacher/IoU/road"]
    assert run.cost.unit == "GPU"
    assert run.config["data"]["init_args"]["labeled"] == "1/64"
    steps, values = run.metrics["val/mIoU"]
    assert steps == [59 + 60 * index for index in range(10)]
    assert values[-1] == pytest.approx(run.last["val/mIoU"])
    assert run.confusion["classes"] == ["road", "traffic light"]
    assert len(run.panels["images"]) == 1


def test_device_hours_count_gpus_and_threads(tmp_path: Path) -> None:
    write_run(tmp_path / "gpu", summary={"wall_seconds": 1800.0, "world_size": 4})
    write_run(tmp_path / "cpu", seed=2, summary={"wall_seconds": 7200.0, "device": "cpu (3 threads)"})
    gpu, cpu = find_runs([tmp_path])
    assert (gpu.cost.device_hours, gpu.cost.unit) == (2.0, "GPU")
    assert (cpu.cost.device_hours, cpu.cost.unit) == (6.0, "CPU")


def test_null_is_nan(tmp_path: Path) -> None:
    write_run(tmp_path, summary={"last": {"step": 600, "val/mIoU": None}, "images_per_second": None})
    run = only(tmp_path)
    assert math.isnan(run.score("val/mIoU"))
    assert math.isnan(run.score("val/absent"))
    assert math.isnan(run.cost.images_per_second)


def test_the_scores_of_seglab_test_are_there(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "test_best.json").write_text('{"checkpoint": "best.ckpt", "seed": 1, "test/mIoU": 0.25}')
    assert only(tmp_path).score("test/mIoU", "best") == 0.25


def test_links_hidden_folders_and_what_lies_in_a_run_are_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs/a/b/s1")
    write_run(run / "wandb/files")
    write_run(tmp_path / "runs/.trash/s2", seed=2)
    write_run(tmp_path / "elsewhere/s3", seed=3)
    (tmp_path / "runs/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "runs/statistics").mkdir()
    assert [found.seed for found in find_runs([tmp_path / "runs", run])] == [1]


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "mine")
    write_run(tmp_path / "theirs")
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("theirs"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    theirs, mine = find_runs([tmp_path])
    assert (mine.status, theirs.status) == ("finished", "broken")
    assert theirs.reason == "folder cannot be read (Permission denied)"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SeglabError, match="nowhere is not a folder"):
        find_runs([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"status": "fin', "summary.json is not valid JSON"),
        ("[1, 2]", "summary.json holds no keys"),
        ("{}", "summary.json is not that of a run .*benchmark"),
        ('{"status": "finished", "benchmark": "b", "method": "m", "last": [1]}', "summary.json is not that of a run"),
        ('{"status": "finished", "benchmark": "b", "method": "m", "step": 1e999}', "summary.json is not that of a run"),
        (
            '{"status": "odd", "benchmark": "b", "method": "m", "seed": 1}',
            "summary.json is not that of a run .*status 'odd'",
        ),
        ("\udcff", "summary.json is not text in UTF-8"),
    ],
)
def test_a_broken_summary_is_a_reason(tmp_path: Path, text: str, reason: str) -> None:
    write_run(tmp_path)
    (tmp_path / "summary.json").write_bytes(text.encode(errors="surrogateescape"))
    run = only(tmp_path)
    assert run.status == "broken"
    assert re.match(reason, run.reason)
    assert run.method
    assert run.seed == 1 or "finished" in text


def test_a_broken_config_is_said_and_nothing_else_is_lost(tmp_path: Path) -> None:
    write_run(tmp_path, "FixMatch")
    (tmp_path / "config.yaml").write_text("model: {class_path: [")
    run = only(tmp_path)
    assert (run.status, run.method, run.config) == ("finished", "FixMatch", {})
    assert "config.yaml is not valid YAML" in run.config_problem


def test_without_a_summary_the_config_tells_who_it_was_and_the_log_why(tmp_path: Path) -> None:
    write_run(tmp_path, "FixMatch", 4)
    (tmp_path / "summary.json").unlink()
    run = only(tmp_path)
    assert (run.benchmark, run.method, run.seed, run.status) == ("streets_1_64", "FixMatch", 4, "waiting")
    (tmp_path / "log.txt").write_text("start\nseglab: error: data.root: no folder /data\n\n")
    run = only(tmp_path)
    assert (run.status, run.reason) == ("failed", "data.root: no folder /data")


def test_a_config_of_something_else_is_no_run_that_starts(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("hydra: 1\n")
    run = only(tmp_path)
    assert (run.status, run.reason) == ("broken", "config.yaml is not that of a run: it has no model")


def test_crashed_killed_and_stopped_runs_have_their_reasons(tmp_path: Path) -> None:
    write_run(tmp_path / "crashed", status="failed", seed=1)
    write_run(tmp_path / "killed", status="running", seed=2)
    write_run(tmp_path / "stopped", status="stopped", seed=3)
    write_run(tmp_path / "silent", status="failed", seed=4, summary={"error": None})
    crashed, killed, stopped, silent = find_runs([tmp_path])
    assert crashed.reason.startswith("OutOfMemoryError: CUDA out of memory")
    assert crashed.why.endswith(", step 300 of 600")
    assert killed.status == "killed"
    assert re.fullmatch(r"last sign of life 20\d\d-\d\d-\d\d \d\d:\d\d", killed.reason)
    assert (stopped.reason, stopped.why) == ("", "step 300 of 600")
    assert silent.why == "no reason given, step 300 of 600"


def test_runs_of_a_sweep_that_did_not_start_wait_under_the_method_s_name(tmp_path: Path) -> None:
    def parameters(method: str, seed: int) -> dict[str, object]:
        files = {"config.benchmark": "e/streets_1_64.yaml", "config.method": f"e/{method}.yaml"}
        return {**files, "seed_everything": seed}

    names = {"a": ("mean_teacher", 1), "b": ("mean_teacher", 2), "c": ("dacs", 1)}
    (tmp_path / "sweep.json").write_text(json.dumps({key: parameters(*value) for key, value in names.items()}))
    write_run(tmp_path / "a", "MeanTeacher", 1)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/log.txt").write_text("seglab: error: no such key\n")
    found = {run.folder.name: run for run in find_runs([tmp_path])}
    assert (found["a"].status, found["b"].status, found["c"].status) == ("finished", "waiting", "failed")
    assert (found["b"].benchmark, found["b"].method, found["b"].seed) == ("streets_1_64", "MeanTeacher", 2)
    assert found["c"].reason == "no such key"


def test_a_broken_manifest_is_said(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{")
    assert "sweep.json is not valid JSON" in only(tmp_path).reason


def test_metrics_that_are_being_written_or_damaged_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    write_run(tmp_path)
    file = tmp_path / "metrics.csv"
    file.write_text(
        "step,val/mIoU,train/loss\n9,,1.5\n19,0.25,nan\n\nx,0.5,1\n29,a,2.5\n39,0.5\n49,0.75,0.0\0\n59,0.1,0."
    )
    assert only(tmp_path).metrics == {
        "val/mIoU": ([19, 49], [0.25, 0.75]),
        "train/loss": ([9, 29, 49], [1.5, 2.5, 0.0]),
    }
    for text in ("", "nothing here\n"):
        file.write_text(text)
        assert only(tmp_path).metrics == {}
    file.unlink()
    assert only(tmp_path).metrics == {}


def test_absent_or_broken_extras_are_empty(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "confusion.json").write_text("{")
    assert only(tmp_path).confusion == {}
    assert only(tmp_path).panels == {}


def test_the_last_line_of_a_log_skips_progress_bars(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"first\n" + b"x" * 9000 + b"\n10%\r20%\rdone \xff\n\n")
    assert last_line(tmp_path / "log.txt") == "done \ufffd"
    assert last_line(tmp_path / "absent.txt") == ""


def test_cps_second_network_is_other(tmp_path: Path) -> None:
    scores = {"step": 600, "val/mIoU": 0.5, "val_other/mIoU": 0.4}
    write_run(tmp_path, "CPS", summary={"last": scores, "best": scores})
    assert only(tmp_path).networks == ["student", "other"]


def test_a_config_that_contains_itself_is_a_reason(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    (folder / "config.yaml").write_text("model: &a\n  init_args: *a\n")
    (run,) = find_runs([tmp_path])
    assert run.config == {}
    assert "config.yaml is not valid YAML" in run.config_problem

"""The W&B dashboard, with the real library; a server of the tests' own answers where one is asked."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fake_runs import write_run, write_sweep
from probes import ROOT, run_seglab

from seglab.cli import main
from seglab.runs.reading import find_runs
from seglab.types import SeglabError

pytest.importorskip("wandb_workspaces")
from seglab.report import dashboard
from seglab.report.wandb_panels import sections

FORBID = """
import socket
def refuse(*_, **__): raise AssertionError("a dashboard is defined without a network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from seglab.cli import main
import sys
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Supervised and MeanTeacher, two seeds each, on two benchmarks."""
    root = tmp_path_factory.mktemp("runs")
    write_sweep(root, methods=2, seeds=2, pictures=0)
    return root


@pytest.fixture
def file(runs: Path, tmp_path: Path) -> Path:
    path = tmp_path / "board.json"
    assert main(["dashboard", "--runs", str(runs), "--project", "demo", "--output", str(path)]) == 0
    return path


def titles(view: dict[str, Any]) -> dict[str, list[str]]:
    found = view["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: [panel["config"].get("chartTitle") for panel in section["panels"]] for section in found}


def runsets(report: dict[str, Any]) -> list[dict[str, Any]]:
    grids = [block for block in report["spec"]["blocks"] if block["type"] == "panel-grid"]
    return [runset for grid in grids for runset in grid["metadata"]["runSets"]]


def test_each_benchmark_has_a_workspace_of_its_runs_grouped_by_method(file: Path) -> None:
    definition = dashboard.read(file)
    assert [view["displayName"] for view in definition["workspaces"]] == ["seglab: streets_1_64", "seglab: streets_1_8"]
    for view, benchmark in zip(definition["workspaces"], ["streets_1_64", "streets_1_8"], strict=True):
        (runset,) = view["spec"]["section"]["runSets"]
        (only,) = runset["filters"]["filters"]
        assert (only["key"], only["op"]) == ({"section": "config", "name": "benchmark.value"}, "IN")
        assert only["value"] == [benchmark]
        assert runset["grouping"] == [{"section": "run", "name": "jobType"}]
    filters = [runset["filters"]["filters"][0]["value"] for runset in runsets(definition["report"])]
    assert filters == 7 * [["streets_1_64"]] + 7 * [["streets_1_8"]]


def test_panels_follow_what_the_runs_log(file: Path) -> None:
    found = titles(dashboard.read(file)["workspaces"][0])
    assert list(found) == [
        *("Scores", "IoU by class", "Losses", "Pseudo-labels", "Cost", "Predictions", "Confusion matrices")
    ]
    assert found["Scores"][:4] == ["val/mIoU", "val_teacher/mIoU", "val/mIoU, last", "val_teacher/mIoU, last"]
    assert found["IoU by class"][2:5] == ["road", "sidewalk", "building"]  # in the order of the classes
    assert found["Losses"] == ["train/loss", "train/loss/consistency", "train/loss/supervised"]


def test_a_benchmark_without_teacher_has_neither_its_scores_nor_pseudo_labels(tmp_path: Path) -> None:
    write_run(tmp_path / "run", "Supervised", teacher=False)
    found = sections(dashboard.logged_metrics(find_runs([tmp_path]))["streets_1_64"], "JobType")
    assert "Pseudo-labels" not in found
    assert not [p for panels in found.values() for p in panels if "teacher" in str(p._to_model())]


def test_curves_are_means_with_their_deviation_over_the_step_of_training() -> None:
    curve = sections([], "JobType")["Scores"][0]._to_model().config
    assert (curve.group_by, curve.group_agg, curve.group_area) == ("jobType", "mean", "stddev")
    assert curve.x_axis == "trainer/global_step"
    assert curve.limit == 100


def test_confusion_matrices_are_the_chart_of_wandb_itself() -> None:
    wandb = pytest.importorskip("wandb")
    logged = wandb.plot.confusion_matrix(preds=[0, 1], y_true=[0, 1], class_names=["a", "b"], title="val: pixels")
    logged.set_key("val/confusion")
    (panel, _) = sections([], "JobType")["Confusion matrices"]
    ours = panel._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
    theirs = logged.spec.config_value
    assert ours["viewType"] == theirs["panel_type"]
    for key in ("panelDefId", "fieldSettings", "stringSettings", "transform"):
        assert ours["config"][key] == theirs["panel_config"][key]
    ours, theirs = (x["userQuery"]["queryFields"][0]["fields"] for x in (ours["config"], theirs["panel_config"]))
    assert {field["name"]: field.get("args", []) for field in ours} == {f["name"]: f.get("args", []) for f in theirs}


def test_without_runs_patterns_find_classes_and_every_benchmark_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "board.json"
    assert main(["dashboard", "--output", str(path)]) == 0
    definition = dashboard.read(path)
    assert (definition["project"], definition["entity"]) == ("seglab", "")
    (view,) = definition["workspaces"]
    (runset,) = view["spec"]["section"]["runSets"]
    assert not runset["filters"]["filters"]
    assert [key["name"] for key in runset["grouping"]] == ["benchmark.value", "jobType"]
    panels = [p["config"] for s in view["spec"]["section"]["panelBankConfig"]["sections"] for p in s["panels"]]
    assert {p["metricRegex"] for p in panels if p.get("useMetricRegex")} == {
        *("^val/IoU/", "^val_teacher/IoU/", "^train/loss/", "^train/pseudo/accuracy/", "^train/pseudo/coverage/")
    }
    assert {p["groupBy"] for p in panels if "groupBy" in p} == {"group"}  # <benchmark>/<method>


@pytest.mark.parametrize("known", [True, False])
def test_the_library_reads_back_what_it_wrote(known: bool, runs: Path, tmp_path: Path) -> None:
    logged = dashboard.logged_metrics(find_runs([runs])) if known else {}
    dashboard.write(tmp_path / "board.json", dashboard.define("demo", "team", "methods", logged))
    definition = dashboard.read(tmp_path / "board.json")
    workspaces, report = dashboard.load(definition)
    for view, workspace in zip(definition["workspaces"], workspaces, strict=True):
        model = workspace._to_model()
        assert (model.entity, model.project) == ("team", "demo")
        assert model.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"entity", "project"}) == view
    model = report._to_model()
    assert (model.project.entity_name, model.project.name, model.spec.width) == ("team", "demo", "fluid")
    assert model.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"project"}) == definition["report"]


def test_panels_of_a_report_do_not_overlap(file: Path) -> None:
    for block in dashboard.read(file)["report"]["spec"]["blocks"]:
        taken: set[tuple[int, int]] = set()
        for panel in block.get("metadata", {}).get("panelBankSectionConfig", {}).get("panels", []):
            at = panel["layout"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken
            assert max(x for x, _ in cells) < 24
            taken |= cells


def test_a_definition_asks_no_server(runs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORBID, "dashboard", "--runs", str(runs), "--output", str(tmp_path / "board.json")]
    env = os.environ | {"PYTHONPATH": str(ROOT), "WANDB_API_KEY": 40 * "a"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "seglab dashboard --push" in done.stdout


def test_any_name_of_a_benchmark_will_do(tmp_path: Path) -> None:
    definition = dashboard.define("demo", "", "seglab", {'it\'s + "mine"': ["val/mIoU"]})
    (view,) = definition["workspaces"]
    assert view["displayName"] == "seglab: it-s - -mine-"
    assert view["spec"]["section"]["runSets"][0]["filters"]["filters"][0]["value"] == ['it\'s + "mine"']
    dashboard.load(definition)


def test_a_damaged_definition_is_refused() -> None:
    definition = dashboard.define("demo", "", "seglab", {})
    del definition["workspaces"][0]["spec"]["section"]
    with pytest.raises(SeglabError, match="write it anew"):
        dashboard.load(definition)


# Pushing.


class Server(ThreadingHTTPServer):
    """Answers the queries of the W&B client as its server would; keeps the views that are saved."""

    def __init__(self, project_exists: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.project_exists, self.saved = project_exists, list[dict[str, Any]]()


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"] or 0))
        content = json.dumps({"data": self._answer(json.loads(text))} if self.path == "/graphql" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        query, variables = request["query"], request.get("variables") or {}
        if "upsertView" in query:
            self.server.saved.append(variables)
            known = ("name", "type", "displayName", "description", "spec")
            view = {key: variables[key] for key in known} | {"id": variables.get("id") or f"v{len(self.server.saved)}"}
            view["project"] = {"name": variables["projectName"], "entityName": variables["entityName"]}
            return {"upsertView": {"view": view, "inserted": True}}
        if "internalId" in query:
            return {"project": {"internalId": "p1"} if self.server.project_exists else None}
        viewer = {"id": "u1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
        return {"viewer": viewer, "models": {"edges": [], "pageInfo": {"endCursor": None, "hasNextPage": False}}}

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
        yield server
        server.shutdown()


def test_a_push_creates_what_the_file_says_and_the_next_one_updates_it(
    server: Server, runs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "board.json"
    define = ["dashboard", "--runs", str(runs / "streets_1_64"), "--project", "demo", "--output", str(file)]
    assert main(define) == 0
    (before,) = dashboard.read(file)["workspaces"]
    done = run_seglab("dashboard", "--push", str(file), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [f"http://127.0.0.1:{server.server_port}/me/demo" in line for line in done.stdout.split()] == [True, True]
    view, report = server.saved
    assert (view["type"], report["type"]) == ("project-view", "runs")
    assert (view["entityName"], view["projectName"]) == (report["entityName"], report["projectName"]) == ("me", "demo")
    assert json.loads(view["spec"]) == before["spec"]
    sets = runsets({"spec": json.loads(report["spec"])})
    assert {(each["project"]["entityName"], each["project"]["id"]) for each in sets} == {("me", "p1")}

    assert main(define) == 0  # written anew, as when methods were added
    assert run_seglab("dashboard", "--push", str(file), cwd=tmp_path).returncode == 0
    assert [saved.get("id") for saved in server.saved[2:]] == ["v1", "v2"]

    assert run_seglab("dashboard", "--push", str(file), "--entity", "team", cwd=tmp_path).returncode == 0
    assert [(saved["entityName"], saved.get("id") or "") for saved in server.saved[4:]] == [("team", ""), ("team", "")]


def test_a_project_without_runs_is_named_and_what_was_created_is_kept(
    server: Server, file: Path, tmp_path: Path
) -> None:
    server.project_exists = False
    done = run_seglab("dashboard", "--push", str(file), cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "me/demo" in done.stderr
    assert "wandb sync" in done.stderr
    assert [view["id"] for view in dashboard.read(file)["workspaces"]] == ["v1", "v2"]


def test_without_login_the_remedy_is_named(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # no login of whoever runs the tests
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run_seglab("dashboard", "--push", str(file), cwd=tmp_path)
    assert done.returncode == 1
    assert "wandb login" in done.stderr
    assert f"seglab dashboard --push {file}" in done.stderr


# Bad input.


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--project", "a/b"], "--project 'a/b'"),
        (["--entity", "a:b"], "--entity"),
        (["--name", "a+b"], "--name"),
        (["--runs", "absent"], "absent is not a folder"),
        (["--runs", "."], "no run there that has logged"),
        (["--output", "notes.json"], "notes.json is not a file of `seglab dashboard`"),
        (["--push", "notes.json"], "notes.json is not a file of `seglab dashboard`"),
        (["--push", "absent.json"], "no file absent.json"),
        (["--output", "."], ". is not a file of"),
        (["--push", "notes.json", "--runs", "."], "leave --runs out"),
        (["--output", "notes.json/board.json"], "choose another"),
    ],
)
def test_wrong_input_is_named(
    flags: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.json").write_text('{"mine": 1}')
    assert main(["dashboard", *flags]) == 1
    assert message in capsys.readouterr().err
    assert Path("notes.json").read_text() == '{"mine": 1}'
    assert [path.name for path in tmp_path.iterdir()] == ["notes.json"]


def test_a_missing_package_names_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    for name in [name for name in sys.modules if name.startswith("seglab.report.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("seglab.report.dashboard")
    assert main(["dashboard", "--output", str(tmp_path / "board.json")]) == 1
    assert 'pip install "seglab[dashboard]"' in capsys.readouterr().err

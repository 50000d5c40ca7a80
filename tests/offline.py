"""Reads what an offline W&B run would upload: records of wandb's own protocol in the log that it writes."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 2**15


class OfflineRun:
    """One ``offline-run-*`` folder.

    Attributes:
        run: the last run record: id, group, job_type, tags, ...
        config, summary: as sent.
        history: rows as a dashboard would get them, in order.
        metrics: glob or name -> definition.
        exit_code: None when the run did not end.
    """

    def __init__(self, folder: Path) -> None:
        self.files = folder / "files"
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.metrics: dict[str, Any] = {}
        self.exit_code: int | None = None
        (path,) = folder.glob("*.wandb")
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self._update(self.config, record.run.config.update)
            elif kind == "config":
                self._update(self.config, record.config.update)
            elif kind == "summary":
                self._update(self.summary, record.summary.update)
            elif kind == "history":
                row: dict[str, Any] = {}
                self._update(row, record.history.item)
                self.history.append(row)
            elif kind == "metric":
                self.metrics[record.metric.name or record.metric.glob_name] = record.metric
            elif kind == "exit":
                self.exit_code = record.exit.exit_code

    @staticmethod
    def _update(target: dict[str, Any], items: Any) -> None:
        for item in items:
            *above, name = item.nested_key or [item.key]
            place = target
            for part in above:
                place = place.setdefault(part, {})
            place[name] = json.loads(item.value_json)

    def values(self, key: str) -> list[Any]:
        return [row[key] for row in self.history if key in row]

    def table(self, entry: dict[str, Any]) -> dict[str, Any]:
        """The file of a ``table-file`` entry of the history."""
        return json.loads((self.files / entry["path"]).read_text())


def records(path: Path) -> Iterator[Any]:
    """The records of a ``.wandb`` file, a LevelDB log: wandb's Python package has no reader, its Go program has."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # no room for a header: the block ends with zeros
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""

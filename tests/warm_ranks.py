"""Two processes of one gloo group that run one command after the other, so that tests pay for their start once."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from probes import ROOT


class WarmRanks:
    """Two ranks as torchrun would start them; each command is run by both."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        common = os.environ | {
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
            **{"GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "tests", "OMP_NUM_THREADS": "1"},
            "PYTHONPATH": paths,
        }
        self.ranks = [
            subprocess.Popen(
                [sys.executable, __file__],
                cwd=ROOT,
                env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for rank in range(2)
        ]

    def __call__(self, *command: str) -> None:
        """Run a command of ``seglab`` that names its run directory; fails with what a rank says."""
        for rank in self.ranks:
            assert rank.stdin is not None
            rank.stdin.write(json.dumps(command) + "\n")
            rank.stdin.flush()
        for rank in self.ranks:
            assert rank.stdout is not None
            said = rank.stdout.readline()
            assert said == "done\n", said or "a rank died"

    def close(self) -> None:
        for rank in self.ranks:
            rank.kill()
            rank.communicate()


def _serve() -> None:
    out, sys.stdout = sys.stdout, sys.stderr
    from seglab.cli import main

    before = dict(os.environ)
    for line in sys.stdin:
        try:
            code = main(json.loads(line))
            answer = "done" if code == 0 else f"exit code {code}"
        except BaseException as error:
            answer = repr(error).replace("\n", " ")
        os.environ.clear()
        os.environ.update(before)
        print(answer, file=out, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    _serve()

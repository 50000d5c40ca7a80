"""Real ``seglab`` processes that cost no start: copies of one that has imported everything and done nothing.

A copy has a session, environment, folder, streams and signals of its own, and ends as ``python -m seglab`` does. What
it starts itself (ranks, runs of a sweep, jobs) starts from nothing, unless its environment has ``warm_variables``: then
``sitecustomize`` makes each ``python -m seglab`` stand for a copy.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import IO

from sitecustomize import ask

ROOT = Path(__file__).parent.parent
WARM = "SEGLAB_TESTS_WARM"  # where ``sitecustomize`` finds the process to copy
PATHS = os.pathsep.join([str(ROOT), str(ROOT / "tests")])


def warm_variables() -> dict[str, str]:
    """What has the ``python -m seglab`` that a process starts be copies too, and the scripts of experiments/bench."""
    return {WARM: _server(), "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}


class Process:
    """What ``subprocess.Popen`` offers of a process, for a copy.

    Args:
        words: what follows ``seglab``.
        cwd: working directory.
        env: the whole environment.
        stdout, stderr: ``subprocess.PIPE`` or ``subprocess.DEVNULL``.
        new_session: whether it leads a session.
    """

    def __init__(
        self,
        words: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        new_session: bool = False,
    ) -> None:
        self.args = ["seglab", *words]
        self.returncode: int | None = None
        self.stdout, out = _pipe() if stdout == subprocess.PIPE else (None, os.open(os.devnull, os.O_WRONLY))
        self.stderr, err = _pipe() if stderr == subprocess.PIPE else (None, os.open(os.devnull, os.O_WRONLY))
        nothing = os.open(os.devnull, os.O_RDONLY)
        request = {"words": ["-m", "seglab", *words], "cwd": str(cwd), "env": dict(env), "new_session": new_session}
        self._told = ask(_server(), request, [nothing, out, err])
        for descriptor in (nothing, out, err):
            os.close(descriptor)
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.returncode = int(self._told.readline())
            self._told.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        limit = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if limit is not None and time.monotonic() > limit:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(0.02)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """The rest of its stdout and stderr, then its end."""
        said = ["", ""]

        def read(index: int, stream: IO[str] | None) -> None:
            if stream is not None and not stream.closed:
                with stream:
                    said[index] = stream.read()

        readers = [threading.Thread(target=read, args=pair) for pair in enumerate((self.stdout, self.stderr))]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        return said[0], said[1]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _pipe() -> tuple[IO[str], int]:
    ours, theirs = os.pipe()
    return os.fdopen(ours), theirs


@cache
def _server() -> str:
    """The address of the process to copy, of this process of pytest; it ends with it."""
    address = f"seglab-tests-{os.getpid()}-{time.time_ns()}"
    env = {name: value for name, value in os.environ.items() if name != WARM}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS}
    command = [sys.executable, __file__, address]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    assert server.stdin
    assert server.stdout
    assert server.stdout.readline(), "the process to copy did not start"

    def end() -> None:
        server.communicate()  # its input ends

    atexit.register(end)
    return address


def _serve(address: str) -> None:
    """Copy this process whenever it is asked to; returns only where nobody can ask any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends pytest, and pytest this
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the watchers
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{address}")
        listening.listen(64)
        print("ready", flush=True)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            asking, _ = listening.accept()
            if not os.fork():
                listening.close()
                _watch(asking)
            asking.close()


def _watch(asking: socket.socket) -> None:
    """Start a copy, tell its number, wait for its end and tell how it ended; it ends with who asked."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data, descriptors, _, _ = socket.recv_fds(asking, 8, 3)
    text = b""
    while len(text) < int.from_bytes(data, "big"):
        text += asking.recv(1 << 16)
    if not (pid := os.fork()):
        asking.close()
        _run(json.loads(text), descriptors)
    asking.sendall(f"{pid}\n".encode())
    for descriptor in (*descriptors, 0, 1, 2):
        os.close(descriptor)  # its readers wait for their end
    ended = os.pidfd_open(pid)
    if ended not in select.select([ended, asking], [], [])[0]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        asking.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _run(request: dict, descriptors: Sequence[int]) -> None:
    """Become ``python`` with the words of the request: ``-m seglab`` and flags, or a script and flags."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["new_session"]:
        os.setsid()
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    if "stands_for" in request:
        os.getppid = partial(_parent, request["stands_for"])  # type: ignore[assignment]
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    code: object = 1
    try:
        _become(*request["words"])
        code = 0
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
    # As Python ends, but for freeing every object: that would first copy all memory shared with the process copied.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    if isinstance(code, str):
        print(code, file=sys.stderr)
    os._exit(code if isinstance(code, int) else int(code is not None))


def _become(program: str, *words: str) -> None:
    if program == "-m":
        sys.path[:0] = [str(Path.cwd())]
        sys.argv = list(words)
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[:0] = [str(Path(program).parent)]
        sys.argv = [program, *words]
        runpy.run_path(program, run_name="__main__")


def _parent(process: int) -> int:
    """The parent of a process; ranks end when theirs is gone."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[1])
    except OSError:
        return 1


if __name__ == "__main__":
    import seglab.cli.commands.pseudo_label
    import seglab.cli.config
    import seglab.cli.train

    seglab.cli.config.parse(["fit", "camvid", "supervised"])  # what only a config imports
    gc.collect()
    gc.freeze()  # looking through it would copy the memory that copies share
    _serve(sys.argv[1])

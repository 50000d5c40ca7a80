"""Real ``seglab`` processes that cost no start: copies of one that has imported everything and done nothing.

A copy has a session, environment, folder, streams and signals of its own, and ends as ``python -m seglab`` does. What
it starts itself (ranks, runs of a sweep) starts from nothing.
"""

import atexit
import contextlib
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
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
Prepare = Callable[[], None]


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
        self._told, tell = _pipe()
        request = {"words": list(words), "cwd": str(cwd), "env": dict(env), "new_session": new_session}
        server = _server()
        text = json.dumps(request).encode()
        socket.send_fds(server, [len(text).to_bytes(8, "big")], [out, err, tell])
        server.sendall(text)
        for descriptor in (out, err, tell):
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
def _server() -> socket.socket:
    """The process to copy, of this process of pytest; it ends with it."""
    ours, theirs = socket.socketpair()
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    server = subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=env)
    theirs.close()

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


def _serve(asked: socket.socket) -> None:
    """Copy this process whenever it is asked to; returns only where nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends pytest, and pytest this
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the watchers
    while True:
        size, descriptors, _, _ = socket.recv_fds(asked, 8, 3)
        if not size:
            return
        text = b""
        while len(text) < int.from_bytes(size, "big"):
            text += asked.recv(1 << 16)
        if not os.fork():
            asked.close()
            _watch(json.loads(text), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _watch(request: dict, out: int, err: int, tell: int) -> None:
    """Start a copy, tell its number, wait for its end and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if not (pid := os.fork()):
        os.close(tell)
        _run(request, out, err)
    os.write(tell, f"{pid}\n".encode())
    for descriptor in (out, err, 1, 2):
        os.close(descriptor)  # its readers wait for their end
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(tell, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _run(request: dict, out: int, err: int) -> None:
    """Become ``python -m seglab``."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["new_session"]:
        os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    sys.path[:0] = [request["cwd"]]
    sys.argv = ["seglab", *request["words"]]
    runpy.run_module("seglab", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    import seglab.cli.commands.pseudo_label
    import seglab.cli.config
    import seglab.cli.train

    seglab.cli.config.parse(["fit", "camvid", "supervised"])  # what only a config imports
    _serve(socket.socket(fileno=int(sys.argv[1])))

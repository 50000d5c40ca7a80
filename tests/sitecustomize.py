"""Read by every Python that has this folder on its path: ``python -m seglab`` may stand for a copy of a warm process.

Only where tests ask for it: see ``warm_start.warm_variables``. The copy gets the signals that this process gets, and
either of them ends with the other, in the same way.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any


def ask(address: str, request: dict[str, Any], descriptors: Sequence[int]) -> IO[str]:
    """Have a copy run.

    Args:
        address: of the process to copy.
        request: ``words`` after ``python``, ``cwd``, ``env``, ``new_session``; ``stands_for``, the process that the
            copy is for others.
        descriptors: stdin, stdout and stderr.

    Returns:
        What tells its number, then how it ended.
    """
    import json
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.connect(f"\0{address}")
        text = json.dumps(request).encode()
        socket.send_fds(server, [len(text).to_bytes(8, "big")], descriptors)
        server.sendall(text)
        return server.makefile("r")


def _stand_for_a_copy(address: str, words: list[str]) -> None:
    import signal

    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    request = {"words": words, "cwd": str(Path.cwd()), "env": dict(os.environ), "new_session": True}
    told = ask(address, request | {"stands_for": os.getpid()}, [0, 1, 2])
    copy = int(told.readline())
    for number in numbers:
        signal.signal(number, lambda number, frame: os.kill(copy, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    code = int(told.readline())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


if address := os.environ.get("SEGLAB_TESTS_WARM"):
    words = [word for word in sys.orig_argv[1:] if word != "-u"]
    if words[:2] == ["-m", "seglab"] or (words[:1] and "experiments/bench/" in words[0]):
        _stand_for_a_copy(address, words)

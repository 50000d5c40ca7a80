"""What ends a run from outside, in one line with its remedy: a full disk, a loader process that was killed."""

import errno
import re

from seglab.types import SeglabError

WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE)
AGAIN = "then run it again; `seglab fit RUN_DIR` continues a run from its last checkpoint"


def system_error(error: BaseException | None) -> OSError | None:
    """The error of the operating system that another one came from, if any."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def explained(error: BaseException) -> BaseException:
    """The ``SeglabError`` that names cause and remedy of what comes from outside; anything else as it is."""
    if isinstance(error, OSError) and error.errno in WRITING:
        return SeglabError(
            f"the file system refuses {error.filename or 'to write'} ({error.strerror}): mend that or make room; "
            f"{AGAIN}"
        )
    if isinstance(error, RuntimeError) and (
        found := re.search(r"DataLoader worker \(pid\D*([\d, ]+)\) (.*)", str(error))
    ):
        how = found[2].partition(". ")[0].removeprefix("is ")
        return SeglabError(
            f"loader process {found[1]} was lost ({how}): most likely memory ran out. Use fewer --data.workers or get "
            f"more memory; {AGAIN}"
        )
    return error

"""The frame of every script: threads, a log, progress, and errors that a person can read."""

import ctypes
import logging
import os
import resource
import socket
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from umsam.errors import InputError

T = TypeVar("T")
log = logging.getLogger(__name__)

DONE = "done in"  # starts the last line of a job that succeeded

# OpenMP, torch, the BLAS libraries, SimpleITK, numexpr and joblib read these at import.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    "NUMEXPR_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next tensor instead of returning it to the system.

    By default, glibc maps and unmaps each large tensor, and the kernel clears the new pages. This
    took a third of the time of everything mode on a CPU. Without glibc the function does nothing.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # malloc.h
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 64 * 2**20)


@contextmanager
def job(snakemake: Any, threads: int | None = None) -> Iterator[None]:
    """Run the body of a script with a fixed number of threads and a log.

    Import numerical libraries inside the block, because they read the thread limit at import. An
    `InputError` ends the job with its message alone. Any other error ends it with its traceback
    and message. Both appear in the log file and on the terminal.

    Parameters
    ----------
    snakemake
        The object that Snakemake gives to the script.
    threads
        Number of CPU threads. The default is the number that Snakemake assigns to the job, which
        ``--cores`` can reduce. State a number where the result depends on it.
    """
    threads = snakemake.threads if threads is None else threads
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    keep_freed_memory()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if snakemake.log:
        Path(snakemake.log[0]).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(snakemake.log[0], mode="w"))
    name = " ".join([snakemake.rule, *map(str, snakemake.wildcards)])
    logging.basicConfig(
        level=logging.INFO, handlers=handlers, force=True, format=f"[{name}] %(message)s"
    )
    logging.captureWarnings(True)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it reports every substituted font
    start = time.perf_counter()
    submission = os.environ.get("SLURM_JOB_ID")
    host = socket.gethostname() + (f", SLURM job {submission}" if submission else "")
    log.info("starts on %s with %d thread(s)", host, threads)
    try:
        yield
    except InputError as error:
        log.error("ERROR: %s", error)
        sys.exit(1)
    except Exception as error:
        log.error("%s", traceback.format_exc())
        log.error("ERROR: %s: %s", type(error).__name__, error)
        sys.exit(1)
    seconds = time.perf_counter() - start
    log.info("%s %.1f s, peak memory %d MB", DONE, seconds, peak_memory_mb())


def peak_memory_mb() -> int:
    """Peak memory of this process in MB, which the `mem_mb` of its rule must cover."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def progress(items: Iterable[T], total: int, unit: str, interval: float = 5.0) -> Iterator[T]:
    """Iterate over `items` and log "12/40 slices, 3.1/s, 9 s left" every `interval` seconds."""
    start = last = time.perf_counter()
    for done, item in enumerate(items, 1):
        yield item
        now = time.perf_counter()
        if now - last >= interval or done == total:
            rate = done / max(now - start, 1e-9)
            log.info(
                "%d/%d %s, %.2g/s, %.0f s left", done, total, unit, rate, (total - done) / rate
            )
            last = now

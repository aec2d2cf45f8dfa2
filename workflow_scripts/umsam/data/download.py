"""Download a file, verify it, and write it completely or not at all."""

import logging
import time
from pathlib import Path

import pooch
import requests

from umsam.checksums import sha256_of
from umsam.errors import InputError
from umsam.files import atomic_write

log = logging.getLogger(__name__)

CHUNK = 1 << 20
TIMEOUT = 60  # seconds without a response


def download(url: str, path: str | Path, sha256: str | None, alternative: str = "") -> None:
    """Download `url` to `path`, unless the right file exists already.

    Parameters
    ----------
    url
        Address of the file.
    path
        Where to write the file. After a failure, it is as before.
    sha256
        Expected checksum. If it is None, an existing file is trusted, and only the length of a new
        file is compared with the server's announcement.
    alternative
        Another remedy for the error messages.

    Raises
    ------
    InputError
        The server does not respond, the connection is interrupted, or the content is unexpected.
    """
    path = Path(path)
    if path.is_file():
        if sha256 is None or sha256_of(path) == sha256:
            log.info("%s exists already", path)
            return
        log.warning("%s exists, but its sha256 is not %s: downloading it again", path, sha256)
    remedy = f"Or download it by hand to {path}." + (f" {alternative}" if alternative else "")
    fetch = pooch.HTTPDownloader(
        progressbar=_Progress(path.name),
        chunk_size=CHUNK,
        timeout=TIMEOUT,
        headers={"Accept-Encoding": "identity"},
    )
    with atomic_write(path) as temporary:
        try:
            fetch(url, str(temporary), None)
        except requests.exceptions.HTTPError as error:
            status = error.response
            answer = f"{status.status_code} {status.reason}" if status is not None else error
            raise InputError(
                f"{url}: the server responded {answer}. The file may have moved. {remedy}"
            ) from None
        except requests.exceptions.RequestException as error:
            cause = getattr(error.args[0], "reason", error) if error.args else error
            raise InputError(
                f"{url}: the connection failed or was cut ({cause}). Try again when the server is "
                f"reachable. {remedy}"
            ) from None
        actual = sha256_of(temporary)
        if sha256 is not None and actual != sha256:
            raise InputError(
                f"{url}: not the expected file: sha256 expected {sha256}, got {actual} "
                f"({temporary.stat().st_size} bytes). A proxy may have sent another page, or the "
                f"file has changed at its source. {remedy}"
            )
    log.info("%s: %d bytes, sha256 %s", path, path.stat().st_size, actual)


class _Progress:
    """A progress bar for pooch that writes log lines."""

    def __init__(self, name: str, interval: float = 5.0) -> None:
        self.name = name
        self.interval = interval
        self.total = 0
        self.done = 0
        self.last = time.perf_counter()

    def update(self, size: int) -> None:
        self.done += size
        now = time.perf_counter()
        if now - self.last >= self.interval:
            of = f" of {self.total / 1e6:.0f}" if self.total else ""
            log.info("%s: %.0f%s MB", self.name, self.done / 1e6, of)
            self.last = now

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass

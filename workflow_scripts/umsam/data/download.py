"""Fetch a file: verified, and written whole or not at all."""

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
TIMEOUT = 60  # seconds without an answer


def download(url: str, target: str | Path, sha256: str | None, instead: str = "") -> None:
    """Fetch `url` to `target`, unless the right file is there already.

    Without a checksum (`sha256` None) a file that is there is trusted, and of a new one only the
    length that the server announces is checked.

    Parameters
    ----------
    instead
        What else the user can do when the file cannot be had; added to the message.

    Raises
    ------
    InputError
        The address does not answer, the connection is cut, or the content is not the expected one.
        Nothing is left at `target` that was not there before.
    """
    target = Path(target)
    if target.is_file():
        if sha256 is None or sha256_of(target) == sha256:
            log.info("%s is there already", target)
            return
        log.warning("%s is there but its sha256 is not %s: fetched again", target, sha256)
    remedy = f"Or download it by hand to {target}." + (f" {instead}" if instead else "")
    fetch = pooch.HTTPDownloader(
        progressbar=_Progress(target.name),
        chunk_size=CHUNK,
        timeout=TIMEOUT,
        headers={"Accept-Encoding": "identity"},
    )
    with atomic_write(target) as temporary:
        try:
            fetch(url, str(temporary), None)
        except requests.exceptions.HTTPError as error:
            raise InputError(
                f"{url}: the server answers {error.response.status_code} {error.response.reason}. "
                f"The file may have moved; nothing was written. {remedy}"
            ) from None
        except requests.exceptions.RequestException as error:
            cause = getattr(error.args[0], "reason", error) if error.args else error
            raise InputError(
                f"{url}: the connection failed or was cut ({cause}). Nothing was written; try "
                f"again once the address can be reached. {remedy}"
            ) from None
        found = sha256_of(temporary)
        if sha256 is not None and found != sha256:
            raise InputError(
                f"{url}: not the expected file: sha256 expected {sha256}, got {found} "
                f"({temporary.stat().st_size} bytes). It was not kept: a proxy may have answered "
                f"in its place, or the file has changed at its source. {remedy}"
            )
    log.info("%s: %d bytes, sha256 %s", target, target.stat().st_size, found)


class _Progress:
    """A progress bar, as pooch drives one, of log lines."""

    def __init__(self, name: str, every: float = 5.0) -> None:
        self.name = name
        self.every = every
        self.total = 0
        self.done = 0
        self.last = time.perf_counter()

    def update(self, size: int) -> None:
        self.done += size
        now = time.perf_counter()
        if now - self.last >= self.every:
            of = f" of {self.total / 1e6:.0f}" if self.total else ""
            log.info("%s: %.0f%s MB", self.name, self.done / 1e6, of)
            self.last = now

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass

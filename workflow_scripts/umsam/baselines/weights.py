"""Checks of a comparison method's weights before anything is read from them."""

import logging
from collections.abc import Mapping
from pathlib import Path

from umsam.checksums import check_sha256, sha256_of

log = logging.getLogger(__name__)


def check_weights(folder: str | Path, files: Mapping[str, str | None], key: str) -> None:
    """Compare the files of a model with their checksums (file name -> SHA-256).

    Where a checksum is not known, the file's own is logged, so that a user can pin it.

    Raises
    ------
    InputError
        A file has another checksum: names the file and both checksums.
    """
    for name, expected in files.items():
        path, setting = Path(folder) / name, f"baselines.weights.{key}.sha256[{name}]"
        if expected is None:
            log.info("%s: sha256 %s (not checked: %s is not known)", path, sha256_of(path), setting)
        check_sha256(path, expected, setting)

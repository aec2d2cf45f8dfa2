"""Any change of a file changes its fingerprint."""

import os

import pytest
import torch

from umsam.checksums import BLOCK, BLOCKS, fingerprint


@pytest.mark.parametrize("size", [0, 10, BLOCK, BLOCK * BLOCKS - 1, BLOCK * BLOCKS])
def test_any_changed_byte_of_a_small_file_changes_the_fingerprint(tmp_path, size):
    path = tmp_path / "weights"
    content = bytearray(os.urandom(size))
    path.write_bytes(content)
    before = fingerprint(path)
    os.utime(path, (1, 1))
    assert fingerprint(path) == before
    for place in {0, size // 3, size - 1} if size else ():
        other = content.copy()
        other[place] ^= 1
        path.write_bytes(other)
        assert fingerprint(path) != before
    path.write_bytes(content + b"\0")
    assert fingerprint(path) != before


def test_any_changed_weight_of_a_large_checkpoint_changes_the_fingerprint(tmp_path):
    weights = {"a": torch.zeros(1000, 1000), "b": torch.zeros(2000, 1000)}
    fingerprints = set()
    for name, place in ((None, 0), ("a", 0), ("a", 654_321), ("b", 1_234_567), ("b", 1_999_999)):
        changed = {key: value.clone() for key, value in weights.items()}
        if name:
            changed[name].view(-1)[place] = 1e-3
        torch.save(changed, tmp_path / "weights.pth")
        fingerprints.add(fingerprint(tmp_path / "weights.pth"))
    assert len(fingerprints) == 5


def test_a_missing_file_has_an_empty_fingerprint(tmp_path):
    assert fingerprint(tmp_path / "none") == ""

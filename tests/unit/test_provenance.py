"""Checksums against coreutils, the state of a checkout against git."""

import shutil
import subprocess
from importlib import metadata

import numpy as np
import pytest
import yaml

from umsam.provenance import checksums, git_state, software


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1])
def test_checksums_are_those_of_sha256sum(tmp_path, size):
    path = tmp_path / "volume.bin"
    path.write_bytes(np.random.default_rng(size).bytes(size))
    (record,) = checksums([path])
    expected = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    assert record == {"file": str(path), "bytes": size, "sha256": expected.stdout.split()[0]}


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_state_of_a_checkout(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / "config.yaml").write_text("a: 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    commit = git(tmp_path, "log", "-1", "--format=%H").strip()
    assert git_state(tmp_path) == {"commit": commit, "changed": []}
    (tmp_path / "config.yaml").write_text("a: 2\n")
    (tmp_path / "notes.txt").write_text("not under version control\n")
    assert git_state(tmp_path) == {"commit": commit, "changed": ["config.yaml"]}


def test_a_folder_without_git_and_a_machine_without_it(tmp_path, monkeypatch):
    assert git_state(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


def test_versions(tmp_path):
    environment = tmp_path / "env.yaml"
    environment.write_text("# why\nchannels: [a]\ndependencies:\n  - numpy=2\n  - python=3.12\n")
    found = software([environment])
    assert found["packages"]["numpy"] == metadata.version("numpy") == np.__version__
    assert found["conda"]["env.yaml"] == yaml.safe_load(environment.read_text())["dependencies"]

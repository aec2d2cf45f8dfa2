"""Checksums against coreutils, and the state of a checkout against git."""

import shutil
import subprocess
from importlib import metadata

import numpy as np
import pytest
import yaml

from umsam.provenance import list_checksums, list_software, read_git_state


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1])
def test_checksums_are_those_of_sha256sum(tmp_path, size):
    path = tmp_path / "volume.bin"
    path.write_bytes(np.random.default_rng(size).bytes(size))
    (record,) = list_checksums([path])
    expected = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    assert record == {"file": str(path), "bytes": size, "sha256": expected.stdout.split()[0]}


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_state_of_a_checkout_names_the_commit_and_the_changed_files(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / "config.yaml").write_text("a: 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    commit = git(tmp_path, "log", "-1", "--format=%H").strip()
    assert read_git_state(tmp_path) == {"commit": commit, "changed": []}
    (tmp_path / "config.yaml").write_text("a: 2\n")
    (tmp_path / "notes.txt").write_text("not under version control\n")
    assert read_git_state(tmp_path) == {"commit": commit, "changed": ["config.yaml"]}


def test_there_is_no_state_without_a_checkout_or_without_git(tmp_path, monkeypatch):
    assert read_git_state(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_git_state(tmp_path) is None


def test_versions_are_those_of_the_installed_packages_and_the_conda_files(tmp_path):
    environment = tmp_path / "env.yaml"
    environment.write_text("# why\nchannels: [a]\ndependencies:\n  - numpy=2\n  - python=3.12\n")
    versions = list_software([environment])
    assert versions["packages"]["numpy"] == metadata.version("numpy") == np.__version__
    assert versions["conda"]["env.yaml"] == yaml.safe_load(environment.read_text())["dependencies"]

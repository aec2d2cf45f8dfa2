"""Where weights are looked for, what is said when they are not there, and when they are wrong."""

import hashlib

import pytest

from umsam.baselines.weights import (
    check_weights,
    folder_of,
    is_offline,
    missing_weights,
    read_part,
)
from umsam.errors import InputError

ENTRY = {
    "model": "someone/big-model",
    "revision": "abc123",
    "url": None,
    "folder": None,
    "files": {"config.json": None, "model.safetensors": "0" * 64},
}


def part(**changes):
    return read_part({"big": ENTRY | changes}, "big")


def fill(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(name)


@pytest.fixture(autouse=True)
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))


def test_the_message_names_files_source_and_folder(tmp_path):
    assert folder_of(part(), tmp_path) is None
    fill(tmp_path / "weights/big-model", "config.json")
    text = missing_weights(part(), tmp_path)
    assert text.startswith("weights/big-model lacks model.safetensors:")
    assert "https://huggingface.co/someone/big-model/resolve/abc123" in text
    assert "snakemake baseline_weights" in text
    assert "baselines.weights.big.folder" in text
    fill(tmp_path / "weights/big-model", "model.safetensors")
    assert missing_weights(part(), tmp_path) == ""
    assert folder_of(part(), tmp_path) == tmp_path / "weights/big-model"


def test_an_own_folder_is_the_only_place(tmp_path):
    fill(tmp_path / "weights/big-model", *ENTRY["files"])
    own = part(folder=str(tmp_path / "mine"))
    assert folder_of(own) is None
    assert "mine (baselines.weights.big.folder) lacks config.json, model" in missing_weights(own)
    fill(tmp_path / "mine", *ENTRY["files"])
    assert folder_of(own) == tmp_path / "mine"


def test_the_hub_s_cache_by_commit_and_by_branch(tmp_path):
    snapshot = tmp_path / "cache/models--someone--big-model/snapshots/abc123"
    fill(snapshot, *ENTRY["files"])
    assert folder_of(part(), tmp_path) == snapshot
    assert folder_of(part(revision="main"), tmp_path) is None
    fill(tmp_path / "cache/models--someone--big-model/refs")
    (tmp_path / "cache/models--someone--big-model/refs/main").write_text("abc123\n")
    assert folder_of(part(revision="main"), tmp_path) == snapshot


def test_another_address_than_the_hub_s():
    assert part(url="https://example.org/files/").source == "https://example.org/files"


def test_a_wrong_file_is_named_with_both_checksums(tmp_path):
    fill(tmp_path, *ENTRY["files"])
    right = hashlib.sha256(b"model.safetensors").hexdigest()
    check_weights(tmp_path, {"config.json": None, "model.safetensors": right}, "big")
    with pytest.raises(InputError) as caught:
        check_weights(tmp_path, ENTRY["files"], "big")
    for words in (right, "0" * 64, "model.safetensors", "baselines.weights.big.files"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("true", True), ("0", False), ("", False)]
)
def test_offline_as_the_hub_s_client_reads_it(value, offline, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert is_offline() == offline

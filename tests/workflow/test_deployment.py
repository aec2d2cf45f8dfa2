"""conda and containers, as far as a machine without either can tell."""

import re
import shutil
import subprocess
from importlib import metadata
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake.deployment import conda
from snakemake.sourcecache import LocalSourceFile

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
PIP_NAME = {
    "pytorch": "torch",
    "matplotlib-base": "matplotlib",
    "open-clip-torch": "open_clip_torch",
}


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda path: path.name)
def test_every_pin_is_a_version_that_pip_installed(environment):
    listed = yaml.safe_load(environment.read_text())
    assert set(listed) == {"channels", "dependencies"}
    for line in listed["dependencies"]:
        name, version = line.split("=")  # no pip section, no range, no build
        if name != "python":
            assert metadata.version(PIP_NAME.get(name, name)).split("+")[0] == version, name


def snakemakes_checksum(file, monkeypatch):
    """What Snakemake computes of the environment; conda itself would only say the platform."""
    monkeypatch.setattr(conda, "Conda", lambda **_: SimpleNamespace(platform="linux-64"))
    workflow = SimpleNamespace(
        sourcecache=SimpleNamespace(
            open=lambda file, mode: BytesIO(Path(file.get_path_or_uri(True)).read_bytes()),
            exists=lambda file: Path(file.get_path_or_uri(True)).exists(),
        ),
        persistence=SimpleNamespace(conda_env_path=""),
        deployment_settings=SimpleNamespace(apptainer_args=""),
        runtime_paths=[],
    )
    return conda.Env(workflow, env_file=LocalSourceFile(str(file))).content_hash


@pytest.mark.parametrize("pinned", [False, True])
def test_the_image_names_environments_as_snakemake_looks_for_them(tmp_path, monkeypatch, pinned):
    file = shutil.copy2(ENVIRONMENTS[0], tmp_path / "env.yaml")
    if pinned:
        file.with_suffix(".linux-64.pin.txt").write_text("@EXPLICIT\n")
    recipe = (ROOT / "Dockerfile").read_text().replace("\\\n", "\n")
    pin, prefix = re.search(r"(pin=.*?;.*?;) *\n +(prefix=.*?);", recipe).groups()
    command = f"set -eu; env={file}; {pin} {prefix}; echo $prefix"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"/conda-envs/{snakemakes_checksum(file, monkeypatch)}"


@pytest.mark.skipif(shutil.which("conda") is not None, reason="conda is installed here")
def test_archive_without_conda_ends_in_a_clear_message(checkout):
    text = checkout.snakemake("--archive", "run.tar.gz", check=False)
    assert "Is conda installed and accessible?" in text
    assert not (checkout.path / "run.tar.gz").exists()

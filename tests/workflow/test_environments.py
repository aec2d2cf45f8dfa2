"""The conda files list what the scripts import, in the versions that are tested."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "workflow_scripts"
PIP_NAME = {
    "pytorch": "torch",
    "matplotlib-base": "matplotlib",
    "open-clip-torch": "open_clip_torch",
}
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))


def listed(environment: Path) -> dict[str, str]:
    """Package names as pip knows them, and versions, of an environment file."""
    pairs = (line.split("=") for line in yaml.safe_load(environment.read_text())["dependencies"])
    return {PIP_NAME.get(name, name): version for name, version, *_ in pairs if name != "python"}


def scripts_of(environment: Path) -> list[Path]:
    """The scripts of the rules that name the environment."""
    text = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    blocks = re.split(r"(?m)^(?=(?:rule|checkpoint) )", text)
    return [
        SCRIPTS / f"{name}.py"
        for block in blocks
        if f'"../envs/{environment.name}"' in block
        for name in re.findall(r'"\.\./workflow_scripts/(\w+)\.py"', block)
    ]


PROBE = """
import ast, importlib, importlib.metadata as metadata, re, sys
sys.path.insert(0, {root!r})
names, waiting = set(), {packages!r}
while waiting:  # what is listed, and what that needs in turn
    name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
    if name in names:
        continue
    names.add(name)
    try:
        needs = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        continue
    waiting += [re.match(r"[\\w.-]+", n).group() for n in needs if "extra ==" not in n]
here = metadata.packages_distributions()
foreign = {{m for m, owners in here.items()
           if m not in sys.stdlib_module_names
           and not {{re.sub(r"[-_.]+", "-", o).lower() for o in owners}} & names}}
from importlib.machinery import PathFinder
class Wall(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in foreign else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Wall
for script in {scripts!r}:
    for node in ast.walk(ast.parse(open(script).read())):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            try:
                exec(compile(ast.Module([node], []), script, "exec"), {{}})
            except ModuleNotFoundError as error:
                sys.exit(f"{{script}}: {{ast.unparse(node)}}: {{error}}")
"""


@pytest.mark.slow  # imports all that every script imports
@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda path: path.name)
def test_scripts_import_nothing_that_their_environment_lacks(environment):
    scripts = scripts_of(environment)
    assert scripts
    probe = PROBE.format(
        root=str(SCRIPTS), packages=list(listed(environment)), scripts=list(map(str, scripts))
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_wall_stops_what_is_not_listed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import pandas\n")
    probe = PROBE.format(root=str(SCRIPTS), packages=["numpy"], scripts=[str(script)])
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode != 0
    assert "No module named 'pandas'" in done.stderr


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda path: path.name)
def test_versions_are_exact_and_the_ones_of_the_requirements(environment):
    pinned = dict(
        re.match(r"([\w.-]+)={2,3}([\w.]+)", line).groups()
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert yaml.safe_load(environment.read_text())["channels"] == ["conda-forge", "nodefaults"]
    for name, version in listed(environment).items():
        assert pinned[name] == version, name


def test_every_rule_with_a_script_names_an_environment_and_its_code():
    for file in (ROOT / "rules").glob("*.smk"):
        for block in re.split(r"(?m)^(?=(?:rule|checkpoint) )", file.read_text())[1:]:
            if "script:" not in block:
                continue
            name = re.match(r"(?:rule|checkpoint) (\w+)", block).group(1)
            script = re.search(r'"\.\./workflow_scripts/(\w+)\.py"', block).group(1)
            assert re.search(r"conda:\s+\"\.\./envs/\w+\.yaml\"", block), name
            if script == "download":  # a checksum says what is in the file, whoever fetched it
                assert "sha256=" in block, name
            else:
                assert f'code=code("{script}")' in block, name
            for directive in ("log:", "benchmark:", "threads:", "mem_mb=", "runtime="):
                assert directive in block, f"{name} has no {directive}"

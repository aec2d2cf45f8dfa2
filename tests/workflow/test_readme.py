"""Every command of the README and of docs/ is one that works."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = {path: path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
TEXT = "\n".join(PAGES.values())
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, flags=re.S)
COMMANDS = [
    line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()
]
INLINE = re.findall(r"`(snakemake -[^`]*)`", re.sub(r"```.*?```", "", TEXT, flags=re.S))
SNAKEMAKE = sorted({command for command in COMMANDS + INLINE if "snakemake" in command})
YAML = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.S)
MINE, MEDSAM = (
    next(text for text in YAML if f"run: [{name}]" in text) for name in ("mine", "mine_medsam")
)
SHEET = re.search(r"```\n(\s*case\timage.*?)```", README, flags=re.S).group(1)
NOT_DRY = {
    "snakemake --report report.html",  # run by test_demo.py
    "snakemake --cores 1 --snakefile from_tables.smk --forceall",  # by test_from_tables.py
}


def dedented(text):
    """A block inside a list, without the list's indentation."""
    return "\n".join(line.strip() if "\t" in line else line[3:] for line in text.splitlines())


@pytest.mark.parametrize("command", [c for c in SNAKEMAKE if c not in NOT_DRY])
def test_a_dry_run_accepts_the_command(command, checkout, monkeypatch):
    for model in ("sam", "dino"):
        (checkout.path / f"resources/compact_{model}.pt").touch()
    (checkout.path / "mine.yaml").write_text(dedented(MINE))
    (checkout.path / "medsam.yaml").write_text(MEDSAM)
    (checkout.path / "weights").mkdir(exist_ok=True)
    (checkout.path / "weights/medsam_vit_b.pth").touch()
    folder = checkout.path / "path/to"
    folder.mkdir(parents=True)
    (folder / "samples.tsv").write_text(dedented(SHEET) + "\n")
    for name in re.findall(r"p0\d\w*\.[\w.]+", SHEET):
        (folder / name).touch()
    words = command.split()
    assignments = dict(w.split("=") for w in words[: words.index("snakemake")])
    arguments = words[words.index("snakemake") + 1 :]
    if not shutil.which("conda"):
        arguments = [word for word in arguments if word != "--use-conda"]
    text = checkout.snakemake("--dry-run", *arguments, **assignments)
    assert "Job stats" in text


def test_make_targets_exist():
    targets = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    makefile = (ROOT / "Makefile").read_text()
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_ci_runs_the_test_command():
    assert "make test\n" in (ROOT / ".ci/run").read_text()
    assert "make test" in COMMANDS


def test_every_benchmark_of_make_knows_the_short_form():
    planned = subprocess.run(
        ["make", "--dry-run", "benchmark"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    scripts = re.search(r"for script in (.*?);", planned.stdout).group(1).split()
    assert len(scripts) >= 4
    for script in scripts:
        assert '"--quick"' in (ROOT / script).read_text(), script


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_and_pictures_are_in_the_repository(page):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[page]):
        file, _, heading = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        titles = re.findall(r"^#+ (.*)", linked.read_text(), flags=re.M) if heading else []
        assert not heading or heading in {title.lower().replace(" ", "-") for title in titles}


@pytest.mark.skipif(shutil.which("conda") is not None, reason="conda is installed here")
def test_use_conda_without_conda_ends_in_a_clear_message(checkout):
    text = checkout.snakemake("--cores", "1", "--use-conda", check=False)
    assert "Is conda installed and accessible?" in text

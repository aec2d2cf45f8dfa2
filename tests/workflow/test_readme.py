"""The README and the pages of docs/ state commands, files, keys and links that exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from umsam.planning.configuration import Settings, merge

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = {
    path: path.read_text()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
}
TEXT = "\n".join(PAGES.values())
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.S | re.M)
PROSE = FENCE.sub("", TEXT)
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())


def blocks(language: str) -> list[str]:
    """The different code blocks of a language, in the order of the pages."""
    found = [text for name, text in FENCE.findall(TEXT) if name == language]
    return list(dict.fromkeys(found))


COMMANDS = [
    line.split("#")[0].strip()
    for block in blocks("bash")
    for line in block.splitlines()
    if line.strip()
]
INLINE = re.findall(r"`(snakemake -[^`]*)`", PROSE)
SNAKEMAKE = sorted({command for command in COMMANDS + INLINE if "snakemake" in command})
RUN_ELSEWHERE = {
    "snakemake --report report.html",  # test_demo.py
    "snakemake --cores 1 --snakefile from_tables.smk --forceall",  # test_from_tables.py
    "snakemake --unlock",  # below
}
OVERRIDES = blocks("yaml")
(MINE,) = (text for text in OVERRIDES if "run: [mine]" in text)
(MEDSAM,) = (text for text in OVERRIDES if "run: [mine_medsam]" in text)
(SHEET,) = (text for text in blocks("") if text.startswith("case\timage"))
(MODULE,) = blocks("python")


def write_study(folder: Path):
    """The files that the examples read: the settings, the sample sheet and empty images."""
    data = folder / "path/to"
    data.mkdir(parents=True)
    (folder / "mine.yaml").write_text(MINE)
    (folder / "medsam.yaml").write_text(MEDSAM)
    (data / "samples.tsv").write_text(SHEET)
    for name in re.findall(r"p0\d\w*\.[\w.]+", SHEET):
        (data / name).touch()


@pytest.fixture(scope="module")
def study(shared_checkout):
    """A checkout that holds the files of the examples, and so does the folder around it."""
    root = shared_checkout.path
    for model in ("sam", "dino"):
        (root / f"resources/compact_{model}.pt").touch()
    for folder in (root, root.parent, root / "path/to/study"):
        write_study(folder)
    (root / "weights").mkdir(exist_ok=True)
    (root / "weights/medsam_vit_b.pth").touch()
    return shared_checkout


def beside(checkout):
    """The same in the folder that holds the checkout, where `um-sam/Snakefile` is its Snakefile."""
    assert checkout.path.name == "um-sam"
    return type(checkout)(checkout.path.parent)


def dry_runs():
    """The commands: those of the README are fast tests, those of docs/ alone are slow ones."""
    for command in sorted(set(SNAKEMAKE) - RUN_ELSEWHERE):
        marks = () if command in README else pytest.mark.slow
        yield pytest.param(command, marks=marks)


@pytest.mark.parametrize("command", dry_runs())
def test_a_dry_run_accepts_the_command(command, study):
    words = command.split()
    environment = dict(word.split("=") for word in words[: words.index("snakemake")])
    arguments = words[words.index("snakemake") + 1 :]
    if not shutil.which("conda"):
        arguments = [word for word in arguments if word != "--use-conda"]
    place = beside(study) if "um-sam/Snakefile" in arguments else study
    text = place.snakemake("--dry-run", *arguments, **environment)
    assert "Job stats" in text


def test_commands_that_are_run_elsewhere_are_in_the_text():
    assert set(SNAKEMAKE) >= RUN_ELSEWHERE


def test_unlock_is_accepted(study):
    assert "Unlock" in study.snakemake("--unlock")


@pytest.mark.parametrize("number", range(len(OVERRIDES)))
def test_the_configuration_accepts_the_settings(number):
    shown = merge(yaml.safe_load(MINE), yaml.safe_load(OVERRIDES[number]))
    assert Settings(shown, ROOT).run


def test_another_workflow_imports_the_rules(study):
    place = beside(study)
    (place.path / "Snakefile").write_text(MODULE)
    text = place.snakemake(
        "--dry-run", "--cores", "1", "--configfile", "mine.yaml", "--", "pseudo_labels"
    )
    assert "results/mine/pseudo_labels/p01.nii.gz" in text


def test_make_targets_exist():
    targets = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    makefile = (ROOT / "Makefile").read_text()
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_ci_runs_the_test_command():
    assert "make test\n" in (ROOT / ".ci/run").read_text()
    assert "bash .ci/run" in (ROOT / ".github/workflows/ci.yml").read_text()
    assert "make test" in COMMANDS


def test_every_benchmark_of_make_accepts_the_short_form():
    planned = subprocess.run(
        ["make", "--dry-run", "benchmark"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    scripts = re.search(r"for script in (.*?);", planned.stdout).group(1).split()
    assert len(scripts) >= 4
    for script in scripts:
        assert '"--quick"' in (ROOT / script).read_text(), script


def slug(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_and_pictures_are_in_the_repository(page):
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[page]):
        file, _, heading = link.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), link
        titles = re.findall(r"^#+ (.*)", linked.read_text(), flags=re.M) if heading else []
        assert not heading or heading in {slug(title) for title in titles}, link


def test_files_that_the_text_names_exist():
    folders = (
        "umsam|rules|resources|profiles|schemas|envs|tests|benchmarks|workflow_scripts|captions"
    )
    names = set(re.findall(rf"`((?:{folders})/[^`{{}}*\s]*)`", PROSE))
    assert len(names) > 10
    for name in names:
        assert (ROOT / name).exists() or (ROOT / "workflow_scripts" / name).exists(), name


def test_keys_that_the_text_names_are_in_the_configuration():
    sections = "|".join(name for name in CONFIG if isinstance(CONFIG[name], dict))
    keys = set(re.findall(rf"`((?:{sections})(?:\.(?!json)[a-z_0-9]+)+)[`:]", PROSE))
    assert len(keys) > 20
    for key in keys:
        value = CONFIG
        for part in key.split("."):
            assert part in value, key
            value = value[part]


def settings_rows():
    """Section, keys and default of each row of the settings page."""
    page = (ROOT / "docs/settings.md").read_text()
    parts = re.split(r"^## .*: `(\w+)`$", page, flags=re.M)[1:]
    for section, text in zip(parts[::2], parts[1::2], strict=True):
        for keys, default in re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", text, flags=re.M):
            yield section, re.findall(r"`(\w+)`", keys), default.partition(":")[0]


@pytest.mark.parametrize(("section", "keys", "shown"), settings_rows())
def test_the_settings_page_shows_the_defaults(section, keys, shown):
    values = [CONFIG[section][key] for key in keys]
    if shown == "the model's own":
        assert set(values) == {None}
        return
    defaults = [yaml.safe_load(part) for part in shown.replace("`", "").split(", ")]
    if len(keys) > len(defaults):  # x_min, x_max, y_min, y_max
        defaults = defaults * (len(keys) // len(defaults))
    assert values == defaults


def test_the_settings_page_has_every_stage():
    sections = {section for section, _, _ in settings_rows()}
    assert sections == {"sam", "shape_priors", "clustering", "target", "training", "prediction"}


def test_the_readme_is_short_and_says_what_it_is():
    lines = README.splitlines()
    assert len(lines) <= 170
    assert any("Snakemake workflow" in line for line in lines[:4])


def test_the_documentation_builds_without_a_warning_and_needs_no_network(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*src=\"?([^\s\">]+)", page.read_text())
        loaded += re.findall(
            r"<link[^>]*rel=\"?stylesheet\"?[^>]*href=\"?([^\s\">]+)", page.read_text()
        )
        loaded += re.findall(
            r"<link[^>]*href=\"?([^\s\">]+)\"?[^>]*rel=\"?stylesheet", page.read_text()
        )
        assert loaded
        assert not [address for address in loaded if address.startswith(("http", "//"))], page


@pytest.mark.skipif(shutil.which("conda") is not None, reason="conda is installed here")
def test_use_conda_without_conda_ends_in_a_clear_message(checkout):
    text = checkout.snakemake("--cores", "1", "--use-conda", check=False)
    assert "Is conda installed and accessible?" in text

"""MkDocs hooks: pages and pictures outside docs/ are part of the site, under the same links.

A page in docs/ links to ``../benchmarks/everything_mode.md``, which also works in the repository.
"""

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = ("benchmarks/*.md", "resources/*.md", "resources/overview.png", "CONTRIBUTING.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/ to the site."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Adapt the links: in the site, docs/ and the top level are one folder."""
    if "/" in page.file.src_uri:
        return markdown.replace("](../docs/", "](../")
    return markdown.replace("](../", "](").replace("](docs/", "](")

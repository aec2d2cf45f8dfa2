import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    from tiny_clip import write_clip

    folder = tmp_path_factory.mktemp("clip")
    write_clip(folder)
    return folder


@pytest.fixture(scope="session")
def biomedclip_folder(tmp_path_factory):
    from tiny_clip import write_biomedclip

    folder = tmp_path_factory.mktemp("biomedclip")
    write_biomedclip(folder)
    return folder

"""Tables of remote files: addresses, checksums and sizes."""

import hashlib

import pytest

from umsam.errors import InputError
from umsam.planning.remote_files import RemoteFile, read_remote_files

SHA256 = hashlib.sha256(b"content").hexdigest()


def test_a_table_of_remote_files_is_read(tmp_path):
    path = tmp_path / "files.tsv"
    path.write_text(f"file\turl\tsha256\tbytes\na\thttp://x/a\t{SHA256}\t12\nb\thttp://x/b\t\t\n")
    assert read_remote_files(path) == {
        "a": RemoteFile("http://x/a", SHA256, 12),
        "b": RemoteFile("http://x/b", None, None),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file\turl\n", "columns"),
        ("file\turl\tsha256\tbytes\na\tu\tabc\t\n", "'abc'"),
        (f"file\turl\tsha256\tbytes\na\tu\t{SHA256}\t1 MB\n", "'1 MB'"),
    ],
)
def test_mistakes_in_a_table_are_named(tmp_path, text, expected):
    path = tmp_path / "files.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=expected):
        read_remote_files(path)

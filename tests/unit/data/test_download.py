"""Downloads against a local server: the right file, or none and a clear message."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from umsam.data.download import download
from umsam.planning.remote_files import RemoteFile, read_remote_files
from umsam.errors import InputError

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    url: str = ""
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.path)
            if self.path == "/missing":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/cut" else CONTENT)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_address[1]}"
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield state
        http.shutdown()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "file.bin"


def refused(url, target, sha256=SHA256) -> str:
    with pytest.raises(InputError) as error:
        download(url, target, sha256, instead="Or set data_root.")
    message = str(error.value)
    assert url in message
    assert f"by hand to {target}" in message
    assert "Or set data_root." in message
    return message


def left(target) -> list[str]:
    return [path.name for path in target.parent.iterdir()] if target.parent.exists() else []


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_right_file(server, target, sha256):
    download(f"{server.url}/file", target, sha256)
    assert target.read_bytes() == CONTENT
    assert left(target) == ["file.bin"]


def test_wrong_hash(server, target):
    message = refused(f"{server.url}/file", target, "0" * 64)
    assert "0" * 64 in message
    assert SHA256 in message
    assert left(target) == []


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_cut_connection(server, target, sha256):
    assert "cut" in refused(f"{server.url}/cut", target, sha256)
    assert left(target) == []


def test_404(server, target):
    assert "404" in refused(f"{server.url}/missing", target)
    assert left(target) == []


def test_no_server(target):
    assert "connection failed" in refused("http://127.0.0.1:1/file", target)
    assert left(target) == []


def test_the_right_file_is_not_fetched_again(server, target):
    download(f"{server.url}/file", target, SHA256)
    download(f"{server.url}/file", target, SHA256)
    assert server.requests == ["/file"]


def test_a_corrupt_file_is_replaced(server, target, caplog):
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1])
    download(f"{server.url}/file", target, SHA256)
    assert target.read_bytes() == CONTENT
    assert "fetched again" in caplog.text


def test_a_file_that_was_there_survives_a_failure(server, target):
    target.parent.mkdir()
    target.write_bytes(b"old")
    refused(f"{server.url}/cut", target)
    assert target.read_bytes() == b"old"
    assert left(target) == ["file.bin"]


# ---- tables


def test_table_of_remote_files(tmp_path):
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
        ("file\turl\tsha256\tbytes\na\tu\tabc\t\n", "sha256 'abc'"),
        (f"file\turl\tsha256\tbytes\na\tu\t{SHA256}\t1 MB\n", "size '1 MB'"),
    ],
)
def test_mistakes_in_a_table_are_named(tmp_path, text, expected):
    path = tmp_path / "files.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=expected):
        read_remote_files(path)

"""Downloads from a local server: the right file, or a clear message and no file."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from umsam.data.download import download
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
def path(tmp_path):
    return tmp_path / "folder" / "file.bin"


def refusal(url, path, sha256=SHA256) -> str:
    """The message of a download that fails."""
    with pytest.raises(InputError) as error:
        download(url, path, sha256, alternative="Or set data_root.")
    message = str(error.value)
    assert url in message
    assert f"by hand to {path}" in message
    assert "Or set data_root." in message
    return message


def files_beside(path) -> list[str]:
    return [file.name for file in path.parent.iterdir()] if path.parent.exists() else []


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_the_right_file_is_written(server, path, sha256):
    download(f"{server.url}/file", path, sha256)
    assert path.read_bytes() == CONTENT
    assert files_beside(path) == ["file.bin"]


def test_a_file_with_another_checksum_is_not_kept(server, path):
    message = refusal(f"{server.url}/file", path, "0" * 64)
    assert "0" * 64 in message
    assert SHA256 in message
    assert files_beside(path) == []


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_cut_connection_leaves_no_file(server, path, sha256):
    assert "cut" in refusal(f"{server.url}/cut", path, sha256)
    assert files_beside(path) == []


def test_a_response_of_404_is_reported(server, path):
    assert "404" in refusal(f"{server.url}/missing", path)
    assert files_beside(path) == []


def test_a_missing_server_is_reported(path):
    assert "connection failed" in refusal("http://127.0.0.1:1/file", path)
    assert files_beside(path) == []


def test_the_right_file_is_not_downloaded_again(server, path):
    download(f"{server.url}/file", path, SHA256)
    download(f"{server.url}/file", path, SHA256)
    assert server.requests == ["/file"]


def test_a_corrupt_file_is_replaced(server, path, caplog):
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    download(f"{server.url}/file", path, SHA256)
    assert path.read_bytes() == CONTENT
    assert "downloading it again" in caplog.text


def test_an_existing_file_survives_a_failed_download(server, path):
    path.parent.mkdir()
    path.write_bytes(b"old")
    refusal(f"{server.url}/cut", path)
    assert path.read_bytes() == b"old"
    assert files_beside(path) == ["file.bin"]

"""Serve the page and one exported tokenizer to the browsers of this machine; needs nothing but Python.

    python tokenizer/web/serve.py exported/onnx        # then open http://127.0.0.1:8000

The headers of every answer let WebAssembly use several threads, and forbid the page all requests to other servers.
Refuses folders that do not exist; what is in the folder, the page itself checks.
"""

import argparse
import sys
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

PAGE = Path(__file__).resolve().parent
OWN_SERVER_ALONE = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self' blob:",
        "connect-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "media-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",  # with the next one: memory that threads share
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Content-Security-Policy": OWN_SERVER_ALONE,
    "Cache-Control": "no-cache",
}


class Handler(SimpleHTTPRequestHandler):
    """The page's own folder, and under /model/ the exported tokenizer."""

    # What the system says of these suffixes is wrong on some machines, and browsers insist on them.
    extensions_map = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(self, *args, export: Path, **kwargs) -> None:
        self.export = export
        super().__init__(*args, directory=str(PAGE), **kwargs)

    def translate_path(self, path: str) -> str:
        """Exported files lie beside each other, so that a name is enough."""
        folder, _, name = unquote(urlsplit(path).path).rpartition("/")
        return str(self.export / name) if folder == "/model" else super().translate_path(path)

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Only what fails is worth a line."""
        if int(code) >= 400:
            super().log_request(code, size)


def make_server(export: Path, port: int) -> ThreadingHTTPServer:
    """A server for this machine alone; port 0 takes a free one.

    Raises:
        ValueError: there is no such folder.
        OSError: the port is taken.
    """
    if not export.is_dir():
        raise ValueError(f"{export} is no folder: make it by videogpt export natural --format onnx --output {export}")
    return ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, export=export))


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve the page and one exported tokenizer to this machine.")
    parser.add_argument("export", type=Path, help="folder made by: videogpt export NAME --format onnx --output FOLDER")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    options = parser.parse_args()
    try:
        server = make_server(options.export, options.port)
    except (ValueError, OSError) as error:
        print(f"serve.py: {error}", file=sys.stderr)
        return 2
    print(f"http://127.0.0.1:{server.server_port} shows {options.export}; Ctrl-C ends it", flush=True)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())

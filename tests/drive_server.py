"""A stand-in for Google Drive on this machine: a proxy that ends TLS in Drive's name and plays what Drive can do.

gdown believes to talk to drive.google.com through a proxy. The proxy answers CONNECT, shows a certificate for Drive's
hosts that was made for this test alone, and then is Drive: it lists the folder (in the pages that gdown 5 and gdown 6
read), asks for confirmation, sends files, whole or from an offset, and fails in every way that Drive fails. gdown
itself is real and unchanged. No name is looked up and nothing leaves the machine.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import trustme

from helpers.archive.download import FOLDER

HOSTS = ("drive.google.com", "drive.usercontent.google.com")
CUT = 0.6  # where "cut" and "stall" end, as a share of the file

QUOTA = (
    '<html><head><title>Google Drive - Quota exceeded</title></head><body><p class="uc-error-caption">Sorry, you can\'t '
    'view or download this file at this time.</p>\n<p class="uc-error-subcaption">Too many users have viewed or '
    "downloaded this file recently. Please try accessing the file again later.</p></body></html>"
)
SIGN_IN = (
    "<!doctype html><html><head><title>Google Drive: Sign-in</title></head><body>Sign in to continue</body></html>"
)
NOT_FOUND = "<html><head><title>Error 404 (Not Found)!!1</title></head><body>That's an error.</body></html>"


class DriveServer:
    """Serves ``files`` (path in the folder -> bytes); ``faults`` (path, or "list") says what goes wrong where.

    Faults: ``quota``, ``private``, ``gone``, ``cut`` and ``stall`` at 60 % of the file, ``silent`` before any answer,
    ``no range`` (an offset is ignored), ``page`` (a page instead of the file, sent as if it were the file).
    ``requests`` collects ``(path, first byte)`` of each file that was asked for after confirmation.
    """

    def __init__(self, folder, files: dict[str, bytes]):
        self.files, self.faults, self.requests = dict(files), {}, []
        self.stalled, self.release = threading.Event(), threading.Event()
        authority = trustme.CA()
        self.certificates = folder / "certificates.pem"
        authority.cert_pem.write_to_path(self.certificates)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*HOSTS).configure_cert(self.context)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
        self._server.daemon_threads, self._server.drive = True, self
        self.proxy = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def network(self) -> dict:
        """What ``fetch_archive(network=...)`` needs to end up here."""
        return {"proxy": self.proxy, "verify": str(self.certificates)}

    def __enter__(self) -> DriveServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def id_of(self, path: str) -> str:
        return f"id-of-{list(self.files).index(path):03d}-".ljust(33, "x")

    def path_of(self, file: str) -> str | None:
        return next((path for path in self.files if self.id_of(path) == file), None)


class _Proxy(BaseHTTPRequestHandler):
    def do_CONNECT(self):
        drive = self.server.drive
        if self.path.partition(":")[0] not in HOSTS:
            return self.send_error(403, "This proxy leads to Google Drive only")
        self.send_response(200, "Connection established")
        self.end_headers()
        self.close_connection = True
        try:
            with drive.context.wrap_socket(self.connection, server_side=True) as stream:
                _Drive(stream, self.client_address, self.server)
        except OSError:  # the client went away, as a killed one does
            pass

    def log_message(self, *_):
        pass


class _Drive(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.drive = self.server.drive
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if address.path == "/embeddedfolderview":  # gdown 6
            self._list(query["id"], self._embedded)
        elif address.path.startswith("/drive/folders/"):  # gdown 5
            self._list(address.path.rpartition("/")[2], self._folder_page)
        elif address.path == "/uc":
            self._ask_for_confirmation(query["id"])
        elif address.path == "/download" and query.get("confirm") == "t":
            self._send_file(self.drive.path_of(query["id"]))
        else:
            self._page(NOT_FOUND, 404)

    # -- the list of files --

    def _list(self, folder, draw):
        fault = self.drive.faults.get("list")
        if fault == "silent":
            self._wait()
        elif fault == "private":
            self._page(SIGN_IN)
        elif fault == "gone":
            self._page(NOT_FOUND, 404)
        else:
            prefix = "" if folder == FOLDER else folder.removeprefix("folder-").rstrip("x").replace("-", "/")
            inside = [path.removeprefix(prefix) for path in self.drive.files if path.startswith(prefix)]
            names = list(dict.fromkeys(path.partition("/")[0] + "/" * ("/" in path) for path in inside))
            self._page(
                draw(
                    prefix.rstrip("/") or "data",
                    [(self._id(prefix + name), name.rstrip("/"), name.endswith("/")) for name in names],
                )
            )

    def _id(self, path):
        return f"folder-{path.replace('/', '-')}".ljust(33, "x") if path.endswith("/") else self.drive.id_of(path)

    def _embedded(self, title, entries):
        kinds = {True: "https://drive.google.com/drive/folders/{}", False: "https://drive.google.com/file/d/{}/view"}
        links = [f'<a href="{kinds[is_folder].format(id)}">{name}</a>' for id, name, is_folder in entries]
        return f"<html><head><title>{title}</title></head><body>{''.join(links)}</body></html>"

    def _folder_page(self, title, entries):
        kinds = {True: "application/vnd.google-apps.folder", False: "application/zip"}
        rows = [[id, ["parent"], name, kinds[is_folder]] for id, name, is_folder in entries[:50]]
        escaped = re.sub(r"[^\w ]", lambda found: f"\\x{ord(found[0]):02x}", json.dumps([rows]))
        script = f"<script>window['_DRIVE_ivd'] = '{escaped}';</script>"
        return f"<html><head><title>{title} - Google Drive</title></head><body>{script}</body></html>"

    # -- one file --

    def _ask_for_confirmation(self, file):
        path = self.drive.path_of(file)
        fault = self.drive.faults.get(path)
        if fault == "quota":
            self._page(QUOTA)
        elif fault == "private":
            self._page(SIGN_IN)
        elif path is None or fault == "gone":
            self._page(NOT_FOUND, 404)
        elif fault == "silent":
            self._wait()
        else:
            fields = {"id": file, "export": "download", "confirm": "t"}
            inputs = "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in fields.items())
            form = f'<form id="download-form" action="https://{HOSTS[1]}/download" method="get">{inputs}</form>'
            self._page(f"<html><head><title>Google Drive - Virus scan warning</title></head><body>{form}</body></html>")

    def _send_file(self, path):
        fault, content = self.drive.faults.get(path), self.drive.files[path]
        if fault == "page":
            content = NOT_FOUND.encode()
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.drive.requests.append((path, int(asked[1]) if asked else 0))
        first = int(asked[1]) if asked and fault != "no range" else 0
        if first >= len(content):
            return self._page(NOT_FOUND, 416)
        end = int(CUT * len(content)) if fault in ("cut", "stall") else len(content)
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Disposition", f'attachment; filename="{path.rpartition("/")[2]}"')
        self.send_header("Content-Length", str(len(content) - first))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self.wfile.write(content[first:end])
        if fault == "stall":
            self._wait()
        self.close_connection = True

    def _wait(self):
        self.drive.stalled.set()
        self.drive.release.wait(60)
        self.close_connection = True

    def _page(self, text, status=200):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

"""An exported page in a frame below a notebook's cell: in Jupyter, in VS Code and on Colab."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

from IPython.display import HTML, display

from helpers.config import CourseError


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


def serve(folder: str | Path) -> str:
    """Serve ``folder`` to this machine alone, until this Python ends; the address, ``http://localhost:PORT/``.

    Raises:
        CourseError: no page has been exported there.
    """
    folder = Path(folder)
    if not (folder / "index.html").is_file():
        raise CourseError(f"{folder.name} is no exported page: write one with export_page(net, {folder.name!r}).")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder.resolve())))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://localhost:{server.server_port}/"


def show_page(folder: str | Path, height: int = 900) -> None:
    """Display the page that :func:`helpers.web.export_page` wrote into ``folder``, ``height`` pixels high.

    Its frame lives as long as the kernel: ``helpers.upkeep.run_notebooks`` saves none. On another machine's Jupyter the
    browser does not reach it; there, download a page in one file.
    """
    address = serve(folder)
    try:
        colab = import_module("google.colab.output")  # the one way from Colab's page to its machine
    except ImportError:
        link = f'<p><a href="{address}" target="_blank">Open it in a tab of its own</a></p>'
        style = f'style="width:100%;height:{height}px;border:0" allow="camera"'
        display(HTML(f'{link}<iframe title="the exported page" src="{address}" {style}></iframe>'))
    else:
        colab.serve_kernel_port_as_iframe(int(address.rsplit(":")[-1].strip("/")), height=height)

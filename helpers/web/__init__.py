"""Your network outside of the notebook: ONNX, which other programs run, and a web page that runs it."""

from helpers.web.export import export_page
from helpers.web.onnx import export_onnx

__all__ = ["export_onnx", "export_page"]

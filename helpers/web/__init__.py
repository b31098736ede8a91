"""Your network outside of the notebook: ONNX, which other programs run."""

from helpers.web.onnx import export_onnx

__all__ = ["export_onnx"]

"""What runs ONNX in a browser comes with the course: whole, and renewed by one command."""

import gzip
import json

import pytest

from helpers.config import CourseError
from helpers.upkeep import web_runtime
from helpers.utils import sha256_of
from helpers.web.export import LICENSE, RUNTIME, SCRIPT, WASM


def test_the_runtime_of_the_course_is_as_it_was_written():
    about = json.loads((RUNTIME / "version.json").read_text())
    assert {name: sha256_of(RUNTIME / name) for name in (SCRIPT, f"{WASM}.gz")} == about["sha256"]
    assert f"v{about['version']}" in (RUNTIME / SCRIPT).read_text(encoding="utf-8")[:200]
    assert "MIT License" in (RUNTIME / LICENSE).read_text()
    assert gzip.decompress((RUNTIME / f"{WASM}.gz").read_bytes())[:4] == b"\0asm"


def test_a_newer_package_renews_it(tmp_path):
    package = tmp_path / "package"
    (package / "dist").mkdir(parents=True)
    (package / "package.json").write_text('{"name": "onnxruntime-web", "version": "9.8.7"}')
    (package / "dist" / SCRIPT).write_text("export {};\n//# sourceMappingURL=somewhere.map\n")
    (package / "dist" / WASM).write_bytes(b"\0asm and more")
    assert web_runtime.renew(package, tmp_path / "runtime") == "9.8.7"
    assert (tmp_path / "runtime" / SCRIPT).read_text() == "export {};\n"
    assert gzip.decompress((tmp_path / "runtime" / f"{WASM}.gz").read_bytes()) == b"\0asm and more"
    about = json.loads((tmp_path / "runtime" / "version.json").read_text())
    assert about["version"] == "9.8.7" and about["sha256"][SCRIPT] == sha256_of(tmp_path / "runtime" / SCRIPT)


def test_another_folder_is_refused_and_nothing_changes(tmp_path):
    with pytest.raises(CourseError, match="is not a folder 'package' that was unpacked from 'npm pack onnxruntime-web'"):
        web_runtime.renew(tmp_path, tmp_path / "runtime")
    assert not (tmp_path / "runtime").exists()

"""Renews ``helpers/web/runtime/``, the part of onnxruntime-web that runs a network in a browser.

``npm pack onnxruntime-web`` and unpack it, then ``python -m helpers.upkeep.web_runtime FOLDER`` copies what the page
needs, the WebAssembly packed by gzip, and writes version and checksums. Students need none of this: the folder is in
the course.
"""

import argparse
import gzip
import json
from pathlib import Path

from helpers.config import CourseError, plain_errors
from helpers.utils import sha256_of, whole_file, write_json
from helpers.web.export import RUNTIME, SCRIPT, WASM


def renew(package: Path, runtime: Path = RUNTIME) -> str:
    """Fill ``runtime`` from an unpacked npm package; its version.

    Raises:
        CourseError: ``package`` is not onnxruntime-web, or has no such files any more.
    """
    try:
        about = json.loads((package / "package.json").read_text(encoding="utf-8"))
        script, wasm = ((package / "dist" / name).read_bytes() for name in (SCRIPT, WASM))
    except (OSError, ValueError) as error:
        wanted = "a folder 'package' that was unpacked from 'npm pack onnxruntime-web'"
        raise CourseError(f"{package.name} is not {wanted}: {error}") from error
    script = script.partition(b"\n//# sourceMappingURL")[0] + b"\n"  # the map does not come along
    for name, content in {SCRIPT: script, f"{WASM}.gz": gzip.compress(wasm, 9, mtime=0)}.items():
        with whole_file(runtime / name) as temporary:
            temporary.write_bytes(content)
    checksums = {name: sha256_of(runtime / name) for name in (SCRIPT, f"{WASM}.gz")}
    write_json(runtime / "version.json", {"version": about["version"], "sha256": checksums})
    return about["version"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.upkeep.web_runtime", description="Renew helpers/web/runtime.")
    parser.add_argument("package", type=Path, help="the folder that 'npm pack onnxruntime-web' was unpacked into")
    with plain_errors():
        print(f"helpers/web/runtime: onnxruntime-web {renew(parser.parse_args().package)}")


if __name__ == "__main__":
    main()

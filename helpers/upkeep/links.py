"""The first cell of the notebooks, and the links that open them in Colab.

Every notebook begins with :data:`FIRST_CELL`, which finds this package (Colab and Kaggle clone the repository), and
:func:`helpers.session.setup`, which prints what is about to run. For a fork, ``python -m helpers.upkeep.links relink
OWNER/NAME`` rewrites the repository's name everywhere; without a name it asks ``git remote``. Addresses that the
course uses go on after the name (``NAME.git``, ``NAME/blob/...``) and are rewritten; the bare address credits the
published project and stays. Nothing here needs an installed package: ``make relink`` runs it in a bare Python.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from helpers.config import REPOSITORY, ROOT, CourseError, plain_errors
from helpers.utils import whole_file

BRANCH = "main"

FIRST_CELL = f'''\
# Set-up: finds the course's helpers; on Colab and Kaggle it clones them where there are none. It installs nothing.
import os, shutil, subprocess, sys
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else albumentations asks the network for a newer version
address = "https://github.com/{REPOSITORY}.git"
kaggle = os.environ.keys() & {{"KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_URL_BASE"}}  # its images set Colab's variables too

def find_course(here=Path.cwd(), uploads=Path("/kaggle/input")):
    near = [here / "course", here, *here.parents, *here.glob("*"), *Path("/content").glob("*")]
    near += [folder for level in range(1, 5) for folder in uploads.glob("/".join("*" * level))]
    found = next((folder for folder in near if (folder / "helpers/session.py").is_file()), None)
    if found and uploads in found.parents:  # nothing can be written there
        found = shutil.copytree(found, here / "course", dirs_exist_ok=True)
    return found and str(found)

course, why, ways = find_course(), "", "put its folder beside this notebook, or open the one in its notebooks/"
if not course and (kaggle or "COLAB_RELEASE_TAG" in os.environ):
    git = subprocess.run(["git", "clone", "--quiet", "--depth", "1", "--", address, "course"],
                         env={{**os.environ, "GIT_TERMINAL_PROMPT": "0"}}, capture_output=True, text=True)
    if not (course := find_course()) and git.returncode == 0:
        shutil.rmtree("course")  # another repository, which would be in the way of the next try
    said = f"cannot be cloned ({{' '.join(git.stderr.split())}})" if git.returncode else "does not hold it"
    why, ways = f", and {{address}} {{said}}", "set address in this cell to your copy of it, or upload its folder"
    ways += " as a dataset (to clone, switch Internet on in the settings)" if kaggle else " (Files, left)"
if not course:
    raise ModuleNotFoundError(f"The course is not in {{Path.cwd()}}{{why}}: {{ways}}, and run this cell again.")
if getattr(sys.modules.get("helpers"), "__file__", None) != str(Path(course, "helpers/__init__.py")):
    for name in [name for name in sys.modules if name.partition(".")[0] == "helpers"]:
        del sys.modules[name]  # another package of that name, or left by a try that failed
sys.path[:] = [course, *(entry for entry in sys.path if entry != course)]
try:
    from helpers.session import setup
except ImportError as error:
    why = f"{{course}} is not the whole course ({{error}}): upload all of it, and run this cell again."
    raise ModuleNotFoundError(why) from None
'''


def first_cell(number: int) -> str:
    """The whole first code cell of notebook ``number``."""
    return f"{FIRST_CELL}\nsetup({number})"


def badge(notebook: str) -> str:
    """The Markdown of the badge that opens ``notebook`` (its name without ``.ipynb``) in Colab."""
    url = f"https://colab.research.google.com/github/{REPOSITORY}/blob/{BRANCH}/notebooks/{notebook}.ipynb"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({url})"


def relink(repository: str, root: Path = ROOT) -> list[str]:
    """Point every badge, clone line and first cell in the git checkout ``root`` at ``repository``, ``OWNER/NAME``.

    Returns the files that changed, relative to ``root``; files that git does not track are left alone.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}(?<!\.git)", repository):
        raise CourseError(f"{repository!r} is not a repository: write OWNER/NAME, without https:// and without .git.")
    listing = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True)
    if listing.returncode:
        raise CourseError(f"{root} is not a git checkout: clone your fork with 'git clone' and run this there.")

    page = root / "helpers" / "config.py"
    old = re.escape(re.search(rb'^REPOSITORY = "(.+)"$', page.read_bytes(), re.MULTILINE)[1])
    pattern = re.compile(rb'(?<=/)%b(?=\.git\b|/)|(?<=^REPOSITORY = ")%b(?="$)' % (old, old), re.MULTILINE)
    changed = {}
    for name in listing.stdout.split("\0"):
        path = root / name
        if path.is_file() and path.resolve() == root.resolve() / name:  # no part of it is a link
            after = pattern.sub(repository.encode(), path.read_bytes())
            if after != path.read_bytes():
                changed[path] = after
    # The configuration goes last: if this is interrupted, the next call still knows the old name and finishes.
    for path in sorted(changed, key=lambda path: path == page):
        with whole_file(path) as temporary:
            temporary.write_bytes(changed[path])
    return [path.relative_to(root).as_posix() for path in changed]


def remote_repository(root: Path = ROOT) -> str:
    """``OWNER/NAME`` on GitHub that the remote ``origin`` of the git checkout ``root`` leads to, by https or ssh."""
    git = subprocess.run(["git", "-C", str(root), "remote", "get-url", "origin"], capture_output=True, text=True)
    address = re.sub(r"(?<=//)[^/@]*@", "", git.stdout.strip())  # a token may be in it, and is not to be printed
    pattern = r"(?:https?://(?:www\.)?github\.com/|(?:ssh://)?(?:git@)?github\.com[:/])([^/]+/[^/]+?)(?:\.git)?/?"
    if found := re.fullmatch(pattern, address, re.IGNORECASE):
        return found[1]
    what = f"The remote 'origin' is {address}, not on github.com" if address else f"{root} has no git remote 'origin'"
    raise CourseError(f"{what}: say where the links should lead with 'make relink REPO=owner/name'.")


def main(arguments: list[str]) -> None:
    if not 1 <= len(arguments) <= 2 or arguments[0] != "relink":
        sys.exit("Say which repository the links should lead to: make relink REPO=owner/name")
    repository = arguments[1] if len(arguments) == 2 else remote_repository()
    changed = relink(repository)
    print("\n".join(f"rewrote {name}" for name in changed) or f"Every link leads to {repository} already.")


if __name__ == "__main__":
    with plain_errors():
        main(sys.argv[1:])

"""The repository's name in the notebooks' first cells, in the links that open them in Colab, and on all pages.

For a fork, ``python -m helpers.upkeep.links relink OWNER/NAME`` rewrites it everywhere; without a name it asks ``git
remote``. Addresses that the course uses go on after the name (``NAME.git``, ``NAME/blob/...``) and are rewritten, its
website's too; the bare address credits the published project and stays. Nothing here needs an installed package: ``make relink`` runs it
in a bare Python.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from helpers.config import ROOT, CourseError, plain_errors
from helpers.utils import whole_file


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
    known = re.search(rb'^REPOSITORY = "(.+)"$', page.read_bytes(), re.MULTILINE)[1]
    old, old_site = re.escape(known), re.escape(_site(known))
    pattern = re.compile(rb'(?<=/)%b(?=\.git\b|/)|(?<=^REPOSITORY = ")%b(?="$)' % (old, old), re.MULTILINE)
    site = re.compile(rb"(?<=://)%b(?=/)" % old_site)
    changed = {}
    for name in listing.stdout.split("\0"):
        path = root / name
        if path.is_file() and path.resolve() == root.resolve() / name:  # no part of it is a link
            after = site.sub(_site(repository.encode()), pattern.sub(repository.encode(), path.read_bytes()))
            if after != path.read_bytes():
                changed[path] = after
    # The configuration goes last: if this is interrupted, the next call still knows the old name and finishes.
    for path in sorted(changed, key=lambda path: path == page):
        with whole_file(path) as temporary:
            temporary.write_bytes(changed[path])
    return [path.relative_to(root).as_posix() for path in changed]


def _site(repository: bytes) -> bytes:
    """``OWNER.github.io/NAME``, where GitHub publishes a repository's pages."""
    return repository.replace(b"/", b".github.io/", 1)


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

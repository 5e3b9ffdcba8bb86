"""What Lambda gets: ``build/control.zip`` with app, control and their pinned requirements, and
``build/planner.zip`` with the solver besides, for the one function that plans.

``make package`` runs ``python -m ops.package`` and lets SAM build the template around the zip. The
same sources give the same bytes, so a deployment of nothing new changes no function.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from ops.cell.files import ROOT

PYTHON = "3.11"
PLATFORM = "x86_64-manylinux2014"
"""Runtime and Architectures of template.yaml: that image has glibc 2.26."""

IMAGE_PYTHON = ROOT / ".venv-lambda" / "bin" / "python"
"""That Python with what AWS's image holds, boto3 and the runtime client, and nothing of ours."""

ZIP = ROOT / "build" / "control.zip"
PLANNER_ZIP = ROOT / "build" / "planner.zip"
_ON_LAMBDA = "/var/task"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_READ_BY_ALL = 0o644 << 16
_CHALICE_AT_RUN_TIME = ("__init__.py", "app.py")  # all that Chalice's own packages hold of it
_NEVER_RUN = ("bin", "aws_lambda_powertools/event_handler")  # the latter routes, as Chalice does
_NEVER_READ = ("*.pyi", "*.c")
_OF_NUMPY = ("numpy/f2py", "numpy/distutils", "numpy/**/tests")  # builders' and testers'


def build(path: Path, staged: Path, requirements: str = "requirements.txt") -> None:
    """Writes the zip, by way of a folder that is made anew.

    Raises:
        CalledProcessError: a requirement has no wheel for Lambda, or a module does not compile.
    """
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(ROOT / "control", staged / "control", ignore=_compiled)
    shutil.copy(ROOT / "app.py", staged)
    _install(staged, requirements)
    _prune(staged)
    _compile(staged)
    _write(staged, path)


def _compiled(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]


def _install(folder: Path, requirements: str) -> None:
    """Exactly what that file lists; botocore and what Chalice's command needs are not in it:
    the image has the one, and no function runs the other."""
    where = ["--target", str(folder), "--python-version", PYTHON, "--python-platform", PLATFORM]
    what = ["--no-deps", "--only-binary", ":all:", "-r", str(ROOT / requirements)]
    uv = Path(sys.executable).parent / "uv"
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--link-mode", "copy", *where, *what], check=True
    )


def _prune(folder: Path) -> None:
    for path in (folder / "chalice").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in _CHALICE_AT_RUN_TIME:
            path.unlink()
    for pattern in _NEVER_READ:
        for path in folder.rglob(pattern):
            path.unlink()
    for name in _NEVER_RUN:
        shutil.rmtree(folder / name)
    for pattern in _OF_NUMPY:
        for path in list(folder.glob(pattern)):
            shutil.rmtree(path, ignore_errors=True)  # one may be in another
    (folder / ".lock").unlink(missing_ok=True)


def _compile(folder: Path) -> None:
    """Byte code that is trusted unseen: Lambda's folder is read-only, and unpacking changes times.

    Only the image's own version of Python makes byte code that it can read. Without the columns of
    each instruction, which only underline tracebacks, it loads a twentieth faster.
    """
    trusted = ["--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", _ON_LAMBDA]
    subprocess.run(
        [IMAGE_PYTHON, "-X", "no_debug_ranges", "-m", "compileall", "-q", *trusted, str(folder)],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},  # sets are written in the same order each time
    )


def _write(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as written:
        for file in sorted(one for one in folder.rglob("*") if one.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _LONG_AGO)
            entry.external_attr = _READ_BY_ALL
            written.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    for made, listed in ((ZIP, "requirements.txt"), (PLANNER_ZIP, "requirements-planner.txt")):
        build(made, made.with_suffix(""), listed)
        print(f"[package] {made.relative_to(ROOT)}, {made.stat().st_size / 1e6:.1f} MB")

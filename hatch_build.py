"""Builds the compiled core into the wheel where a C compiler is there; without one, the package is
pure Python and works all the same.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.errors import CCompilerError, ExecError, PlatformError

SOURCE = "k2trio/compiled/_core.c"
MODULE = "k2trio.compiled._core"


class CustomBuildHook(BuildHookInterface[Any]):
    """See the module; ``K2TRIO_PURE=1`` leaves the core out."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, and have what was built put beside the source.

        :param version: ``standard``, or ``editable``: then it stays in this folder.
        """
        if self.target_name != "wheel" or os.environ.get("K2TRIO_PURE", "") not in ("", "0"):
            return
        self._made = tempfile.TemporaryDirectory()
        folder = Path(self.root if version == "editable" else self._made.name)
        try:
            built = _build(Path(self.root), folder, Path(self._made.name))
        except (CCompilerError, ExecError, PlatformError, OSError) as error:
            self.app.display_warning(f"no compiled core, so k2trio will be slower: {error}")
            return
        build_data["infer_tag"] = True
        build_data["pure_python"] = False
        if version != "editable":
            build_data["force_include"][str(built)] = built.relative_to(folder).as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made on the way."""
        if hasattr(self, "_made"):
            self._made.cleanup()


def _build(root: Path, folder: Path, work: Path) -> Path:
    """Compile; returns where the module is.

    :raises CCompilerError: if it cannot be compiled; and what setuptools raises where there is no
        compiler.
    """
    # What debuggers want has the paths of this machine in it, and two builds would differ.
    flags = [] if sys.platform == "win32" else ["-O3", "-g0"]
    headers = [path.as_posix() for path in (root / SOURCE).parent.glob("*.h")]
    core = Extension(MODULE, [SOURCE], depends=headers, extra_compile_args=flags)
    distribution = Distribution({"name": "k2trio", "ext_modules": [core]})
    command: Any = distribution.get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(folder), str(work / "objects")
    command.ensure_finalized()
    here = Path.cwd()
    os.chdir(root)
    try:
        command.run()
    finally:
        os.chdir(here)
    return Path(command.get_ext_fullpath(MODULE)).absolute()

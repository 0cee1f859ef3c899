"""A process that root's rights over files do not help."""

from __future__ import annotations

import os
import shutil

import pytest


def without_rights() -> list[str]:
    """Return what stands before a command that is to read and write only what the modes of files allow."""
    if os.name == "nt":
        pytest.skip("needs the modes of POSIX")
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv to give up root's rights")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all"]

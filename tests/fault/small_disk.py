"""A disk of its own for one node, small enough to be filled: a tmpfs that goes with the processes of the run."""

import ctypes
import os
import shutil
import subprocess

CLONE_NEWNS = 0x00020000


class SmallDisk:
    """Full as long as the test says so. To be made before there are threads or children: they share its mounts."""

    SIZE = 1 << 30

    def __init__(self, path):
        os.makedirs(path, exist_ok=True)
        self._ballast = os.path.join(path, "ballast")
        libc = ctypes.CDLL(None, use_errno=True)
        # In a mount namespace of this process's own nothing is left over, however it ends.
        if libc.unshare(CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "no mount namespace")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.SIZE}", "falaj-fault", path], check=True,
                       capture_output=True)

    def fill(self):
        with open(self._ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self._ballast).free)

    def free(self):
        if os.path.exists(self._ballast):
            os.remove(self._ballast)


def make_small_disk(path):
    """None where mounting is not allowed."""
    try:
        return SmallDisk(path)
    except (OSError, subprocess.CalledProcessError):
        return None

"""How ``make image`` compresses an initramfs for the kernel that it is given."""

import struct
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "vm-image/image/compression.sh"
_POINTER, _VERSION = 0x20E, 0x3000


@pytest.mark.parametrize(
    ("version", "program"),
    [
        (b"5.4.286 (root@builder) #1 SMP", "gzip"),
        (b"4.19.128-microsoft-standard\0", "gzip"),
        (b"5.8.18\0", "gzip"),
        (b"5.9.0\0", "zstd"),
        (b"5.10.0-32-cloud-amd64 (debian)", "zstd"),
        (b"10.0\0", "zstd"),
        (b"no number", "gzip"),
        (b"", "gzip"),
    ],
)
def test_no_kernel_gets_what_it_cannot_unpack(version: bytes, program: str, tmp_path: Path) -> None:
    image = bytearray(0x4000)
    struct.pack_into("<H", image, _POINTER, _VERSION)
    image[_VERSION + 0x200 : _VERSION + 0x200 + len(version)] = version
    path = tmp_path / "bzImage"
    path.write_bytes(image)
    done = subprocess.run([SCRIPT, path], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == program

"""Image layers: gzipped tar archives with fixed owners and times, so that the same input gives the same digest."""

import copy
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile

# What every entry's modification time says: 2026-01-01.
EPOCH = 1767225600
LIBRARIES = "/lib/x86_64-linux-gnu/"


class Layer:
    """A layer being filled. A path that is added twice keeps its first content; parents are made on the way."""

    def __init__(self):
        self._tar_file = tempfile.TemporaryFile()
        self._tar = tarfile.open(fileobj=self._tar_file, mode="w", format=tarfile.PAX_FORMAT)
        self._names = set()

    def __contains__(self, name):
        return name.strip("/") in self._names

    def _add(self, name, kind, mode, content=None, size=0, link=""):
        name = name.strip("/")
        if not name or name in self._names:
            return
        self.directory(os.path.dirname(name))
        self._names.add(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.linkname, entry.size, entry.mtime = kind, mode, link, size, EPOCH
        self._tar.addfile(entry, content)

    def directory(self, name, mode=0o755):
        """Adds a directory."""
        self._add(name, tarfile.DIRTYPE, mode)

    def file(self, name, data=b"", mode=0o644):
        """Adds a regular file; text is written as UTF-8."""
        data = data.encode() if isinstance(data, str) else data
        self._add(name, tarfile.REGTYPE, mode, io.BytesIO(data), len(data))

    def copy(self, source, name, mode=None):
        """Adds a regular file with the content, and unless told otherwise the mode, of one on this machine."""
        with open(source, "rb") as content:
            stat = os.fstat(content.fileno())
            self._add(name, tarfile.REGTYPE, stat.st_mode & 0o7777 if mode is None else mode, content, stat.st_size)

    def hard_link(self, name, target):
        """Adds one more name of a file that this layer has."""
        self._add(name, tarfile.LNKTYPE, 0o755, link=target.strip("/"))

    def symlink(self, name, target):
        """Adds a symbolic link."""
        self._add(name, tarfile.SYMTYPE, 0o777, link=target)

    def program(self, source, name, mode=0o755):
        """Adds a dynamic program of this machine, and the libraries it needs where its loader looks for them."""
        self.copy(source, name, mode)
        listed = subprocess.run(["ldd", source], capture_output=True, text=True, check=True).stdout
        if "not found" in listed:
            raise RuntimeError(f"{source} lacks libraries on this machine:\n{listed}")
        for path in re.findall(r"(/\S+) \(0x", listed):
            home = path if path.startswith("/lib") else LIBRARIES + os.path.basename(path)
            self.copy(path, home, 0o755)

    def done(self):
        """Ends the layer: its packed content, in a `Blob`."""
        self._tar.close()
        return Blob(self._tar_file)


class Blob:
    """A finished layer: `file` (packed, open for reading), its `size`, `digest` and `media_type`, and the `diff_id` of the tar."""

    media_type = "application/vnd.oci.image.layer.v1.tar+gzip"

    def __init__(self, tar_file):
        tar_hash = hashlib.sha256()
        self.file = tempfile.TemporaryFile()
        tar_file.seek(0)
        with gzip.GzipFile(filename="", fileobj=self.file, mode="wb", mtime=0, compresslevel=6) as packed:
            while chunk := tar_file.read(1 << 20):
                tar_hash.update(chunk)
                packed.write(chunk)
        self.unpacked_size = tar_file.tell()
        tar_file.close()
        self.diff_id = "sha256:" + tar_hash.hexdigest()
        self._packed()

    def _packed(self):
        self.size = self.file.seek(0, os.SEEK_END)
        self.file.seek(0)
        packed_hash = hashlib.sha256()
        while chunk := self.file.read(1 << 20):
            packed_hash.update(chunk)
        self.digest = "sha256:" + packed_hash.hexdigest()

    def as_zstd(self):
        """The same layer, packed by zstd, with the program of that name."""
        other = copy.copy(self)
        other.media_type = "application/vnd.oci.image.layer.v1.tar+zstd"
        other.file = tempfile.TemporaryFile()
        self.file.seek(0)
        with subprocess.Popen(["zstd", "-q", "-3"], stdin=subprocess.PIPE, stdout=other.file) as packer:
            with gzip.GzipFile(fileobj=self.file, mode="rb") as plain:
                shutil.copyfileobj(plain, packer.stdin, 1 << 20)
        if packer.returncode != 0:
            raise RuntimeError(f"zstd ended with {packer.returncode}")
        other._packed()
        return other

"""An image of the size of a real application, for measuring pulls: files of this machine's /usr, in layers."""

import os

from layer import Layer

# Bytes that one layer, and the image, hold when packed; a layer may exceed its share by one file.
LAYERS = 8
PACKED = 200 * 1000 * 1000
# What most such files pack to; only how many files a layer takes depends on it.
USUAL_RATIO = 0.25
LARGEST_FILE = 40 * 1000 * 1000


def usable_files():
    """The regular files and symbolic links below /usr, in a fixed order."""
    for folder in ("/usr/lib", "/usr/share", "/usr/bin", "/usr/include", "/usr/libexec", "/usr/local"):
        for where, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(where, name)
                if os.path.islink(path) or os.path.isfile(path) and os.path.getsize(path) <= LARGEST_FILE:
                    yield path


def layers():
    """The image's layers, `Blob`s; fewer bytes when /usr does not hold as many."""
    files, packed, made = usable_files(), 0, []
    while packed < PACKED:
        layer, size = Layer(), 0
        share = min(PACKED / LAYERS, PACKED - packed) / USUAL_RATIO
        for path in files:
            if os.path.islink(path):
                layer.symlink(path, os.readlink(path))
            else:
                layer.copy(path, path)
                size += os.path.getsize(path)
            if size >= share:
                break
        if not size:
            break
        made.append(layer.done())
        packed += made[-1].size
    return made


def push(registry):
    """Pushes it as bench/large:1, and says how large it came out."""
    made = layers()
    registry.push(["bench/large:1"], made, {"Cmd": ["sh"]})
    return {"layers": len(made), "packed": sum(x.size for x in made), "unpacked": sum(x.unpacked_size for x in made)}

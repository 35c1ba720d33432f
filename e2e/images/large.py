"""Images of the sizes of real applications, for measuring pulls: files of this machine's /usr, in layers."""

import os

from layer import Layer

# What such files pack to; only how many files a layer takes depends on it.
USUAL_RATIO = 0.3
LARGEST_FILE = 40 * 1000 * 1000
FOLDERS = ("/usr/lib", "/usr/share", "/usr/bin", "/usr/include", "/usr/libexec", "/usr/local")


def usable_files():
    """The regular files and symbolic links below /usr, in a fixed order."""
    for folder in FOLDERS:
        for where, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(where, name)
                if os.path.islink(path) or os.path.isfile(path) and os.path.getsize(path) <= LARGEST_FILE:
                    yield path


def layer(files, unpacked):
    """A layer of the next files, of so many bytes unpacked; it may exceed them by one file. Fewer when there are no more."""
    made, size = Layer(), 0
    for path in files:
        if os.path.islink(path):
            made.symlink(path, os.readlink(path))
        else:
            made.copy(path, path)
            size += os.path.getsize(path)
        if size >= unpacked:
            break
    return made.done()


def told(layers):
    """How large an image came out."""
    return {"layers": len(layers), "packed": sum(x.size for x in layers), "unpacked": sum(x.unpacked_size for x in layers)}


def push(registry):
    """Pushes the images below bench/, and says how large they came out:

    - layers:1, about 130 MB in seven layers; zstd:1, the same files packed by zstd; sibling:1, all but the last layer
      of it, and another;
    - one:1, one layer of 400 MB unpacked;
    - small:1, forty layers of a megabyte each."""
    files = usable_files()
    many = [layer(files, 130e6 / 7 / USUAL_RATIO) for _ in range(7)]
    other = layer(files, 1e6)
    images = {
        "layers": many,
        "zstd": [x.as_zstd() for x in many],
        "sibling": many[:-1] + [other],
        "small": [layer(files, 1e6) for _ in range(40)],
        "one": [layer(usable_files(), 400e6)],
    }
    for name, layers in images.items():
        registry.push([f"bench/{name}:1"], layers, {"Cmd": ["sh"]}, author=f"Coracle's benchmark: {name}")
    return {name: told(layers) for name, layers in images.items()}

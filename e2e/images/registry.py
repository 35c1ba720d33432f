"""A push client for a plain-HTTP registry on this machine: blobs, OCI configs and manifests."""

import hashlib
import http.client
import json
import re

CREATED = "2026-01-01T00:00:00Z"
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


def digest(data):
    """The digest of bytes, as images name things."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def packed_json(value):
    """The bytes of a value as JSON, always the same for the same value."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


class Registry:
    """A registry at HOST:PORT."""

    def __init__(self, address):
        self._connection = http.client.HTTPConnection(address, timeout=60)

    def _call(self, wanted, method, path, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body=body, headers=headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status not in wanted:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]!r}")
        return answer

    def _push_blob(self, repository, name, size, body):
        """Uploads one blob unless the repository holds it; returns its descriptor without a media type."""
        if self._call((200, 404), "HEAD", f"/v2/{repository}/blobs/{name}").status == 404:
            opened = self._call((202,), "POST", f"/v2/{repository}/blobs/uploads/", Content_Length="0")
            place = re.sub(r"^https?://[^/]+", "", opened.headers["Location"])
            place += ("&" if "?" in place else "?") + "digest=" + name
            self._call((201,), "PUT", place, body, Content_Type="application/octet-stream", Content_Length=str(size))
        return {"digest": name, "size": size}

    def push(self, references, layers, config=None, author="Coracle's tests"):
        """Pushes one image under each of the references (REPOSITORY:TAG).

        `layers` are `Blob`s from the lowest up, `config` what the image's own config says beyond PATH. Images that
        differ in nothing else differ in `author`. Returns the manifest's digest."""
        image = packed_json({
            "created": CREATED, "author": author, "architecture": "amd64", "os": "linux",
            "config": {"Env": [DEFAULT_PATH], **(config or {})},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created": CREATED, "created_by": "e2e/images"} for _ in layers],
        })
        for reference in references:
            repository, tag = reference.rsplit(":", 1)
            manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}
            manifest["config"] = {"mediaType": CONFIG, **self._push_blob(repository, digest(image), len(image), image)}
            for layer in layers:
                layer.file.seek(0)
                pushed = self._push_blob(repository, layer.digest, layer.size, layer.file)
                manifest["layers"].append({"mediaType": layer.media_type, **pushed})
            body = packed_json(manifest)
            self._call((201,), "PUT", f"/v2/{repository}/manifests/{tag}", body, Content_Type=MANIFEST)
        return digest(body)

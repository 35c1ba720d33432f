# shellcheck shell=bash
# Images in the OCI's layout, made without a container engine; the same files make the same image, byte by byte.
# Sourced, never run.

# make_layout LAYOUT ROOT NAME CONFIG: an image of one layer that holds what is below ROOT, as the directory LAYOUT and as
# LAYOUT.tar. CONFIG is the image's own configuration, in JSON.
make_layout() {
	local layout=$1 root=$2 name=$3 blobs=$1/blobs/sha256 layer config manifest diff
	mkdir -p "$blobs"
	archive "$root" "$layout.layer"
	diff=$(sha256 "$layout.layer")
	gzip -n "$layout.layer"
	layer=$(blob "$blobs" "$layout.layer.gz")
	cat >"$layout.config" <<-END
		{"architecture": "$(architecture)", "os": "linux",
		 "config": $4,
		 "rootfs": {"type": "layers", "diff_ids": ["sha256:$diff"]}}
	END
	config=$(blob "$blobs" "$layout.config")
	cat >"$layout.manifest" <<-END
		{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		 "config": $(descriptor application/vnd.oci.image.config.v1+json "$blobs/$config"),
		 "layers": [$(descriptor application/vnd.oci.image.layer.v1.tar+gzip "$blobs/$layer")]}
	END
	manifest=$(blob "$blobs" "$layout.manifest")
	cat >"$layout/index.json" <<-END
		{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
		 $(descriptor application/vnd.oci.image.manifest.v1+json "$blobs/$manifest" \
			", \"annotations\": {\"org.opencontainers.image.ref.name\": \"$name\"}")]}
	END
	echo '{"imageLayoutVersion": "1.0.0"}' >"$layout/oci-layout"
	archive "$layout" "$layout.tar"
}

# archive DIR FILE: what is below DIR, whoever owns it and whenever it was made.
archive() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$1" -cf "$2" .; }

# add_libraries ROOT PROGRAM: the libraries that a program is linked with, at the paths where its loader looks for them.
# A static build has none, and ldd says so by failing.
add_libraries() {
	local library
	{ ldd "$2" || true; } 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
		install -D -m 0755 "$(readlink -f "$library")" "$1$library"
	done
}

sha256() { sha256sum "$1" | cut -d ' ' -f 1; }

# blob DIR FILE: moves a file to where its digest says, and prints the digest.
blob() {
	local digest
	digest=$(sha256 "$2")
	mv "$2" "$1/$digest"
	echo "$digest"
}

# descriptor TYPE BLOB [MORE]: how a layout names a blob.
descriptor() {
	printf '{"mediaType": "%s", "digest": "sha256:%s", "size": %d%s}' "$1" "${2##*/}" "$(stat -c %s "$2")" "${3-}"
}

# architecture: this machine's, as the OCI names it.
architecture() {
	case $(uname -m) in
	x86_64) echo amd64 ;;
	aarch64) echo arm64 ;;
	armv*) echo arm ;;
	i?86) echo 386 ;;
	*) uname -m ;;
	esac
}

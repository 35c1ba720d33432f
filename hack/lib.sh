# shellcheck shell=bash
# What the scripts below hack/ and e2e/ share: messages, the cache, packages, processes.
# Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ROOT
# Everything that is built or fetched for a test lives here, never in the checkout.
export CACHE=${CORACLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coracle}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}

# Prints a line of progress on standard error.
say() { printf '%s\n' "$*" >&2; }

# Prints why the script cannot go on, and ends it.
die() {
	say "error: $*"
	exit 1
}

# Ends the script unless it runs as root.
need_root() { [ "$(id -u)" = 0 ] || die "${0##*/} needs root"; }

# installed PACKAGE: whether dpkg holds it, unpacked and configured.
installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# packages NAME...: installs the Debian packages that are missing.
# The package lists are fetched only when something is missing.
packages() {
	local name log missing=()
	for name in "$@"; do installed "$name" || missing+=("$name"); done
	[ ${#missing[@]} -gt 0 ] || return 0
	need_root
	say "installing ${missing[*]}"
	log=$(mktemp)
	if ! apt_install "${missing[@]}" >"$log" 2>&1; then
		tail -n 30 "$log" >&2
		rm -f "$log"
		die "these packages did not install: ${missing[*]}"
	fi
	rm -f "$log"
}

# apt_install NAME...: one attempt with the lists at hand, two more with fresh ones.
apt_install() {
	local try
	local get=(apt-get -q -y -o DPkg::Lock::Timeout=120 -o APT::Sandbox::User=root)
	export DEBIAN_FRONTEND=noninteractive
	for try in 1 2 3; do
		"${get[@]}" install --no-install-recommends "$@" </dev/null && return 0
		sleep $((2 * try - 2))
		"${get[@]}" update </dev/null || true
	done
	"${get[@]}" install --no-install-recommends "$@" </dev/null
}

# unpacked PACKAGE: prints the directory that holds the files of a Debian package, which is fetched but never
# installed: nothing of it runs by itself, and what the machine has installed does not matter.
unpacked() {
	local dir=$CACHE/debs/$1 get=(apt-get -qq -o APT::Sandbox::User=root)
	if [ ! -d "$dir" ]; then
		say "fetching the package $1"
		rm -rf "$dir.new"
		mkdir -p "$dir.new/root"
		(
			cd "$dir.new"
			"${get[@]}" download "$1" >&2 || { "${get[@]}" update && "${get[@]}" download "$1"; } >&2
			dpkg-deb -x "$1"_*.deb root
		) || die "the package $1 could not be fetched"
		mv "$dir.new" "$dir"
	fi
	echo "$dir/root"
}

# need_rust: cargo on PATH, and what a build takes beside it. rustup fetches the toolchain that rust-toolchain.toml names.
need_rust() {
	packages gcc libc6-dev pkg-config libseccomp-dev protobuf-compiler libprotobuf-dev
	[ -x "$HOME/.cargo/bin/cargo" ] && PATH=$HOME/.cargo/bin:$PATH
	command -v cargo >/dev/null || install_rust
}

install_rust() {
	say "installing Rust with rustup into $HOME/.cargo and $HOME/.rustup"
	packages ca-certificates curl
	curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
		sh -s -- -y --quiet --no-modify-path --profile minimal --default-toolchain none
	PATH=$HOME/.cargo/bin:$PATH
}

# need_go: a Go that can build the test tools; Debian's own is too old.
need_go() {
	local have
	[ -x /usr/local/go/bin/go ] && PATH=$PATH:/usr/local/go/bin
	command -v go >/dev/null || die "go is missing: install Go 1.26 or newer (https://go.dev/dl) and run this again"
	have=$(go env GOVERSION)
	case $have in
	go1.[0-9] | go1.[0-9].* | go1.1[0-9]* | go1.2[0-5]*) die "$have is too old for the test tools: install Go 1.26 or newer" ;;
	esac
}

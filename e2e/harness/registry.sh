# shellcheck shell=bash
# A registry on loopback, Debian's docker-registry, and the configuration that sends a runtime there.
# Sourced, never run; needs hack/lib.sh.

# registry_config STORAGE PORT [read-only]
registry_config() {
	cat <<-END
		version: 0.1
		log: {level: warn, accesslog: {disabled: true}}
		storage: {filesystem: {rootdirectory: $1}, delete: {enabled: true}${3:+, maintenance: {readonly: {enabled: true\}\}}}
		http: {addr: "127.0.0.1:$2"}
	END
}

# start_registry STORAGE PORT LOG [read-only]: starts it, waits for it, and sets REGISTRY_PID.
start_registry() {
	local program try
	program=$(unpacked docker-registry)/usr/bin/docker-registry
	registry_config "$1" "$2" "${4-}" >"$3.yml"
	"$program" serve "$3.yml" >"$3" 2>&1 </dev/null &
	REGISTRY_PID=$!
	for try in {1..100}; do
		python3 -c 'import sys, urllib.request; urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/v2/", timeout=5)' \
			"$2" 2>/dev/null && return 0
		kill -0 "$REGISTRY_PID" 2>/dev/null || break
		sleep 0.1
	done
	tail -n 20 "$3" >&2
	die "the registry did not start (try $try)"
}

# stop_registry
stop_registry() {
	kill "$REGISTRY_PID"
	wait "$REGISTRY_PID" || true
}

# write_mirror DIR HOST PORT [ADDRESS]: a hosts.toml file that sends one registry's images to the registry on PORT, and
# nowhere else when that fails.
write_mirror() {
	local url=http://${4:-127.0.0.1}:$3
	mkdir -p "$1/$2"
	cat >"$1/$2/hosts.toml" <<-END
		server = "$url"
		[host."$url"]
		  capabilities = ["pull", "resolve"]
	END
}

# write_mirrors DIR PORT [ADDRESS]: the same for each of the registries whose images the tests name.
write_mirrors() {
	local host
	for host in registry.k8s.io gcr.io k8s.gcr.io public.ecr.aws; do write_mirror "$1" "$host" "$2" "${3-}"; done
}

#!/bin/bash
# What puts Coracle on nodes: `coracle node` on scratch roots, killed at each step; the image; the Helm chart.
# No cluster: what the chart makes is held to Kubernetes' schemas of three versions, and its templates to their tests.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/lib.sh
. "$here/../../hack/lib.sh"
# shellcheck source=e2e/harness/report.sh
. "$here/../harness/report.sh"
need_root
need_rust
cd "$ROOT"

# JSON schemas of Kubernetes' objects, by version.
readonly SCHEMAS=kubernetes_validate-1.37.0-py3-none-any.whl
readonly SCHEMAS_SUM=85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9
readonly VERSIONS=(1.29.0 1.33.0 1.36.0)

# schemas: prints the directory that has them.
schemas() {
	local dir=$CACHE/schemas-${SCHEMAS_SUM:0:12} new
	if [ ! -d "$dir" ]; then
		say "fetching Kubernetes' schemas"
		new=$dir.new
		rm -rf "$new"
		mkdir -p "$new"
		python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$new" kubernetes-validate==1.37.0 >&2 ||
			die "the schemas could not be fetched"
		echo "$SCHEMAS_SUM  $new/$SCHEMAS" | sha256sum --check --quiet >&2 || die "$SCHEMAS is not the one that is pinned"
		unzip -q "$new/$SCHEMAS" 'kubernetes_validate/kubernetes-json-schema/*' -d "$new"
		rm "$new/$SCHEMAS"
		# They name themselves and each other by addresses; here they are files.
		# shellcheck disable=SC2016 # JSON's, not the shell's
		find "$new" -path '*-strict/*.json' -exec \
			sed -i 's|"/api/_definitions.json#|"_definitions.json#|; s|"$id": "https://kubernetes.io/api/|"$comment": "|' {} +
		mv "$new" "$dir"
	fi
	echo "$dir/kubernetes_validate/kubernetes-json-schema"
}

hack/tools.sh chart promtool
TOOLS=$(hack/tools.sh --dir chart)
PROMTOOL=$(hack/tools.sh --dir promtool)/promtool
SCHEMA_DIR=$(schemas)
WORK=$(mktemp -d "${CORACLE_SCRATCH:-/dev/shm}/coracle-chart.XXXXXX")
leave() {
	rm -rf --one-file-system "$WORK"
	# What a container's group was in, empty by now.
	find /sys/fs/cgroup -maxdepth 2 -type d -name "$CGROUP" | while read -r group; do
		find "$group" -depth -type d -exec rmdir {} ';'
	done
}
trap leave EXIT
readonly CGROUP=coracle-chart
chart=charts/coracle

say "-- the chart"
# complete FILE VERSION: kubeconform on the objects of a file.
complete() {
	"$TOOLS/kubeconform" -strict -summary -skip PodMonitor,PrometheusRule -kubernetes-version "$2" -schema-location \
		"$SCHEMA_DIR/{{.NormalizedKubernetesVersion}}-local{{.StrictSuffix}}/{{.ResourceKind}}{{.KindSuffix}}.json" "$1"
}

for helm in 3 4; do
	for values in "$chart"/ci/*-values.yaml; do
		name=$(basename "$values" -values.yaml)
		check "helm $helm finds nothing to complain about ($name)" "$TOOLS/helm-$helm" lint --strict "$chart" -f "$values"
		for version in "${VERSIONS[@]}"; do
			"$TOOLS/helm-$helm" template release "$chart" -n kube-system -f "$values" --kube-version "$version" \
				>"$WORK/$helm-$name-$version.yaml" 2>"$WORK/helm.log" || tail -n 5 "$WORK/helm.log" >&2
			# Monitor and rules are objects of the operator's, not of Kubernetes'; the tests of the templates look at them.
			check "its objects are Kubernetes $version's (helm $helm, $name)" complete "$WORK/$helm-$name-$version.yaml" "$version"
			check "there is an object to look at (helm $helm, $name, $version)" grep -q '^kind: DaemonSet' "$WORK/$helm-$name-$version.yaml"
		done
	done
done
sed 's/maxUnavailable:/maxUnavailible:/' "$WORK/4-all-1.36.0.yaml" >"$WORK/wrong.yaml"
if complete "$WORK/wrong.yaml" 1.36.0 >/dev/null; then fail "the schemas notice a field that there is not"; else
	pass "the schemas notice a field that there is not"
fi
check "the templates' tests pass" "$TOOLS/helm-unittest" "$chart"
# shellcheck disable=SC2016 # what no shell is to expand
for wrong in image.pullPolicy=Sometimes switch.timeoutSeconds=soon switch.from='$(reboot)' nonsense=1 serviceManager=initd; do
	if "$TOOLS/helm-4" template release "$chart" --set "$wrong" >/dev/null 2>"$WORK/helm.log"; then
		fail "the values' schema refuses $wrong"
	else
		check "the values' schema refuses $wrong" grep -qiE "schema|$(cut -d= -f1 <<<"$wrong")" "$WORK/helm.log"
	fi
done
cp -r "$chart" "$WORK/chart"
"$TOOLS/helm-docs" -c "$WORK/chart" -l error
check "the chart's README is what helm-docs makes" diff -u "$chart/README.md" "$WORK/chart/README.md"
check "the dashboard is JSON" python3 -m json.tool "$chart/dashboards/coracle.json"
check "the dashboard and the alerts ask for metrics that there are" python3 "$here/metrics.py" src "$chart/dashboards/coracle.json" "$chart/alerts/coracle.yaml"
check "Prometheus takes the alerts, and each fires when it is to" "$PROMTOOL" test rules "$here/alerts_test.yaml"

say "-- coracle node"
cargo build --locked --quiet --bin coracle
mkdir "$WORK/node"
rc=0
strip -o "$WORK/coracle" "$CARGO_TARGET_DIR/debug/coracle"
python3 -B "$here/node.py" "$WORK/coracle" src/sys/step/points.rs "$WORK/node" >"$WORK/node.log" 2>&1 || rc=$?
ok=$(grep -c '^ok ' "$WORK/node.log" || true)
[ "$ok" = 0 ] || pass "$ok kills of coracle node lose nothing" "$ok"
[ "$rc" = 0 ] || {
	fail "coracle node is killed at every step"
	grep -v '^ok ' "$WORK/node.log" >&2
}

say "-- the image"
export CORACLE_BINARY=${CORACLE_BINARY:-$WORK/coracle}
check "the image is made" hack/image.sh "$WORK/one" localhost/coracle:test
check "and made again" hack/image.sh "$WORK/two" localhost/coracle:test
check "it is the same, byte by byte" cmp "$WORK/one.tar" "$WORK/two.tar"
coracle() {
	# shellcheck disable=SC2016 # the inner shell's
	unshare --mount --propagation private sh -c 'mount -t tmpfs run /run && exec "$@"' sh \
		"$CORACLE_BINARY" --state-dir "$WORK/state" --run-dir /run/coracle --set "cgroup_parent=/$CGROUP" --set "monitor_cgroup=/$CGROUP/monitors" "$@"
}
check "Coracle imports it" coracle image import "$WORK/one.tar"
check "and runs it" coracle run localhost/coracle:test
finish

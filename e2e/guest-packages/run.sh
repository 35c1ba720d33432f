#!/bin/bash
# The .deb on a machine with systemd: installed, upgraded under a running container, its daemon hung and killed by the watchdog,
# removed and purged. In the virtual machine; what needs no systemd is e2e/packages.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/guest/job.sh
. "$here/../guest/job.sh"

prepare_node
need_guest bookworm

NODE=$(mktemp -d)
trap leave_node EXIT
job=$NODE/job
fill_job "$job"
# They come by the package.
rm "$job/files/usr/bin/coracle" "$job/files/etc/systemd/system/coracle.service"
for revision in 1 2; do
	REVISION=$revision "$ROOT/hack/release.sh" --dirty "$NODE/release-$revision"
	cp "$NODE/release-$revision"/coracle_*.deb "$job/$revision.deb"
done
cp "$here/inside.sh" "$job/"
run_guest "$job" 900
finish

# shellcheck shell=bash disable=SC2154 # variables of run.sh
# The .rpm: installed, upgraded and erased by rpm in a root of its own, where what its scripts ask of systemd is written down.
# Sourced by run.sh.

say "-- the .rpm"
check "rpm finds it whole" rpm -K --nosignature "$rpm"
equal "its configuration is kept by an upgrade" "/etc/coracle/config.toml" "$(rpm -qp --configfiles "$rpm" 2>/dev/null)"

node=$(root rpm)
# There is no database of rpm's that would say what glibc there is.
by_rpm() { rpm --root "$node" --nosignature "$@"; }
mkdir -p "$node/run/systemd/system"
cat >"$node/usr/bin/systemctl" <<-'END'
	#!/bin/sh
	echo "$*" >>/asked
END
chmod 755 "$node/usr/bin/systemctl"
# asked: what was asked of systemd since the last time.
asked() { paste -sd ';' "$node/asked" && rm "$node/asked"; }

check "it installs" by_rpm -i --nodeps "$rpm"
equal "whether it is enabled is the preset's to say" "--no-reload preset coracle.service" "$(asked)"
equal "the program runs" "coracle $version" "$(on coracle --version)"
check "its configuration is good" on coracle config check
equal "rpm finds nothing changed" "" "$(by_rpm -V --nodeps coracle | grep -v '  d ' || true)"
echo 'state_dir = "/srv/coracle"' >>"$node/etc/coracle/config.toml"
mkdir -p "$node/var/lib/coracle"
check "it is upgraded" by_rpm -U --nodeps "$WORK/two/coracle-$version-2.x86_64.rpm"
equal "a daemon that runs is restarted" "daemon-reload;try-restart coracle.service" "$(asked)"
equal "rpm has the other" "coracle-$version-2.x86_64" "$(by_rpm -q coracle)"
check "the configuration is the operator's still" grep -q '"/srv/coracle"' <(on coracle config dump)
check "it is erased" by_rpm -e coracle
equal "the daemon is stopped" "--no-reload disable --now coracle.service" "$(asked)"
equal "its files are gone" "" "$(find "$node/usr" -name '*coracle*')"
check "what the operator wrote stays" grep -q /srv/coracle "$node/etc/coracle/config.toml.rpmsave"
check "and what containers are in" test -d "$node/var/lib/coracle"

# shellcheck shell=bash disable=SC2154,SC2016 # variables of run.sh; the other shell expands
# The .deb: looked at by lintian, installed, upgraded, removed and purged, in a root without systemd.
# Sourced by run.sh.

say "-- the .deb"
# What is meant to be so: a package of our own is not one of Debian's archive.
lintian --no-cfg --tag-display-limit 0 --suppress-tags "$(grep -v '^#' "$here/lintian-tags" | cut -f 1 | paste -sd ,)" "$deb" >"$WORK/lintian.log" 2>&1 || true
equal "lintian has nothing to say" "" "$(grep -E '^[EW]:' "$WORK/lintian.log" || true)"

node=$(root deb)
# on COMMAND...: there. What the shell here has in its environment means nothing to a node.
on() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive chroot "$node" "$@"; }
state() { on dpkg-query -W -f '${db:Status-Status} ${Version}' coracle 2>/dev/null; }
cp "$deb" "$WORK/two/coracle_$version-2_amd64.deb" "$node/tmp/"
mkdir -p "$node/etc"
echo "# theirs" >"$node/etc/crictl.yaml"
equal "the root has no libseccomp" "" "$(find "$node/usr" -name 'libseccomp*')"

check "it installs" on dpkg -i "/tmp/coracle_$version-1_amd64.deb"
equal "dpkg has it" "installed $version-1" "$(state)"
equal "the program runs" "coracle $version" "$(on coracle --version)"
check "its configuration is good" on coracle config check
equal "and changes no default" "$(on coracle --config /dev/null config dump)" "$(on coracle config dump)"
equal "the unit is enabled" /lib/systemd/system/coracle.service "$(readlink "$node/etc/systemd/system/multi-user.target.wants/coracle.service" | sed 's|^/usr||')"
equal "dpkg finds nothing changed" "" "$(on dpkg --verify coracle)"

echo 'state_dir = "/srv/coracle"' >>"$node/etc/coracle/config.toml"
mkdir -p "$node/var/lib/coracle"
echo kept >"$node/var/lib/coracle/records"
check "it is upgraded" on dpkg --force-confdef -i "/tmp/coracle_$version-2_amd64.deb"
equal "dpkg has the other" "installed $version-2" "$(state)"
check "the configuration is the operator's still" grep -q '"/srv/coracle"' <(on coracle config dump)
rm "$node/etc/systemd/system/multi-user.target.wants/coracle.service"
check "it is put in again" on dpkg --force-confdef -i "/tmp/coracle_$version-2_amd64.deb"
equal "a unit that was disabled stays so" "" "$(find "$node/etc/systemd/system" -name 'coracle*')"

check "it is removed" on dpkg -r coracle
equal "its files are gone" "" "$(find "$node/usr" -name '*coracle*')"
check "the configuration stays" test -s "$node/etc/coracle/config.toml"
check "it is purged" on dpkg -P coracle
equal "the configuration is gone" "" "$(find "$node/etc" -name '*coracle*')"
equal "what containers and images are in stays" kept "$(cat "$node/var/lib/coracle/records")"
equal "crictl's configuration was never touched" "# theirs" "$(cat "$node/etc/crictl.yaml")"
check "it installs once more" on dpkg -i "/tmp/coracle_$version-2_amd64.deb"
equal "and runs" "coracle $version" "$(on coracle --version)"

# The archive, on a root of its own.
node=$(root archive)
check "the archive is unpacked" tar -C "$node" -xzf "$WORK/one/coracle-$version-linux-amd64.tar.gz"
equal "and its program runs" "coracle $version" "$(on coracle --version)"

# shellcheck shell=bash disable=SC2154,SC2015 # variables of run.sh; both arms are told
# What the packages hold: the same files in each, the unit, the manual, completions.
# Sourced by run.sh.

say "-- what is in the packages"
# files: names on standard input, without directories, documents, and what each kind of package has elsewhere.
files() { sed 's|^\./|/|' | grep -v -e '/$' -e ^/usr/share/doc/ -e ^/usr/share/licenses/ -e /zsh/ | sort; }
# paths: the same of an archive on standard input.
paths() { tar -tf - | files; }

dpkg-deb --fsys-tarfile "$deb" | paths >"$WORK/deb.files"
for file in /usr/bin/coracle /usr/lib/systemd/system/coracle.service /usr/lib/modules-load.d/coracle.conf /usr/lib/sysctl.d/50-coracle.conf \
	/etc/coracle/config.toml /usr/share/man/man8/coracle.8.gz /usr/share/man/man8/coracle-image-pull.8.gz \
	/usr/share/man/man5/coracle-config.toml.5.gz /usr/share/bash-completion/completions/coracle; do
	check "there is $file" grep -qxF "$file" "$WORK/deb.files"
done
equal "none has /etc/crictl.yaml" 0 "$(grep -c crictl "$WORK/deb.files" || true)"
equal "the rpm has the same files" "$(cat "$WORK/deb.files")" "$(rpm -qlp "$rpm" 2>/dev/null | files)"
equal "the archive has them but for /etc" "$(grep -v ^/etc "$WORK/deb.files")" "$(gzip -dc "$WORK/one/coracle-$version-linux-amd64.tar.gz" | paths)"
equal "root owns them all" "" "$(dpkg-deb -c "$deb" | grep -vE ' (root/root|0/0) ' || true)"

# quiet PROGRAM...: passes when it has nothing to say on standard error.
quiet() {
	local said
	said=$("$@" 2>&1 >/dev/null) && [ -z "$said" ] || { echo "$said" && return 1; }
}

mkdir "$WORK/tree"
dpkg-deb -x "$deb" "$WORK/tree"
program=$WORK/tree/usr/bin/coracle
equal "the program needs glibc and libgcc alone" "" "$(readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vE '^(libc|libm|libgcc_s|ld-linux-x86-64)\.so' || true)"
equal "the unit is the one of hack/" "$(cat hack/coracle.service)" "$(cat "$WORK/tree/usr/lib/systemd/system/coracle.service")"
# What the daemon has, its containers would have.
equal "it has nothing that containers would inherit" "" "$(grep -E '^(NoNewPrivileges|Protect|Private|Restrict|SystemCall|Capability|AmbientCap|ReadOnly|ReadWrite|Inaccessible|TemporaryFileSystem|Lock|MemoryDeny|MountFlags|RootDirectory|User|SecureBits|DynamicUser)' hack/coracle.service || true)"
sed "s|/usr/bin/coracle|$program|" hack/coracle.service >"$WORK/coracle.service"
check "systemd understands it all" quiet systemd-analyze verify --man=no "$WORK/coracle.service"

bad=''
for page in "$WORK"/tree/usr/share/man/man?/*.gz; do
	MANWIDTH=100 quiet man --warnings -E UTF-8 -l "$page" >"$WORK/man.log" || bad+=" ${page##*/}: $(head -n 1 "$WORK/man.log")"
done
equal "man shows each page without a complaint" "" "$bad"
check "the manual tells what a command does" grep -q 'stays with it, without a daemon' <(man -l "$WORK/tree/usr/share/man/man8/coracle.8.gz" 2>/dev/null | tr -s ' \n' ' ')
check "and a key of the configuration" grep -q 'state_dir = "/var/lib/coracle"' <(man -l "$WORK/tree/usr/share/man/man5/coracle-config.toml.5.gz" 2>/dev/null)
# shellcheck disable=SC2016 # the inner shell's
equal "bash completes a command" "image images" "$(bash -c '. "$1"; COMP_WORDS=(coracle imag) COMP_CWORD=1 COMP_LINE="coracle imag"; _coracle coracle imag coracle; echo "${COMPREPLY[*]}"' bash "$WORK/tree/usr/share/bash-completion/completions/coracle")"
check "zsh reads its completions" zsh -n "$WORK/tree/usr/share/zsh/vendor-completions/_coracle"
equal "fish completes a command" "image images" "$(HOME=$WORK fish -c "source $WORK/tree/usr/share/fish/vendor_completions.d/coracle.fish; complete -C 'coracle imag'" | cut -f 1 | sort | xargs)"

#!/bin/sh
# Installs what lies beside it into / (or into the directory that DESTDIR names). Configuration that is there stays; the one that
# comes with this version is put beside it as FILE.new. Run again with another version to upgrade, or to go back.
set -eu
cd "$(dirname "$0")"
destination=${DESTDIR:-}

upgrade=
[ ! -e "$destination/usr/bin/mezzo" ] || upgrade=yes
find usr lib -type d | while read -r path; do install -d "$destination/$path"; done
find usr lib -type l | while read -r path; do ln -sfn "$(readlink "$path")" "$destination/$path"; done
# Aside first: a program that runs cannot be written to, but it can be replaced.
find usr lib -type f | while read -r path; do
    cp -p "$path" "$destination/$path.mezzo-new"
    mv -f "$destination/$path.mezzo-new" "$destination/$path"
done
find etc -type f | while read -r path; do
    install -d "$destination/${path%/*}"
    if [ ! -e "$destination/$path" ]; then
        cp -p "$path" "$destination/$path"
    elif ! cmp -s "$path" "$destination/$path"; then
        cp -p "$path" "$destination/$path.new"
    fi
done
[ -n "$destination" ] || sh ./postinst configure "$upgrade"

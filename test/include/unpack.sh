#!/bin/bash
# test/include/unpack.sh FOLDER [--optional] NAME...: Debian's packages postgresql-MAJOR-NAME
# for the server of PG_CONFIG, unpacked into the folder; those after --optional only if the
# archive has them for that version.
set -euo pipefail

folder=$1
shift
major=$("${PG_CONFIG:-pg_config}" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
[ "$(cat "$folder/.complete" 2> /dev/null)" != "$major $*" ] || exit 0
packages=() optional=
for name; do
	if [ "$name" = --optional ]; then optional=yes
	elif [ -z "$optional" ] || apt-cache show "postgresql-$major-$name" > /dev/null 2>&1; then
		packages+=("postgresql-$major-$name")
	fi
done
echo "fetching ${packages[*]}"
rm -rf "$folder"
mkdir -p "$folder/packages"
# Root's downloads are an unprivileged user's, who may not come here.
(cd "$folder/packages" && apt-get download -qq "${packages[@]}" 2>&1 |
	grep -v '^W: Download is performed unsandboxed' >&2) || true
for package in "$folder"/packages/*.deb; do
	dpkg-deb -x "$package" "$folder"
done
rm -r "$folder/packages"
echo "$major $*" > "$folder/.complete"

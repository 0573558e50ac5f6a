# For tests of programs of others: server_with FOLDER makes a copy of the server of
# PG_CONFIG with what packages have that are unpacked there, and leads PG_CONFIG to it.
# An extension is found in the server's own folders only (tools/private-server says more).
# The copy is gone when the script ends. A server that cannot be copied is left out.
# shellcheck shell=bash

server_with() {
	local config bindir pkglibdir sharedir
	config=$(command -v "${PG_CONFIG:-pg_config}")
	server_copy=$(mktemp -d "${TMPDIR:-/tmp}/cache_notify.XXXXXX")
	trap 'rm -rf "$server_copy"' EXIT
	bindir=$("$config" --bindir) pkglibdir=$("$config" --pkglibdir) sharedir=$("$config" --sharedir)
	mkdir -p "$server_copy"{"$bindir","$pkglibdir","$sharedir"}
	cp -L "$bindir"/* "$server_copy$bindir"
	cp -rs "$pkglibdir"/. "$server_copy$pkglibdir"
	cp -rs "$sharedir"/. "$server_copy$sharedir"
	cp "$1"/usr/lib/postgresql/*/lib/*.so "$server_copy$pkglibdir"
	cp "$1"/usr/share/postgresql/*/extension/* "$server_copy$sharedir/extension"
	[ ! -d "$(echo "$1"/usr/lib/postgresql/*/bin)" ] || cp "$1"/usr/lib/postgresql/*/bin/* "$server_copy$bindir"
	export PG_CONFIG=$server_copy$bindir/pg_config
	if [ "$("$PG_CONFIG" --pkglibdir)" != "$server_copy$pkglibdir" ]; then
		echo "1..0 # SKIP this server does not move along with its programs"
		exit
	fi
}

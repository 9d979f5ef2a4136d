#!/bin/sh
# Says in one sentence what to do when there is no go command, or one of a release
# that Grim does not build with. It is a script because a go command that is too old
# builds nothing here that could say so.
set -eu
cd "$(dirname "$0")/.."
releases=boot/overlay/releases
names=$(awk '!/^#/ { all = all sep $1; sep = " or " } END { print all }' $releases)
newest=$(tail -n 1 $releases | cut -d ' ' -f 2)
least=$(sed -n 's/^go //p' go.mod)	# a patch of the oldest release
what="Grim builds with Go $names (from $least on): install one of these"

fail() { echo "$*" >&2; exit 1; }

command -v go > /dev/null || fail "There is no go command here, and $what."
# An old go command that may fetch others fetches the one of go.mod now. If it may not,
# it tells its own version. If it tried in vain, it is asked for that.
found=$(go env GOVERSION 2> /dev/null) || found=$(GOTOOLCHAIN=local go env GOVERSION)
# "devel go1.27-abcdef", go1.27rc1 and go1.27.3 are all of release 1.27.
release=$(echo "$found" | sed -n 's/.*go\(1\.[0-9]*\).*/\1/p')
patch=$(echo "$found" | sed -n 's/^go1\.[0-9]*\.\([0-9]*\).*/\1/p')
if grep -q "^${release:-none} " $releases &&
	{ [ "$release" != "${least%.*}" ] || [ "${patch:-0}" -ge "${least##*.}" ]; }; then
	exit 0
fi
fail "This go command is $found, but $what, or set GOTOOLCHAIN=$newest and the go command fetches it."

#!/bin/sh
# Installs the packages of the programs that are missing. Usage: install.sh BINARY...
# (qemu-system-x86_64, qemu-system-aarch64, spin, gcc, mke2fs). Uses sudo when not root.
set -eu
pkgs=
for bin; do
	command -v "$bin" > /dev/null && continue
	case $bin in
	qemu-system-x86_64) pkgs="$pkgs qemu-system-x86" ;;
	qemu-system-aarch64) pkgs="$pkgs qemu-system-arm" ;;
	spin) pkgs="$pkgs spin" ;;
	mke2fs) pkgs="$pkgs e2fsprogs" ;;
	gcc) pkgs="$pkgs gcc libc6-dev" ;;
	*) echo "install.sh: no package known for $bin" >&2; exit 2 ;;
	esac
done
[ -n "$pkgs" ] || exit 0
if ! command -v apt-get > /dev/null; then
	echo "install.sh: install$pkgs (the names in Debian) with your system's package manager" >&2
	exit 1
fi
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "install.sh: installing$pkgs with $sudo apt-get"
$sudo apt-get -qq update
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $pkgs > /dev/null

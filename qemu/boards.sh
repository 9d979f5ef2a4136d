#!/bin/sh
# Fetches what the board machines need beyond QEMU itself, unpacked below
# build/boards, where nothing else of the system sees it. Needs Debian's apt, no
# root rights. Usage: boards.sh WHAT...
#   trees   device trees of real boards, from Debian's kernel package for arm64
#   uboot   U-Boot for QEMU's virt machine
#   efi     UEFI firmware for the same
#   qemu10  a QEMU with newer boards, from Debian's backports, if the installed one is older
set -eu
cd "$(dirname "$0")/.."
dir=$PWD/build/boards
trees='broadcom/bcm2837-rpi-3-b.dtb broadcom/bcm2711-rpi-4-b.dtb freescale/imx8mp-evk.dtb xilinx/zynqmp-zcu102-rev1.0.dtb'

fail() { echo "boards.sh: $1" >&2; exit 1; }

# apt with lists of its own for one suite and architecture, so that the system's
# are left alone. The mirror and the release are the system's. 3 minutes at most.
apt() {
	suite=$1 arch=$2 tool=$3
	shift 3
	mkdir -p "$dir/apt/$suite-$arch/lists/partial" "$dir/apt/$suite-$arch/archives/partial"
	echo "deb [arch=$arch] $mirror $suite main" > "$dir/apt/$suite-$arch/sources"
	timeout 180 "$tool" -qq -o Dir::Etc::sourcelist="$dir/apt/$suite-$arch/sources" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::lists="$dir/apt/$suite-$arch/lists" -o Dir::Cache="$dir/apt/$suite-$arch" \
		-o APT::Architecture="$host" -o APT::Architectures::="$host" -o APT::Architectures::="$arch" \
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

# fetch SUITE ARCH PACKAGE...: the packages' files into the current folder.
fetch() {
	suite=$1 arch=$2
	shift 2
	echo "boards.sh: fetching $*"
	apt "$suite" "$arch" apt-get update
	apt "$suite" "$arch" apt-get download "$@" 2> apt.err || { cat apt.err >&2; fail "cannot fetch $*"; }
}

setup() {
	command -v apt-get > /dev/null || fail "no apt-get here: put by hand into $dir what boot/BOARDS.md lists"
	# shellcheck disable=SC1091
	release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null | grep -v '^#' |
		grep -o '[a-z]*://[^ ]*/debian/*\( \|$\)' | head -n 1 | tr -d ' ')
	[ -n "$release" ] && [ -n "$mirror" ] || fail "this is not a Debian with its own mirror: put by hand into $dir what boot/BOARDS.md lists"
	host=$(dpkg --print-architecture)
}

get_trees() {
	for t in $trees; do [ -e "$dir/dtb/${t#*/}" ] || { missing=1; break; }; done
	[ -n "${missing:-}" ] || return 0
	setup
	apt "$release" arm64 apt-get update
	kernel=$(apt "$release" arm64 apt-cache depends linux-image-arm64:arm64 | sed -n 's/.*Depends: \(linux-image-[^:]*\).*/\1/p' | head -n 1)
	[ -n "$kernel" ] || fail "the distribution has no linux-image-arm64"
	fetch "$release" arm64 "$kernel:arm64"
	mkdir -p "$dir/dtb"
	dpkg-deb --fsys-tarfile ./*.deb | tar -x --wildcards $(for t in $trees; do echo "./usr/lib/linux-image-*/$t"; done)
	find usr -name '*.dtb' -exec cp {} "$dir/dtb" \;
}

unpack() { for f in ./*.deb; do dpkg-deb -x "$f" "$dir/$1"; done; }

get_uboot() {
	[ -e "$dir/uboot/usr/lib/u-boot/qemu_arm64/u-boot.bin" ] && return
	setup; fetch "$release" "$host" u-boot-qemu; unpack uboot
}

get_efi() {
	[ -e "$dir/efi/usr/share/qemu-efi-aarch64/QEMU_EFI.fd" ] && return
	setup; fetch "$release" "$host" qemu-efi-aarch64; unpack efi
}

# Its libraries are those that the release's own QEMU has installed.
get_qemu10() {
	[ -e "$dir/qemu10/usr/bin/qemu-system-aarch64" ] && return
	have=$(qemu-system-aarch64 --version 2> /dev/null | sed -n 's/.* version \([0-9]*\)\..*/\1/p')
	[ "${have:-0}" -lt 10 ] || return 0
	setup; fetch "$release-backports" "$host" qemu-system-arm qemu-system-common qemu-system-data; unpack qemu10
	"$dir/qemu10/usr/bin/qemu-system-aarch64" --version > /dev/null || fail "the backported QEMU does not start"
}

for what; do
	tmp=$dir/tmp.$what
	rm -rf "$tmp"
	mkdir -p "$tmp"
	case $what in
	trees | uboot | efi | qemu10) (cd "$tmp" && "get_$what") ;;
	*) fail "WHAT is trees, uboot, efi or qemu10, not $what" ;;
	esac
	rm -rf "$tmp"
done
rm -rf "$dir/apt"

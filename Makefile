# Grim. `make help` lists the targets; every variable can be given on the command line.

ARCH       ?= amd64
MACHINE    ?=
LAYOUT     ?= shared
EXIT       ?= purge
MEM        ?= 256M
CPUS       ?= 2
BOARD      ?=
EARLY      ?=
APPEND     ?=
QEMU_EXTRA ?=
PROGRAM    ?=
ARGS       ?=
ROOTFS     ?=
PACKAGES   ?= bash coreutils procps sqlite3 python3-minimal usr-is-merged
TIMEOUT    ?= 300
LOG        ?=
DEBUG      ?=
TAGS       ?=
SIXTH      ?=
PGO        ?= kernel/calls.pprof
CLAIM      ?=
SHELL_BOOT ?=
DISK       ?=
NET        ?=
SHARE      ?=
MAIN       ?= ./kernel/grim
ICOUNT     ?= $(if $(PROGRAM)$(ROOTFS)$(SHELL_BOOT)$(DISK)$(NET)$(SHARE),,1)

GO := go
comma := ,
# TAGS=wronghalf, wrongroot and wrongwake build kernels that are broken on purpose, SIXTH=1 one
# with the exit design that is the example of qemu/LAB.md.
B  := build/$(ARCH)$(if $(DEBUG),-debug)$(if $(TAGS),-$(TAGS))$(if $(SIXTH),-sixth)
QEMU := $(if $(filter arm64,$(ARCH)),qemu-system-aarch64,qemu-system-x86_64)

# The kernel's text starts 2 MB into its window, 0xffffffff80200000, on arm64 behind
# a page for the header, so that the image itself starts a 2 MB block. The linker's
# -T takes the address as a signed number only; -R rounds segments to a page, not to
# the 64 KB of arm64 that would move the text.
LINK_amd64 := -T -2145386496
LINK_arm64 := -T -2145382400 -R 4096
# boot/mkoverlay makes the GOROOT. Its own go command must not start another
# toolchain, which would take another GOROOT. GOARM64 and GOAMD64 of the user's are for
# his own CPU; the kernel has to run on the first of each architecture.
KERNEL_ROOT  := $(CURDIR)/$(B)/overlay/_goroot
KERNEL_GO    := GOROOT=$(KERNEL_ROOT) GOTOOLCHAIN=local GOOS=linux GOARCH=$(ARCH) GOARM64=v8.0 GOAMD64=v1 CGO_ENABLED=0 $(KERNEL_ROOT)/bin/go
KERNEL_FLAGS := -trimpath -pgo=$(if $(PGO),$(CURDIR)/$(PGO),off) -modfile=$(B)/go.mod -tags tamago$(if $(DEBUG),$(comma)grimdebug)$(if $(TAGS),$(comma)$(TAGS))$(if $(SIXTH), -overlay $(B)/sixth/overlay.json)

RUN = $(GO) build -o build/bin/qemu-run ./qemu/run && build/bin/qemu-run -arch $(ARCH) -machine "$(MACHINE)" -mem $(MEM) -cpus $(CPUS) -timeout $(TIMEOUT)s \
	-kernel $(B)/$(notdir $(MAIN)) -initrd $(INITRD) -qemu "$(QEMU_EXTRA)" $(if $(filter 1,$(ICOUNT)),-icount) \
	$(if $(INTERACTIVE),-interactive) $(if $(DISK),-disk "$(DISK)") $(if $(NET),-net "$(NET)") $(if $(SHARE),-share "$(SHARE)") -append "layout=$(LAYOUT) exit=$(EXIT) $(APPEND) $(FIRST)"

# Without PROGRAM and ROOTFS the kernel runs its tests. A tree's own /init is the first
# process, or a program of it, or an init of ours that starts a shell.
PROGRAM_IN  = $(if $(ROOTFS),$(PROGRAM),/bin/$(notdir $(PROGRAM)))
INTERACTIVE = $(if $(PROGRAM),,$(ROOTFS)$(SHELL_BOOT))
FIRST       = $(if $(PROGRAM),init=$(PROGRAM_IN) selftest=none -- $(ARGS),$(if $(INTERACTIVE),selftest=none -- shell {size} {term}))
INITRD      = $(B)/$(if $(PROGRAM)$(ROOTFS),program.cpio,$(if $(SHELL_BOOT),shell.cpio,initramfs.cpio))

.DEFAULT_GOAL := help
.PHONY: lab worker debate help go-check powercut soak disk qemu-shell rootfs qemu-run qemu-gdb test image sdcard report kernel initramfs qemu-install lab-kernels bench compare profile pgo model test-programs lint clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24
	@echo
	@echo "  variables: ARCH=amd64|arm64 MACHINE= LAYOUT=shared|separate MEM=256M"
	@echo "             EXIT=purge|reaper|inline|parent|eager: exit design; the last two are unsound on purpose"
	@echo "             CPUS=2: CPUs that the machine has; the kernel runs on two of them, or on up to N with APPEND=cpus=N"
	@echo "             MAIN=./kernel/grim: the main package of the kernel, which may be one of your own"
	@echo "             DISK=file: the machine has a disk, /dev/vda; make disk makes one"
	@echo "             NET=1: the machine has a network; NET=8080:80 leads port 8080 of the host to port 80 of it"
	@echo "             SHARE=dir: a directory of the host, on /host"
	@echo "             APPEND='kernel arguments' QEMU_EXTRA= TIMEOUT=seconds PROGRAM=file ARGS='...'"
	@echo "             ROOTFS=directory or newc archive: the tree to boot, and that PROGRAM is in"
	@echo "             MACHINE= of arm64: virt virt-gicv3 virt-el2 virt-uboot virt-uboot-imx8mp virt-uefi"
	@echo "                      raspi3b raspi3b-pl011 raspi4b imx8mp-evk xlnx-zcu102"
	@echo "                      xlnx-zcu102-el2; of amd64: q35 microvm"
	@echo "             EARLY=pl011@ADDRESS and others, or semihosting: early output of an arm64 kernel (boot/BOARDS.md)"
	@echo "             DEBUG=1: every frame's owner is known and checked"
	@echo "             ICOUNT=1: a nanosecond is an instruction (the default without PROGRAM); 0: wall time"

qemu-run: qemu-install kernel initramfs ## build, boot in QEMU, run the self-tests and init (or PROGRAM, or ROOTFS)
	@$(RUN)

qemu-shell: ## an interactive shell on the serial console: Debian's busybox, or the shell of ROOTFS
	@$(MAKE) --no-print-directory qemu-run SHELL_BOOT=1 PROGRAM=

lab: go-check ## a kernel that is a web server and shows exits live: http://localhost:8080 (NET=8080:80 MEM=512M ARCH=)
	@$(MAKE) --no-print-directory worker
	@echo "http://localhost:$(firstword $(subst :, ,$(or $(NET),8080:80))) when the kernel says that the web server answers; ^C ends it"
	@$(MAKE) --no-print-directory qemu-run MAIN=./kernel/lab PROGRAM=$(B)/worker ARGS= NET=$(or $(NET),8080:80) TIMEOUT=864000 \
		$(if $(filter file default,$(origin MEM)),MEM=512M)

worker: go-check
	@mkdir -p $(B)
	@CGO_ENABLED=0 GOOS=linux GOARCH=$(ARCH) $(GO) build -trimpath -ldflags "-s -w -E grim/user/bare.start" -o $(B)/worker ./user/worker

rootfs: go-check ## a tree of Debian's bash, coreutils, procps, sqlite3, python3 (PACKAGES=) for ROOTFS=
	@mkdir -p $(B)
	@$(GO) run ./user/pack -arch $(ARCH) -debian "$(PACKAGES)" -o $(B)/rootfs.cpio

qemu-gdb: qemu-install kernel initramfs ## the same, waiting for gdb
	@echo "In another terminal: gdb-multiarch $(B)/grim.elf -ex 'set substitute-path grim .' -ex 'target remote :1234'"
	@$(RUN) -gdb

test: go-check ## host tests with the race detector, builds with both releases of Go, all boots
	@qemu/install.sh qemu-system-x86_64 qemu-system-aarch64
	@qemu/boards.sh trees uboot efi
	@$(MAKE) --no-print-directory kernel initramfs ARCH=amd64 PROGRAM=
	@$(MAKE) --no-print-directory kernel initramfs ARCH=arm64 PROGRAM=
	@$(MAKE) --no-print-directory kernel initramfs ARCH=arm64 PROGRAM= DEBUG=1
	@$(MAKE) --no-print-directory kernel initramfs ARCH=amd64 PROGRAM= SIXTH=1
	@$(GO) build -o build/bin/suite ./qemu/suite && MAKE="$(MAKE)" build/bin/suite

soak: go-check ## a mixed load on all CPUs, in parallel, both architectures at once (MINUTES=3 CPUS=4 SEED=n ARCH=; EXITS=100000: so many exits on each CPU instead)
	@$(MAKE) --no-print-directory lab-kernels ARCHS="$(ARCHS)"
	@for a in $(ARCHS); do $(MAKE) --no-print-directory initramfs ARCH=$$a PROGRAM= || exit 1; done
	@$(GO) build -o build/bin/qemu-run ./qemu/run
	@pids=; for a in $(ARCHS); do \
		build/bin/qemu-run -arch $$a -mem 512M -cpus $(SOAK_CPUS) -timeout $(if $(EXITS),3600,$$(($(MINUTES) * 90 + 300)))s -kernel build/$$a/grim \
			-initrd build/$$a/initramfs.cpio -log build/logs/soak-$$a.log \
			-append "cpus=$(SOAK_CPUS) selftest=soak/ $(if $(EXITS),exits=$(EXITS),soak=$$(($(MINUTES) * 60))s) $(if $(SEED),seed=$(SEED)) $(APPEND)" >/dev/null 2>&1 & pids="$$pids $$!"; \
	done; ok=true; for p in $$pids; do wait $$p || ok=false; done; \
	grep -a -e soak -e passed -e panic $(foreach a,$(ARCHS),build/logs/soak-$(a).log); $$ok

powercut: go-check ## 200 power cuts of a machine at work on its disk (CUTS=n SEED=n ARCH=)
	@PATH="$$PATH:/sbin:/usr/sbin" qemu/install.sh $(QEMU) mke2fs
	@$(MAKE) --no-print-directory kernel PROGRAM=
	@CGO_ENABLED=0 GOOS=linux GOARCH=$(ARCH) $(GO) build -o $(B)/disk ./user/disk
	@$(GO) run ./user/pack -arch $(ARCH) -program $(B)/disk -o $(B)/disk.cpio
	@$(GO) run ./qemu/powercut -arch $(ARCH) -kernel $(B)/grim -initrd $(B)/disk.cpio -n $(or $(CUTS),200) $(if $(SEED),-seed $(SEED))

disk: ## an image of a disk with a tree: FROM=dir (SIZE=64M DISK=build/disk.img)
	@PATH="$$PATH:/sbin:/usr/sbin" qemu/install.sh mke2fs
	@[ -d "$(FROM)" ] || { echo "make disk: FROM= is the folder that the disk is to hold"; exit 1; }
	@mkdir -p build; PATH="$$PATH:/sbin:/usr/sbin" mke2fs -q -F -t ext4 -O ^has_journal -d "$(FROM)" $(or $(DISK),build/disk.img) $(or $(SIZE),64M)
	@echo "$(or $(DISK),build/disk.img): make qemu-run DISK=$(or $(DISK),build/disk.img); mount /dev/vda in it, or APPEND=root=vda"

image: kernel ## the bootable file (arm64: Linux boot protocol's Image and EFI application)
	@if [ $(ARCH) = arm64 ]; then cp $(B)/grim $(B)/Image && echo $(B)/Image; else echo $(B)/grim; fi

sdcard: ## a card or stick for BOARD=rpi3|rpi4|imx8mp|zcu102|efi; boot/BOARDS.md tells more
	@$(MAKE) --no-print-directory kernel initramfs ARCH=arm64 PROGRAM= DEBUG=
	@$(GO) run ./boot/mkcard -board "$(BOARD)" -image build/arm64/grim -initrd build/arm64/initramfs.cpio \
		-append "$(strip layout=$(LAYOUT) exit=$(EXIT) $(APPEND))" -o build/grim-$(BOARD).img
	@echo "build/grim-$(BOARD).img: write it to a card; README.txt in it says what to add"

report: go-check ## what a report of a boot on a board needs: BOARD='...' LOG=serial output
	@$(GO) run ./boot/report -board "$(BOARD)" $(LOG)

# What every target that runs the go command starts with.
go-check:
	@boot/checkgo.sh

kernel: go-check
	@echo "kernel $(ARCH)$(if $(DEBUG), with checks)"
	@$(GO) run ./boot/mkoverlay -arch $(ARCH) -o $(B)/overlay
	@$(if $(SIXTH),$(GO) run ./qemu/sixth -o $(B)/sixth >/dev/null)
	@$(KERNEL_GO) build $(KERNEL_FLAGS) -ldflags "$(LINK_$(ARCH))" -o $(B)/$(notdir $(MAIN)).elf $(MAIN)
	@$(GO) run ./boot/mkimage -arch $(ARCH) $(if $(EARLY),-early $(EARLY)) $(if $(filter-out ./kernel/grim,$(MAIN)),-most 24) -o $(B)/$(notdir $(MAIN)) $(B)/$(notdir $(MAIN)).elf

initramfs: go-check
	@echo "initramfs $(ARCH)"
	@$(GO) run ./user/pack -arch $(ARCH) $(if $(PROGRAM),-program "$(PROGRAM)") $(if $(SHELL_BOOT),-shell) \
		$(if $(ROOTFS),-rootfs "$(ROOTFS)") -o $(INITRD)

qemu-install: go-check
	@qemu/install.sh $(QEMU)
	@qemu/boards.sh $(shell $(GO) run ./qemu/run -arch $(ARCH) -machine "$(MACHINE)" -needs)

# The mixed load needs several CPUs.
MINUTES   ?= 3
EXITS     ?=
SOAK_CPUS := $(if $(filter file default,$(origin CPUS)),4,$(CPUS))

# What the laboratory runs on: both architectures unless ARCH is given.
ARCHS   := $(if $(filter file default,$(origin ARCH)),amd64 arm64,$(ARCH))
CASE     ?=
WORLD    ?=
REPS     ?=
INTO     ?=
FROM     ?=
MODEL    ?=
CORES    ?=
LAB      = $(GO) run ./qemu/lab $(1) -arch "$(ARCHS)" $(if $(CASE),-case $(CASE)) $(if $(REPS),-n $(REPS)) \
	$(if $(INTO),-into $(INTO)) $(if $(FROM),-from $(FROM)) $(if $(APPEND),-append "$(APPEND)") \
	$(if $(filter-out file default,$(origin CPUS)),-cpus $(CPUS)) \
	$(if $(MODEL),-model $(if $(CORES),-cores "$(CORES)"))
lab-kernels: go-check
	@qemu/install.sh $(if $(filter amd64,$(ARCHS)),qemu-system-x86_64) $(if $(filter arm64,$(ARCHS)),qemu-system-aarch64) $(if $(MODEL),gcc)
	@$(foreach a,$(ARCHS),$(MAKE) --no-print-directory kernel ARCH=$(a) PROGRAM= &&) true

bench: lab-kernels ## what an exit costs: Grim under every layout and policy (CASE=prefix REPS=n INTO=file APPEND= MODEL=1)
	@$(call LAB,bench)

compare: lab-kernels ## the same beside Debian's Linux kernel, which it fetches into build/linux
	@$(call LAB,compare)

profile: lab-kernels ## instructions for each kernel function: CASE=fork_exit_wait (LAYOUT=, EXIT=, HUGEPAGES=off; MODEL=1: cache misses)
	@$(call LAB,profile) -layout $(LAYOUT) -exit $(EXIT) -hugepages=$(if $(filter off,$(HUGEPAGES)),false,true)

pgo: ## counts the kernel's calls in the benchmark's cases, for the compiler (kernel/calls.pprof); qemu/BENCH.md
	@$(MAKE) --no-print-directory lab-kernels PGO=
	@$(call LAB,calls) -into kernel/calls.pprof

debate: go-check ## the claims of the exit-path debate as experiments, and a page with pictures (CLAIM=n ARCH=); qemu/LAB.md
	@PATH="$$PATH:/sbin:/usr/sbin" qemu/install.sh $(QEMU) mke2fs
	@for t in "" $$($(GO) run ./qemu/debate -arch $(ARCH) $(if $(CLAIM),-claim $(CLAIM)) -tags); do $(MAKE) --no-print-directory kernel ARCH=$(ARCH) TAGS=$$t PROGRAM= || exit 1; done
	@$(MAKE) --no-print-directory initramfs ARCH=$(ARCH) PROGRAM=
	@$(GO) run ./qemu/debate -arch $(ARCH) $(if $(CLAIM),-claim $(CLAIM))

model: go-check ## SPIN models of the protocols in which CPUs meet, and their mutants (CASE=part of a name)
	@qemu/install.sh spin gcc
	@$(GO) run ./qemu/model -only "$(CASE)"

test-programs: lab-kernels ## 300 commands under busybox and bash, on Grim and on Debian's Linux (ARCH= WORLD=busybox|debian)
	@$(GO) build -o build/bin/programs ./qemu/programs && build/bin/programs -arch "$(ARCHS)" -world "$(WORLD)"

# Machine addresses are not Go pointers, which is what unsafeptr would report. What
# only one build uses is not unused (U1000), so that check is made on the target
# alone, and not where assembly is the user.
HOST_TOOLS := ./boot/report ./boot/mkoverlay ./boot/mkimage ./boot/mkcard ./user/pack ./qemu/run ./qemu/suite ./qemu/lab ./qemu/debate ./qemu/sixth ./qemu/model ./qemu/programs
lint: go-check ## gofmt, go vet and staticcheck on the host and for the kernel, host tools for other systems
	@! git ls-files "*.go" | xargs gofmt -d | grep . || { echo "lint: gofmt (above)"; exit 1; }
	$(GO) vet ./...
	@GOBIN=$$PWD/build/bin $(GO) install honnef.co/go/tools/cmd/staticcheck@v0.8.2
	build/bin/staticcheck -checks inherit,-U1000 ./...
	@for s in darwin/arm64 freebsd/amd64; do \
		echo "host tools, $$s"; \
		GOOS=$${s%/*} GOARCH=$${s#*/} $(GO) vet $(HOST_TOOLS) && \
		GOOS=$${s%/*} GOARCH=$${s#*/} $(GO) build -o build/bin/$$s/ $(HOST_TOOLS) || exit 1; \
	done
	@for a in amd64 arm64; do \
		echo "go vet and staticcheck, kernel, $$a"; \
		$(GO) run ./boot/mkoverlay -arch $$a -o build/$$a/overlay || exit 1; \
		( export GOROOT=$$PWD/build/$$a/overlay/_goroot GOTOOLCHAIN=local GOOS=linux GOARCH=$$a CGO_ENABLED=0 GOFLAGS=-modfile=$$PWD/build/$$a/go.mod; \
		export PATH=$$GOROOT/bin:$$PATH; \
		go vet -unsafeptr=false -tags tamago ./kernel/... ./arch/$$a && \
		build/bin/staticcheck -tags tamago ./kernel/... ./proc/... ./mm/... && \
		build/bin/staticcheck -tags tamago -checks inherit,-U1000 ./arch/$$a ) || exit 1; \
	done

clean: ## remove everything that was built
	rm -rf build

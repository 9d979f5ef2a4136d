# Grim. `make help` lists the targets; every variable can be given on the command line.

ARCH       ?= amd64
MACHINE    ?=
LAYOUT     ?= shared
EXIT       ?= purge
MEM        ?= 256M
APPEND     ?=
QEMU_EXTRA ?=
PROGRAM    ?=
ARGS       ?=
TIMEOUT    ?= 300
DEBUG      ?=

GO := go
comma := ,
B  := build/$(ARCH)$(if $(DEBUG),-debug)
QEMU := $(if $(filter arm64,$(ARCH)),qemu-system-aarch64,qemu-system-x86_64)

# The kernel's text starts 2 MB into its window: -2145386496 is 0xffffffff80200000,
# which the linker's -T takes as a signed number only.
KERNEL_ENV   := GOOS=linux GOARCH=$(ARCH) CGO_ENABLED=0
KERNEL_FLAGS := -trimpath -tags tamago$(if $(DEBUG),$(comma)grimdebug) -overlay=$(B)/overlay/overlay.json

RUN = $(GO) run ./qemu/run -arch $(ARCH) -machine "$(MACHINE)" -mem $(MEM) -timeout $(TIMEOUT)s \
	-kernel $(B)/grim -initrd $(INITRD) -qemu "$(QEMU_EXTRA)" \
	-append "layout=$(LAYOUT) exit=$(EXIT) $(APPEND) $(if $(PROGRAM),init=/bin/$(notdir $(PROGRAM)) selftest=none -- $(ARGS))"
INITRD = $(B)/$(if $(PROGRAM),program.cpio,initramfs.cpio)

.DEFAULT_GOAL := help
.PHONY: help qemu-run qemu-gdb test image kernel initramfs qemu-install lint clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24
	@echo
	@echo "  variables: ARCH=amd64|arm64 MACHINE= LAYOUT=shared|separate EXIT=purge|reaper MEM=256M"
	@echo "             APPEND='kernel arguments' QEMU_EXTRA= TIMEOUT=seconds PROGRAM=file ARGS='...'"
	@echo "             DEBUG=1: every frame's owner is known and checked"

qemu-run: qemu-install kernel initramfs ## build, boot in QEMU, run the self-tests and init (or PROGRAM)
	@$(RUN)

qemu-gdb: qemu-install kernel initramfs ## the same, waiting for gdb
	@echo "In another terminal: gdb-multiarch $(B)/grim.elf -ex 'target remote :1234'"
	@$(RUN) -gdb

test: ## host tests with the race detector, then the boots of both architectures
	@qemu/install.sh qemu-system-x86_64 qemu-system-aarch64
	@$(MAKE) --no-print-directory kernel initramfs ARCH=amd64 PROGRAM=
	@$(MAKE) --no-print-directory kernel initramfs ARCH=arm64 PROGRAM=
	@$(MAKE) --no-print-directory kernel initramfs ARCH=arm64 PROGRAM= DEBUG=1
	@$(GO) run ./qemu/suite

image: kernel ## the bootable file (arm64: the Linux boot protocol's Image)
	@if [ $(ARCH) = arm64 ]; then cp $(B)/grim $(B)/Image && echo $(B)/Image; else echo $(B)/grim; fi

kernel:
	@echo "kernel $(ARCH)$(if $(DEBUG), with checks)"
	@$(GO) run ./boot/mkoverlay -arch $(ARCH) -o $(B)/overlay
	@$(KERNEL_ENV) $(GO) build $(KERNEL_FLAGS) -ldflags "-T -2145386496" -o $(B)/grim.elf ./kernel/grim
	@$(GO) run ./boot/mkimage -arch $(ARCH) -o $(B)/grim $(B)/grim.elf

initramfs:
	@echo "initramfs $(ARCH)"
	@$(GO) run ./user/pack -arch $(ARCH) $(if $(PROGRAM),-program "$(PROGRAM)") -o $(INITRD)

qemu-install:
	@qemu/install.sh $(QEMU)

# Tools that read the standard library's sources themselves get a GOROOT in which
# the overlay has been carried out. Machine addresses are not Go pointers, which
# is what unsafeptr would report; what only one build uses is not unused (U1000),
# so that check is made on the target alone, and not where assembly is the user.
lint: ## gofmt, go vet on the host and with the overlay, staticcheck
	@! git ls-files "*.go" | xargs gofmt -d | grep . || { echo "lint: gofmt (above)"; exit 1; }
	$(GO) vet ./...
	@GOBIN=$$PWD/build/bin $(GO) install honnef.co/go/tools/cmd/staticcheck@v0.8.2
	build/bin/staticcheck -checks inherit,-U1000 ./...
	@for a in amd64 arm64; do \
		echo "go vet and staticcheck, kernel, $$a"; \
		$(GO) run ./boot/mkoverlay -goroot -arch $$a -o build/$$a/overlay || exit 1; \
		export GOROOT=$$PWD/build/$$a/overlay/_goroot GOOS=linux GOARCH=$$a CGO_ENABLED=0; \
		$(GO) vet -unsafeptr=false -tags tamago ./kernel/... ./arch/$$a || exit 1; \
		build/bin/staticcheck -tags tamago ./kernel/... ./proc/... ./mm/... || exit 1; \
		build/bin/staticcheck -tags tamago -checks inherit,-U1000 ./arch/$$a || exit 1; \
	done

clean: ## remove everything that was built
	rm -rf build

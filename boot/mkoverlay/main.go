// Mkoverlay makes the changed GOROOT with which the stock Go toolchain builds Grim:
//
//	go run ./boot/mkoverlay -arch amd64 -o build/amd64/overlay
//	export GOROOT=$PWD/build/amd64/overlay/_goroot GOTOOLCHAIN=local
//	export GOOS=linux GOARCH=amd64 CGO_ENABLED=0
//	$GOROOT/bin/go build -modfile build/amd64/go.mod -tags tamago -ldflags "-T -2145386496" ./kernel/grim
//	$GOROOT/bin/go vet -modfile build/amd64/go.mod -unsafeptr=false -tags tamago ./...
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"grim/boot/overlay"
)

func main() {
	arch := flag.String("arch", "amd64", "GOARCH to make the overlay for")
	out := flag.String("o", "", "output folder; the GOROOT is its _goroot, and TamaGo's module is beside it in tamago")
	flag.Parse()
	if *out == "" || flag.NArg() != 0 {
		fmt.Fprintln(os.Stderr, "usage: mkoverlay -arch GOARCH -o FOLDER")
		os.Exit(2)
	}
	c := overlay.Config{Arch: *arch, Out: *out}
	if err := c.GoEnv(); err != nil {
		fatal(err)
	}
	if _, err := overlay.Generate(c); err != nil {
		fatal(err)
	}
	m, err := overlay.FindModule()
	if err == nil {
		err = overlay.GenerateModule(m, *arch, ".", filepath.Join(*out, "..", "tamago"))
	}
	if err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

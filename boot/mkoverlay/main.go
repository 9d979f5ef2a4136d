// Mkoverlay writes the overlay that lets the stock Go toolchain build Grim:
//
//	go run ./boot/mkoverlay -arch amd64 -o build/amd64/overlay
//	GOOS=linux GOARCH=amd64 CGO_ENABLED=0 go build -tags tamago \
//		-overlay=build/amd64/overlay/overlay.json -ldflags "-T -2145386496" ./kernel/grim
//
// With -vet it also makes a GOROOT of symbolic links, which go vet needs:
//
//	go run ./boot/mkoverlay -vet -arch amd64 -o build/amd64/vet
//	GOROOT=$PWD/build/amd64/vet/_goroot GOOS=linux GOARCH=amd64 CGO_ENABLED=0 \
//		go vet -unsafeptr=false -tags tamago -overlay=build/amd64/vet/overlay.json ./...
package main

import (
	"flag"
	"fmt"
	"os"

	"grim/boot/overlay"
)

func main() {
	arch := flag.String("arch", "amd64", "GOARCH to make the overlay for")
	out := flag.String("o", "", "output folder")
	vet := flag.Bool("vet", false, "make the overlay for go vet, with a GOROOT of its own in FOLDER/_goroot")
	flag.Parse()
	if *out == "" || flag.NArg() != 0 {
		fmt.Fprintln(os.Stderr, "usage: mkoverlay [-vet] -arch GOARCH -o FOLDER")
		os.Exit(2)
	}
	c := overlay.Config{Arch: *arch, Out: *out}
	if err := c.GoEnv(); err != nil {
		fatal(err)
	}
	if *vet {
		if err := c.Shadow(); err != nil {
			fatal(err)
		}
	}
	if _, err := overlay.Generate(c); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

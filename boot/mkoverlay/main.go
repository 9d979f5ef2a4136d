// Mkoverlay writes the overlay that lets the stock Go toolchain build Grim:
//
//	go run ./boot/mkoverlay -arch amd64 -o build/amd64/overlay
//	GOOS=linux GOARCH=amd64 CGO_ENABLED=0 go build -tags tamago \
//		-overlay=build/amd64/overlay/overlay.json -ldflags "-T -2145386496" ./kernel/grim
//
// With -goroot it also makes a GOROOT in which the overlay has been carried out,
// for tools that do not know of overlays:
//
//	go run ./boot/mkoverlay -goroot -arch amd64 -o build/amd64/overlay
//	GOROOT=$PWD/build/amd64/overlay/_goroot GOOS=linux GOARCH=amd64 CGO_ENABLED=0 \
//		go vet -unsafeptr=false -tags tamago ./...
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
	goroot := flag.Bool("goroot", false, "also make FOLDER/_goroot, with the overlay carried out")
	flag.Parse()
	if *out == "" || flag.NArg() != 0 {
		fmt.Fprintln(os.Stderr, "usage: mkoverlay [-goroot] -arch GOARCH -o FOLDER")
		os.Exit(2)
	}
	c := overlay.Config{Arch: *arch, Out: *out}
	if err := c.GoEnv(); err != nil {
		fatal(err)
	}
	if _, err := overlay.Generate(c); err != nil {
		fatal(err)
	}
	if *goroot {
		if _, err := overlay.Shadow(c); err != nil {
			fatal(err)
		}
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

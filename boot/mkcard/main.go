// Command mkcard makes the image of a card or stick that a board boots from.
//
//	mkcard -board rpi3|rpi4|imx8mp|zcu102|efi -image Image -initrd cpio -append "kernel arguments" -o card.img
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"grim/boot/card"
	"grim/boot/fat"
)

func main() {
	name := flag.String("board", "", "one of "+strings.Join(card.Boards(), ", "))
	image := flag.String("image", "", "the arm64 Image")
	initrd := flag.String("initrd", "", "the initramfs")
	args := flag.String("append", "", "kernel arguments")
	out := flag.String("o", "", "file to write")
	flag.Parse()
	if *image == "" || *initrd == "" || *out == "" || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*name, *image, *initrd, *args, *out); err != nil {
		fmt.Fprintln(os.Stderr, "mkcard:", err)
		os.Exit(1)
	}
}

func run(name, image, initrd, args, out string) error {
	p := &card.Parts{CommandLine: args}
	var err error
	if p.Image, err = os.ReadFile(image); err != nil {
		return err
	}
	if p.Initrd, err = os.ReadFile(initrd); err != nil {
		return err
	}
	files, err := card.Files(name, p)
	if err != nil {
		return err
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	if err := fat.Write(f, files); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// Command mkimage turns a linked kernel into the file that a machine boots.
//
//	mkimage -arch amd64|arm64 [-early PORT] [-most MB] -o image kernel.elf
//
// On arm64 it changes the kernel itself first, for the errata of Cortex-A53, and to
// give it a port for early output.
package main

import (
	"flag"
	"fmt"
	"os"

	"grim/boot/image"
)

// makers holds the image maker of each architecture.
var makers = map[string]func(kernel []byte) ([]byte, error){}

func main() {
	arch := flag.String("arch", "", "architecture: amd64 or arm64")
	out := flag.String("o", "", "image to write")
	early := flag.String("early", "", "arm64: port for early output")
	most := flag.Uint64("most", image.MostMemory>>20, "MB that text and data may take")
	flag.Parse()
	maker := makers[*arch]
	if maker == nil || *out == "" || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: mkimage -arch amd64|arm64 [-early PORT] [-most MB] -o image kernel.elf")
		os.Exit(2)
	}
	if err := run(*arch, maker, flag.Arg(0), *out, *early, *most<<20); err != nil {
		fmt.Fprintf(os.Stderr, "mkimage: %s: %v\n", flag.Arg(0), err)
		os.Exit(1)
	}
}

func run(arch string, maker func([]byte) ([]byte, error), in, out, early string, most uint64) error {
	kernel, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	if arch == "arm64" {
		moved, err := image.FixErrata(kernel)
		if err != nil {
			return err
		}
		if len(moved) > 0 { // write the ELF file too: a debugger reads the code from it
			if err := os.WriteFile(in, kernel, 0o755); err != nil {
				return err
			}
		}
	}
	if early != "" {
		if err := image.Early(kernel, early); err != nil {
			return err
		}
	}
	if err := image.CheckMemory(kernel, most); err != nil {
		return err
	}
	img, err := maker(kernel)
	if err != nil {
		return err
	}
	return os.WriteFile(out, img, 0o644)
}

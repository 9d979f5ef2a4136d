package main

import "grim/boot/image"

func init() { makers["arm64"] = image.ARM64 }

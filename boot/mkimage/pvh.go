package main

import "grim/boot/image"

func init() { makers["amd64"] = image.PVH }

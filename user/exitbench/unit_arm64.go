package main

const (
	arch = "arm64"
	unit = "cntvct"
)

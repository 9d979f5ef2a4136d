package main

const (
	arch = "amd64"
	unit = "tsc"
)

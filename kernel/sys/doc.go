package sys

//go:generate go run ./gen

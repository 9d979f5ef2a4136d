//go:build tamago

package main

// clockHz is the counter's true frequency, where it can be told without
// calibration: the TSC cannot.
var clockHz uint64

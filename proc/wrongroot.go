//go:build wrongroot || wrongwake

package proc

const staysOnRoot = true

package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// znames.go is what this command writes.
func TestGeneratedNames(t *testing.T) {
	got, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../znames.go")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("znames.go is not what gen writes (%v): go generate ./kernel/sys", err)
	}
}

// tested are the generated files that a test writes anew and compares.
var tested = map[string]bool{
	"kernel/sys/znames.go":     true, // TestGeneratedNames
	"arch/amd64/entry_amd64.s": true, // arch/amd64.TestGeneratedEntry
}

// Every generated file has such a test.
func TestGeneratedFiles(t *testing.T) {
	const root = "../../.."
	generated := regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)
	found := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if d.IsDir() && (name == "build" || name == ".git") {
			return filepath.SkipDir
		}
		if ext := filepath.Ext(path); ext != ".go" && ext != ".s" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// A generator has the line in a string; a file begins with it.
		at := generated.FindIndex(text)
		if at == nil || bytes.Contains(text[:at[0]], []byte("package ")) {
			return nil
		}
		if found++; !tested[name] {
			t.Errorf("%s is generated, and no test writes it anew and compares", name)
		}
		return nil
	})
	if err != nil || found != len(tested) {
		t.Errorf("%d generated files found, %d are known: %v", found, len(tested), err)
	}
}

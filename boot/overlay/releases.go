package overlay

import (
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

//go:embed releases
var releasesFile string

// Release is a release of Go with which the rules were checked.
type Release struct {
	Minor     int    // 27 for Go 1.27
	Toolchain string // of the release, as GOTOOLCHAIN names it
}

func (r Release) String() string { return fmt.Sprintf("1.%d", r.Minor) }

// Releases are the supported releases, oldest first.
func Releases() []Release {
	var all []Release
	for line := range strings.Lines(releasesFile) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var r Release
		if _, err := fmt.Sscanf(line, "1.%d %s\n", &r.Minor, &r.Toolchain); err != nil {
			panic(fmt.Sprintf("boot/overlay/releases: %q: %v", line, err))
		}
		all = append(all, r)
	}
	return all
}

var versionText = regexp.MustCompile(`\bgo1\.(\d+)`)

// Minor returns the release of a version of Go as "go env GOVERSION" prints it: 27 for
// go1.27.3, go1.27rc1 and "devel go1.27-abcdef". It returns -1 for other texts.
func Minor(version string) int {
	if m := versionText.FindStringSubmatch(version); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return n
		}
	}
	return -1
}

// ReleaseError means that there are no rules for this release of Go.
type ReleaseError struct{ Version string }

// Error returns the same text as boot/checkgo.sh, which the Makefile asks first.
func (e *ReleaseError) Error() string {
	var names []string
	rs := Releases()
	for _, r := range rs {
		names = append(names, r.String())
	}
	return fmt.Sprintf("This go command is %s, but Grim builds with Go %s: install one of these, or set GOTOOLCHAIN=%s and the go command fetches it.",
		e.Version, strings.Join(names, " or "), rs[len(rs)-1].Toolchain)
}

// supported returns the release of a version, or an error that says what to do.
func supported(version string) (minor int, err error) {
	minor = Minor(version)
	for _, r := range Releases() {
		if r.Minor == minor {
			return minor, nil
		}
	}
	return 0, &ReleaseError{version}
}

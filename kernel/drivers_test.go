package kernel

import (
	"slices"
	"testing"

	"grim/arch/arm64"
	"grim/boot/machine"
)

// TestDrivers checks that every kind of device that a device tree can name has a driver,
// and that a device tree can name the device of every driver.
func TestDrivers(t *testing.T) {
	drivers := arm64.Kinds()
	for sort, kinds := range machine.Kinds() {
		for _, k := range kinds {
			if !slices.Contains(drivers[sort], k) {
				t.Errorf("%s %q is found in the device tree and has no driver", sort, k)
			}
		}
		for _, k := range drivers[sort] {
			if !slices.Contains(kinds, k) {
				t.Errorf("the driver for %s %q is never bound", sort, k)
			}
		}
	}
}

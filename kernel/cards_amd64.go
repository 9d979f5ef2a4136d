//go:build tamago

package kernel

import "grim/kernel/disk"

// cards returns nothing: TamaGo has no driver for a PC's slots.
func (s *system) cards() []disk.Device { return nil }

// ethernet returns nothing, for the same reason.
func (s *system) ethernet() *netPort { return nil }

package arm64

import "errors"

// counterFrequency returns the frequency of the generic timer's counter in Hz, and whether
// the runtime has to be told. register is CNTFRQ_EL0, which firmware sets (Arm ARM D12.1.1).
// Where firmware has not set it, it is 0, and the clock-frequency of the device tree's timer
// node counts, which is 0 if the node has none. The runtime has read CNTFRQ_EL0 already.
func counterFrequency(register, tree uint64) (hz uint64, tell bool, err error) {
	switch {
	case register != 0:
		return register, false, nil
	case tree != 0:
		return tree, true, nil
	}
	return 0, false, errors.New("arm64: CNTFRQ_EL0 is 0, for firmware has not set the timer's frequency, and the device tree's timer has no clock-frequency")
}

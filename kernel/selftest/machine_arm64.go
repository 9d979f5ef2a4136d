package selftest

// machineTests are this architecture's alone.
var machineTests []test

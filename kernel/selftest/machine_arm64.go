package selftest

// machineTests are the tests that exist only on this architecture.
var machineTests []test

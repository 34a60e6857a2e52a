"""The offline benchmark: which model gives the accuracy that is needed for the least energy, on this machine."""

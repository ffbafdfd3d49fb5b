"""Wire shapes of outside specifications: one file each, no logic, no I/O, unknown fields kept."""

"""The commands of `sweeps`, one file each: what it takes in `add`, what it does in `run`."""

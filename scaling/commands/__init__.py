"""The commands of `scaling`, one file each: what it is called with (`add`) and what it does (`run`)."""

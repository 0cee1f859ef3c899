"""The report of a batch: one page to read, print, sign and file, from the store of a live probe."""

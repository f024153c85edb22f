"""The report of `scaling report`: from a table of runs or of curves to one HTML page."""

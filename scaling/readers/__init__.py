"""Logs of other people's tools as tables: one file a format, listed by hand in `formats.py`."""

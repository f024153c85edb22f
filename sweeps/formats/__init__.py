"""Formats that weights and activations are trained in, one file a family; `listed.py` lists them."""

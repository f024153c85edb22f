"""What runs learn, one file a regime; `listed.py` lists them."""

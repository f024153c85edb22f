"""Scaling laws: fit them to anybody's logs, say how far to trust them, forecast budgets nobody has trained."""

import lazy_loader

# The names stand in __init__.pyi. Each is imported when it is first asked for, so that `import scaling` and every
# command start at once.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"

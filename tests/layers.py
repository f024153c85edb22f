"""Which module imports which, read from the source without running it, and the rules that the layers obey.

Every rule takes the modules of a source tree and returns its violations as sentences, so that a test can hold it to a
small tree that breaks it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGES = ("scaling", "sweeps")
#: What `sweeps` may know of `scaling`: shared definitions, how a mistake is said, and how a plot looks.
SHARED = frozenset(
    f"scaling.{name}"
    for name in ("columns", "schedule", "flops", "errors", "experts", "style", "page", "figures.inline")
)
#: The one module of `sweeps` that may reach a fit, by way of scaling's report of it, and only inside a function.
REPORTS = ("sweeps.reporting", "scaling.reporting.")
#: What trains, and may import torch. All else in `sweeps` plans, looks and collects, on a machine without torch.
TRAINS = frozenset(
    f"sweeps.{name}"
    for name in (
        "model", "starting", "optim", "muon", "engine", "devices", "capacity", "loss", "slots", "ends", "checkpoint",
        "noise", "train", "workers", "pool", "coordinates", "measures", "representation", "gradient_noise",
        "compression",
    )
)  # fmt: skip
#: The doors through which a torch-free module may reach training, and only inside a function.
DOORS = tuple(
    (f"sweeps.commands.{command}", f"sweeps.{name}")
    for command, name in (("run", "pool"), ("coordinates", "coordinates"), ("plan", "capacity"))
)
#: Files that plan, and inside of functions train: what a run learns is described and computed in one place.
BOTH = ("sweeps.regimes.", "sweeps.formats.")
MAX_LINES = 450


@dataclass(frozen=True)
class Import:
    """One imported name: `from module import name` or `import module` (name empty)."""

    module: str
    name: str
    line: int
    lazy: bool  # inside a function, or only for the type checker: not run when the module is imported

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    is_package: bool

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        return tuple(_imports(self.tree, self, lazy=False))

    @cached_property
    def defined(self) -> frozenset[str]:
        """Names that the module itself defines at its top level, imported ones left out."""
        return frozenset(_defined(self.tree.body))


def read_tree(root: Path, packages: Iterable[str] = PACKAGES) -> dict[str, Module]:
    """All modules of the packages under `root`, by dotted name."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            found[name] = Module(name, path, is_package)
    return found


def _imports(node: ast.AST, module: Module, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, "", child.lineno, lazy) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            source = _absolute(child, module)
            yield from (Import(source, alias.name, child.lineno, lazy) for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for part in child.body:
                yield from _imports(ast.Module([part], []), module, lazy=True)
            for part in child.orelse:
                yield from _imports(ast.Module([part], []), module, lazy)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, module, lazy or function)


def _absolute(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    base = parts[: len(parts) - node.level + (1 if module.is_package else 0)]
    return ".".join([*base, *([node.module] if node.module else [])])


def _defined(body: Iterable[ast.stmt]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name


def targets(imported: Import, tree: dict[str, Module]) -> str | None:
    """The module of the tree that an import loads last: the submodule where the name is one."""
    full = f"{imported.module}.{imported.name}"
    if imported.name and full in tree:
        return full
    return imported.module if imported.module in tree else None


def _at(module: Module, imported: Import) -> str:
    return f"{module.path.name if not module.is_package else module.name}:{imported.line}"


def direction(tree: dict[str, Module]) -> list[str]:
    """`scaling` imports neither torch nor `sweeps`, anywhere; `sweeps` imports only the shared leaves of `scaling`."""
    said = []
    for module in tree.values():
        for imported in module.imports:
            loaded = targets(imported, tree) or imported.module
            if module.name.startswith("scaling") and imported.top in ("torch", "sweeps"):
                said.append(f"{_at(module, imported)}: scaling imports {imported.module}")
            reports = imported.lazy and module.name == REPORTS[0] and loaded.startswith(REPORTS[1])
            if module.name.startswith("sweeps") and imported.top == "scaling" and loaded not in SHARED and not reports:
                said.append(
                    f"{_at(module, imported)}: sweeps imports {loaded}; it may import {', '.join(sorted(SHARED))}"
                )
    return said


def package_roots(tree: dict[str, Module]) -> list[str]:
    """A module is imported from where it is defined: no `import scaling`, no name that a package only passes on."""
    said = []
    for module in tree.values():
        for imported in module.imports:
            source = tree.get(imported.module)
            if source is None or not source.is_package or targets(imported, tree) != source.name:
                continue
            if not imported.name or "." not in source.name or imported.name not in source.defined:
                said.append(
                    f"{_at(module, imported)}: {imported.name or imported.module} comes through the package root "
                    f"{source.name}; import the module that defines it"
                )
    return said


def planning(tree: dict[str, Module]) -> list[str]:
    """The modules of `sweeps` that must do without torch: all but those named as training, new ones included."""
    return sorted(name for name in tree if name.partition(".")[0] == "sweeps" and name not in TRAINS)


def torch_free(tree: dict[str, Module]) -> list[str]:
    """Planning modules import torch nowhere, nor a module that imports it; the CLI may reach the pool in a function."""
    heavy = {name for name in tree if _reaches_torch(name, tree, set())}
    said = []
    for name in planning(tree):
        for imported in tree[name].imports:
            loaded = targets(imported, tree)
            if imported.lazy and name.startswith(BOTH):
                continue
            if imported.top == "torch":
                said.append(f"{_at(tree[name], imported)}: {name} imports torch")
            elif loaded in heavy and not (imported.lazy and (name, loaded) in DOORS):
                said.append(f"{_at(tree[name], imported)}: {name} imports {loaded}, which imports torch")
    return said


def _reaches_torch(name: str, tree: dict[str, Module], seen: set[str]) -> bool:
    if name in seen:
        return False
    seen.add(name)
    eager = [i for i in tree[name].imports if not i.lazy]
    if any(i.top == "torch" for i in eager):
        return True
    loads = {targets(i, tree) for i in eager} - {None}
    return any(_reaches_torch(str(loaded), tree, seen) for loaded in loads)


def cycles(tree: dict[str, Module]) -> list[str]:
    """No module imports itself by way of others when it is loaded."""
    graph = {
        name: sorted({str(t) for i in module.imports if not i.lazy and (t := targets(i, tree)) and t != name})
        for name, module in tree.items()
    }
    said, done = [], set[str]()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            said.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for loaded in graph[name]:
                visit(loaded, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])
    return said


def too_long(paths: Iterable[Path], most: int = MAX_LINES) -> list[str]:
    """A file can be read in one sitting."""
    counted = ((path, len(path.read_text(encoding="utf-8").splitlines())) for path in paths)
    return [f"{path.name} has {lines} lines, at most {most} are allowed" for path, lines in counted if lines > most]

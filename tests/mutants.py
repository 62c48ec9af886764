"""Plants small bugs, one at a time, in a copy of this repository, and tells which ones the tests do not notice.

``python tests/mutants.py --count 100 --seed 0 --table mutants.csv``, or ``make mutants``. A bug is a change of one node
of the syntax tree; the tests that are run are those that mirror its file, for the network with the statement of the
whole forward. What survives is a hole in the tests, or no bug: docs/mutants.md.
"""

import argparse
import ast
import csv
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("src/arcsr_lightning")
FILES = ("operators/[!_]*.py", "blocks/[!_]*.py", "networks/[!_]*.py", "degradation/[!_]*.py", "losses.py")
FILES += ("rivals/[!_]*.py", "scores/[!_]*.py", "results/statistics.py")
STATEMENT = "tests/networks/test_forward_of_the_paper.py"  # fast and sees most: first
NETWORK = [STATEMENT, "tests/blocks", "tests/networks"]
WHOLE = {"blocks": NETWORK, "networks": NETWORK, "scores": ["tests/scores"]}  # rooms whose parts are tested together
HEAVY = ("torch", "scipy.ndimage", "hypothesis", "pytest", "cv2", "torchmetrics", "kornia", "hydra")
SWAPS = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
    **{ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.And: ast.Or, ast.Or: ast.And, ast.BitAnd: ast.BitOr},
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}


def of_operators(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.BinOp(left, op, right) if type(op) in SWAPS:
            yield ast.BinOp(left, SWAPS[type(op)](), right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(SWAPS[type(op)](), values)
        case ast.Compare(left, [op, *ops], comparators):
            yield ast.Compare(left, [SWAPS[type(op)](), *ops], comparators)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield operand


def of_values_and_branches(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(float(value)):
            yield ast.Constant(2 * value or 1.0)
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.If(test, body, orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)


def of_calls(node: ast.AST) -> Iterator[ast.AST]:
    """Statement left out; arguments swapped; call left out; one keyword left out."""
    match node:
        case ast.Expr(ast.Call()):
            yield ast.Pass()
        case ast.Call(func, args, keywords):
            plain = not any(isinstance(one, ast.Starred) for one in args[:2])
            if plain and len(args) > 1:
                yield ast.Call(func, [args[1], args[0], *args[2:]], keywords)
            if isinstance(func, ast.Attribute) and not isinstance(func.value, ast.Name):
                yield func.value  # x.f().g(...) -> x.f()
            elif plain and len(args) == 1:
                yield args[0]
            for number in range(len(keywords)):
                yield ast.Call(func, args, keywords[:number] + keywords[number + 1 :])


class Walk(ast.NodeTransformer):
    """Counts the mutations of a tree, and makes the one of number ``chosen``."""

    def __init__(self, chosen: int | None = None) -> None:
        self.chosen, self.count, self.said = chosen, 0, ("", "", 0)

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom):
            return node  # words, and what they are about
        for replacement in (*of_operators(node), *of_values_and_branches(node), *of_calls(node)):
            if self.count == self.chosen:
                self.said = (ast.unparse(node), ast.unparse(replacement), node.lineno)
                self.count += 1
                return ast.copy_location(replacement, node)
            self.count += 1
        return self.generic_visit(node)

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        for arg in (*node.args, *node.kwonlyargs):
            arg.annotation = None
        return self.generic_visit(node)


def tests_of(path: Path) -> list[str]:
    """The test files that mirror a file of the package."""
    if whole := WHOLE.get(path.parts[0]):
        return whole
    more = [STATEMENT, "tests/operators/test_shapes_alone.py"] if path.parts[0] == "operators" else []
    return [f"tests/{path.with_name(f'test_{path.name}')}", *more]


def passes(tree: Path, tests: list[str], patience: float) -> bool | None:
    """Whether the tests pass, in a process that has what takes long to import already; None: too slow to tell."""
    child = os.fork()
    if not child:
        os.chdir(tree)
        sys.path[:0] = [str(tree / "src"), str(tree)]
        os.environ["PYTHONPATH"] = str(tree / "src")
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1), os.dup2(silence, 2)
        code = 1
        try:
            code = int(import_module("pytest").main(["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore", *tests]))
        finally:
            os._exit(code)
    end = time.monotonic() + patience
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def plant_all(chosen: list[tuple[Path, int]], sources: dict[Path, str], tree: Path) -> Iterator[list[object]]:
    """What became of each: file, line, before, after, result."""
    seconds = {}
    for path, number in chosen:
        tests = tests_of(path)
        if str(tests) not in seconds:
            began = time.monotonic()
            assert passes(tree, tests, 900), f"{tests} fail without a bug"
            seconds[str(tests)] = time.monotonic() - began
        walk = Walk(number)
        mutated = ast.unparse(ast.fix_missing_locations(walk.visit(ast.parse(sources[path]))))
        (tree / PACKAGE / path).write_text(mutated, encoding="utf-8")
        result = passes(tree, tests, 60 + 5 * seconds[str(tests)])
        (tree / PACKAGE / path).write_text(sources[path], encoding="utf-8")
        before, after, line = walk.said
        yield [path, line, before, after, {True: "SURVIVED", False: "killed", None: "too slow"}[result]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="how many bugs to plant (100)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice (0)")
    parser.add_argument("--only", default="", help="in files whose path has this in it")
    parser.add_argument("--table", type=Path, default=Path("mutants.csv"), help="where to write what became of them")
    options = parser.parse_args()
    for name in HEAVY:
        import_module(name)
    found = sorted(path.relative_to(ROOT / PACKAGE) for glob in FILES for path in (ROOT / PACKAGE).glob(glob))
    paths = [path for path in found if options.only in str(path)]
    sources = {path: (ROOT / PACKAGE / path).read_text(encoding="utf-8") for path in paths}
    every = []
    for path, source in sources.items():
        walk = Walk()
        walk.visit(ast.parse(source))
        every += [(path, number) for number in range(walk.count)]
    chosen = random.Random(options.seed).sample(every, min(options.count, len(every)))
    print(f"{len(chosen)} of {len(every)} mutations in {len(sources)} files", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder, options.table.open("w", newline="", encoding="utf-8") as file:
        tree = Path(folder, "tree")
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "logs", "__pycache__"))
        table = csv.writer(file)
        table.writerow(["file", "line", "before", "after", "result"])
        for row in plant_all(chosen, sources, tree):
            rows.append(row)
            table.writerow(row)
            file.flush()
            print(*row, sep=" | ", flush=True)
    survived = sum(row[-1] == "SURVIVED" for row in rows)
    print(f"{len(rows) - survived} of {len(rows)} noticed, {survived} survived")


if __name__ == "__main__":
    main()

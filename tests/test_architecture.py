"""The import rules of setup.cfg are enforced: a planted wrong import is found, wherever it is planted."""

import ast
import shutil
import subprocess
import sys

import grimp
import pytest

from ser.registry import PAPERS
from tests.helpers import ROOT

ROOMS = ("common", "data_prep", "papers", "ser")

WRONG = {
    "common/files.py": "import data_prep",
    "common/audio.py": "from papers.mtap import config",
    "common/errors.py": "import ser",
    "data_prep/check.py": "from papers.mtl_aae import data",
    "data_prep/readers/emodb.py": "from data_prep.readers import tess",
    "papers/mtap/config.py": "from papers.gmp_atl import config",
    "papers/mtl_aae/data.py": "from ser import registry",
    "papers/sixth/model.py": "from papers.mtap import model",
    "papers/sixth/train.py": "import ser.session",
}
"""Where an import is planted, and what is imported there; `papers/sixth` is a new paper that no list names."""


def planted(folder, imports):
    """A copy of the Python files with some more imports, and what import-linter says of it."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=lambda _, names: {n for n in names if n == "corpus"})
    shutil.copy(ROOT / "setup.cfg", folder)
    for file, line in imports.items():
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text((path.read_text(encoding="utf-8") if path.exists() else "") + f"\n{line}\n", encoding="utf-8")
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120)


def test_every_planted_import_is_found(tmp_path):
    done = planted(tmp_path, WRONG)
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    for file, line in WRONG.items():
        module = file.removesuffix(".py").replace("/", ".")
        words = line.split()
        target = words[1] if words[0] == "import" else f"{words[1]}.{words[3]}"
        assert f"{module} -> {target}" in said, f"{module} may import {target}"


def test_nothing_is_found_where_nothing_is_planted(tmp_path):
    done = planted(tmp_path, {})
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", PAPERS)
def test_a_training_script_reaches_the_application_only_when_it_is_run(name):
    tree = ast.parse((ROOT / "papers" / name / "train.py").read_text(encoding="utf-8"))
    *before, main = tree.body
    assert isinstance(main, ast.If) and ast.unparse(main.test) == "__name__ == '__main__'"
    imported = [ast.unparse(node) for node in before for node in ast.walk(node) if isinstance(node, ast.ImportFrom)]
    assert not [line for line in imported if line.startswith("from ser")]
    assert "train_main" in ast.unparse(main) and f"'{name}'" in ast.unparse(main)


def test_no_module_imports_itself_through_others():
    graph = grimp.build_graph(*ROOMS, exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    done: set[str] = set()

    def visit(module, path):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(imports[module]):
                visit(other, [*path, module])
            done.add(module)

    for module in sorted(imports):
        visit(module, [])

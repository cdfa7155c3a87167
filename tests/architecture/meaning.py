"""What the code says of each setting."""

import ast
import inspect
from itertools import pairwise

from app.settings import Settings


def meanings() -> dict[str, str]:
    """Return the text beneath each setting, on one line."""
    (settings,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(settings, ast.ClassDef)
    return {
        setting.target.id: inspect.cleandoc(text.value).replace("\n", " ")
        for setting, below in pairwise(settings.body)
        if isinstance(setting, ast.AnnAssign)
        and isinstance(setting.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(text := below.value, ast.Constant)
        and isinstance(text.value, str)
    }

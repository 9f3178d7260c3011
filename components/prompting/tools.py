"""Tools that a model may use while it answers."""

import ast
import operator
from collections.abc import Callable, Mapping

_BINARY: Mapping[type, Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
LONGEST = 200  # characters


def calculator(expression: str) -> str:
    """The value of an expression of numbers, + - * / // % and brackets; what is wrong with it otherwise."""
    if len(expression) > LONGEST:
        return "error: the expression is too long"
    try:
        value = _value(ast.parse(expression.replace("×", "*").replace(",", "").strip(), mode="eval").body)
    except (ValueError, SyntaxError, ArithmeticError, RecursionError, MemoryError) as error:
        return f"error: {error}"
    return str(int(value)) if value == int(value) else f"{value:g}"


def _value(node: ast.AST) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    raise ValueError("only numbers, + - * / // % and brackets are understood")


TOOLS: Mapping[str, tuple[Callable[[str], str], str]] = {
    "calculator": (calculator, "calculator[12 * (3 + 4)] gives the value of an expression"),
}

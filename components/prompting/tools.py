"""Tools that a model may use while it answers."""

import ast
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction

_BINARY: Mapping[type, Callable[[Fraction, Fraction], Fraction | int]] = {
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
        return str(value.numerator) if value.denominator == 1 else f"{float(value):.12g}"
    except (ValueError, SyntaxError, ArithmeticError, RecursionError, MemoryError) as error:
        return f"error: {error}"


def _value(node: ast.AST) -> Fraction:
    """Exact: a sum of tenths is not a little more."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return Fraction(repr(node.value))
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return Fraction(_BINARY[type(node.op)](_value(node.left), _value(node.right)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    raise ValueError("only numbers, + - * / // % and brackets are understood")


TOOLS: Mapping[str, tuple[Callable[[str], str], str]] = {
    "calculator": (calculator, "calculator[12 * (3 + 4)] gives the value of an expression"),
}

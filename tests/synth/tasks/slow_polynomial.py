"""An independent solver: parse the printed form, evaluate it recursively, hash it.

Plain Python, no numpy and nothing from `synth`: what the vectorised generator says is
held against this.
"""

import re

Tree = tuple
MASK = (1 << 64) - 1


def parse(text: str) -> Tree:
    """("poly", coefficients), ("-", tree) or (sign, tree, tree); all of `text`."""
    words = re.findall(r"\d+|[-+*@()\[\]]", text)
    assert "".join(words) == text.replace(" ", "")
    tree, rest = _expression(words)
    assert not rest, rest
    return tree


def _expression(words: list[str]) -> tuple[Tree, list[str]]:
    first, rest = words[0], words[1:]
    if first == "[":
        end = rest.index("]")
        return ("poly", [int(word) for word in rest[:end]]), rest[end + 1 :]
    if first == "-":
        tree, rest = _expression(rest)
        return ("-", tree), rest
    assert first == "(", first
    left, rest = _expression(rest)
    sign, rest = rest[0], rest[1:]
    assert sign in ("+", "*", "@"), sign
    right, rest = _expression(rest)
    assert rest[0] == ")"
    return (sign, left, right), rest[1:]


def evaluate(tree: Tree, p: int, k: int) -> list[int]:
    """The k coefficients of the value, reduced after every operation."""
    if tree[0] == "poly":
        return tree[1]
    operands = [evaluate(operand, p, k) for operand in tree[1:]]
    if tree[0] == "-":
        return [-c % p for c in operands[0]]
    a, b = operands
    if tree[0] == "+":
        return [(x + y) % p for x, y in zip(a, b, strict=True)]
    if tree[0] == "*":
        return product(a, b, p, k)
    total, power = [0] * k, [1] + [0] * (k - 1)
    for c in a:
        total = [(x + c * y) % p for x, y in zip(total, power, strict=True)]
        power = product(power, b, p, k)
    return total


def product(a: list[int], b: list[int], p: int, k: int) -> list[int]:
    """The schoolbook product, truncated."""
    result = [0] * k
    for i, x in enumerate(a):
        for j, y in enumerate(b[: k - i]):
            result[i + j] = (result[i + j] + x * y) % p
    return result


def operations(tree: Tree) -> int:
    """How many operators the tree holds."""
    if tree[0] == "poly":
        return 0
    return 1 + sum(operations(operand) for operand in tree[1:])


def print_infix(tree: Tree) -> str:
    """The one printed form of a tree."""
    if tree[0] == "poly":
        return "[" + " ".join(map(str, tree[1])) + "]"
    if tree[0] == "-":
        return "-" + print_infix(tree[1])
    return f"({print_infix(tree[1])}{tree[0]}{print_infix(tree[2])})"


def on_test_side(tree: Tree, p: int, max_operations: int = 32) -> bool:
    """The documented rule for the split, from the printed form alone."""
    factors = [
        splitmix64(i * 0x9E3779B97F4A7C15 & MASK) | 1
        for i in range(1, 2 * max_operations + 2)
    ]
    total, steps, leaves = 0, [], []
    _visit(tree, steps, leaves)
    for j, (code, left) in enumerate(steps):
        total += (code + 4 * left + 1) * factors[j]
    for i, coefficients in enumerate(leaves):
        if coefficients is not None:
            number = sum(c * p**power for power, c in enumerate(coefficients))
            total += (number + 1) * factors[max_operations + i]
    return splitmix64(total & MASK) >> 61 == 0


def _visit(tree: Tree, steps: list, leaves: list) -> None:
    if tree[0] == "poly":
        leaves.append(tree[1])
        return
    steps.append(("-+*@".index(tree[0]), operations(tree[1])))
    _visit(tree[1], steps, leaves)
    if tree[0] == "-":
        leaves.append(None)
    else:
        _visit(tree[2], steps, leaves)


def splitmix64(word: int) -> int:
    """The output function of splitmix64."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & MASK
    return word ^ word >> 31

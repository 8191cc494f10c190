"""Products of bf16 matrices where torch has only plain loops for them."""

import pytest
import torch

from synth.models import products
from synth.models.products import add_product, product, widen

BF16 = torch.bfloat16


@pytest.fixture
def loops(monkeypatch):
    monkeypatch.setattr(products, "bf16_products_are_loops", lambda: True)


def factors(*shapes):
    torch.manual_seed(0)
    return [torch.randn(shape).to(BF16) for shape in shapes]


def test_a_product_in_bf16_is_one_in_fp32_rounded_once(loops):
    a, b = factors((40, 24), (24, 9))
    right = (a.float() @ b.float()).to(BF16)
    assert torch.equal(product(a, b), right)
    out = torch.empty(40, 9, dtype=BF16)
    assert product(a, b, out=out) is out
    assert torch.equal(out, right)


def test_a_product_is_added_before_it_is_rounded(loops):
    to, a, b = factors((40, 9), (24, 40), (24, 9))
    right = (to.float() + a.float().t() @ b.float()).to(BF16)
    assert add_product(to, a.t(), b, out=to) is to
    assert torch.equal(to, right)


def test_both_ways_agree_up_to_one_rounding(loops):
    a, b = factors((40, 24), (24, 9))
    # The exponent of the largest terms bounds what another order of sums changes.
    assert torch.allclose(product(a, b), torch.mm(a, b), rtol=2**-7, atol=1e-4)


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float32), ("meta", BF16)])
def test_nothing_else_is_widened(loops, device, dtype):
    x = torch.empty(3, 4, device=device, dtype=dtype)
    assert widen(x) is x


def test_units_for_bf16_are_used_where_they_are(monkeypatch):
    monkeypatch.setattr(products, "bf16_products_are_loops", lambda: False)
    (x,) = factors((3, 4))
    assert widen(x) is x

"""Teacherless training: an answer is predicted without seeing any of it (arXiv 2403.06963).

The tokens of an answer are replaced in the input by one dummy; targets are unchanged:

```
position   0  1  2  3  4  5  6        one row, one example; the answer is x y z
token      a  b  =  x  y  z  .
input      a  b  =  _  _  _  .        _ is id 0, padding elsewhere
head 1     b  =  x  y  z  .  -        reads the inputs ..t
```

So the second token of an answer is predicted from the question and one dummy, the third
from the question and two. Decoding is one pass as well, with as many dummies as the
answer has tokens; scores of evaluations are those of this pass, never of true answers
that were fed in. Where no token is an answer, this is next-token prediction.

It is pure: no share of the steps reads true answers. Parameters and FLOP are those of
`n1`. The dummy is id 0, which is padding elsewhere: it has an embedding of its own and
means the same at every position. In a tokenizer of one's own, id 0 may be an ordinary
token; a run whose examples hold it is refused (`require_dummy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from synth.objectives.objective import OneHeadConfig

if TYPE_CHECKING:
    from torch import Tensor

DUMMY = 0


@dataclass(frozen=True, kw_only=True)
class TeacherlessConfig(OneHeadConfig):
    """Predict each token of an answer from the question alone."""

    kind: ClassVar[str] = "teacherless"
    decodes_at_once: ClassVar[bool] = True

    @property
    def arm(self) -> str:
        return "teacherless"

    def inputs(self, tokens_KBT: Tensor, answer_KBT: Tensor) -> Tensor:
        """The tokens with dummies in the place of answers."""
        return tokens_KBT.masked_fill(answer_KBT, DUMMY)
